"""What every runtime has to take and give back (the ONNX contract), and the checks that a file and its outputs do."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from cornernet.engine.arguments import flag
from cornernet.engine.backends import Backend, Outputs, SaccadeDetections, named_outputs
from cornernet.engine.backends.placing import Packed
from cornernet.engine.errors import BackendError, ModelError
from cornernet.engine.model_card import ATTENTION_OUTPUTS, HEAD_OUTPUTS, INPUT, METADATA_KEY, OUTPUTS, ModelCard


class Tensor(NamedTuple):
    """An input or output as a file declares it; a length that the file leaves open is None."""

    name: str
    dtype: str
    shape: tuple[int | None, ...]


class Output(NamedTuple):
    """One of the outputs: its rank, the length of its last axis where the contract fixes it, its type."""

    rank: int
    width: int | None
    dtype: str


CONTRACT = dict(
    zip(
        OUTPUTS + ATTENTION_OUTPUTS,
        (
            Output(3, 4, "float32"),
            Output(2, None, "float32"),
            Output(3, 2, "float32"),
            Output(2, None, "int32"),
            Output(1, None, "int32"),
            Output(3, None, "float32"),
            Output(3, None, "int32"),
        ),
    )
)


def check_detections(raw: Outputs, images: int, card: ModelCard, runtime: str) -> None:
    """Raise BackendError unless `raw` is what the contract promises for `images` canvases and the card's classes.

    A damaged file, or one whose card is of another network, otherwise ends in an index error far from its cause.
    """
    if len(raw) != len(card.detection_outputs):
        raise BackendError(
            f"{runtime} gave {len(raw)} outputs; expected {', '.join(card.detection_outputs)}. Export the model again."
        )
    rows = raw.scores.shape[1] if raw.scores.ndim == 2 else 0
    for name, values in zip(card.detection_outputs, raw):
        rank, width, dtype = CONTRACT[name]
        expected: tuple[int, ...] = (images, rows, width)[:rank] if width else (images, rows)[:rank]
        if card.saccade is not None and name in ATTENTION_OUTPUTS:
            expected = images, len(card.saccade.attention_strides), card.saccade.locations
        if values.shape != expected or values.dtype != dtype:
            raise BackendError(
                f"{runtime} gave {name} of shape {values.shape} and type {values.dtype}; expected {expected} {dtype}. "
                "Export the model again."
            )
    if raw.counts.min(initial=0) < 0 or raw.counts.max(initial=0) > rows:
        raise BackendError(
            f"{runtime} gave counts from {raw.counts.min()} to {raw.counts.max()}; expected 0 to {rows}. "
            "Export the model again."
        )
    used = raw.labels[np.arange(rows) < raw.counts[:, None]]
    if used.size and not 0 <= used.min() <= used.max() < len(card.class_names):
        raise BackendError(
            f"{runtime} gave labels from {used.min()} to {used.max()}, but the card names {len(card.class_names)} "
            "classes: it belongs to another network. Export the model again."
        )
    if isinstance(raw, SaccadeDetections):
        _check_attention(raw, card, runtime)


def _check_attention(raw: SaccadeDetections, card: ModelCard, runtime: str) -> None:
    """Raise BackendError unless scores are those of a sigmoid and cells lie on the maps of the card's canvas."""
    assert card.saccade is not None and card.train_size is not None
    used = raw.attention_scores >= 0
    if not (raw.attention_scores[used] <= 1).all() or not (raw.attention_scores[~used] == -1).all():
        raise BackendError(
            f"{runtime} gave attention_scores that are neither from 0 to 1 nor -1. Export the model again."
        )
    cells = [(-(-card.train_size[0] // stride)) ** 2 for stride in card.saccade.attention_strides]
    on_map = (raw.attention_cells >= 0) & (raw.attention_cells < np.reshape(cells, (1, -1, 1)))
    if not on_map[used].all():
        raise BackendError(
            f"{runtime} gave attention_cells from {raw.attention_cells[used].min()} to "
            f"{raw.attention_cells[used].max()}, but the maps have {', '.join(map(str, cells))}: the card belongs to "
            "another network. Export the model again."
        )


def card_of(text: str | None, path: Path) -> ModelCard:
    """The card in a file's metadata. Raises ModelError: there is none, or it is not valid."""
    if text is None:
        raise ModelError(
            f"{path}: an ONNX file without a model card (metadata {METADATA_KEY!r}), so colour order, classes "
            "and canvas sizes are unknown. Write it with `cornernet export`."
        )
    return ModelCard.from_json(text, origin=str(path))


def check_tensors(inputs: Sequence[Tensor], outputs: Sequence[Tensor], card: ModelCard, path: Path) -> None:
    """Raise ModelError unless inputs and outputs of the file are those of the contract."""
    given = {tensor.name: tensor for tensor in outputs}
    if card.outputs == "heads" or set(HEAD_OUTPUTS) <= set(given):
        raise ModelError(
            f"{path}: this file gives the raw maps ({', '.join(HEAD_OUTPUTS)}), not boxes. "
            "Export it with `--outputs detections` to detect."
        )
    types = ("uint8", "float32") if card.float_canvases else ("uint8",)
    given_inputs = [(name, dtype in types, len(shape)) for name, dtype, shape in inputs]
    if given_inputs != [(INPUT, True, 4)] or inputs[0].shape[-1] not in (None, 3):
        raise ModelError(
            f"{path}: inputs are {', '.join(map(_said, inputs)) or 'none'}; expected {INPUT!r}, uint8, (N, H, W, 3). "
            "Export it again."
        )
    for name in card.detection_outputs:
        rank, width, dtype = CONTRACT[name]
        if name not in given:
            raise ModelError(f"{path}: no output {name!r} among {', '.join(given)}. Export it again.")
        shape = given[name].shape
        # The last axis of a file made elsewhere may be open; then the trial run tells.
        other_width = width is not None and len(shape) == rank and shape[-1] not in (None, width)
        if (given[name].dtype, len(shape)) != (dtype, rank) or other_width:
            raise ModelError(
                f"{path}: output {name!r} is {given[name].dtype} of {len(shape)} dimensions {shape}; expected {dtype} "
                f"of {rank}" + (f", the last of length {width}" if width else "") + ". Export it again."
            )


def _said(tensor: Tensor) -> str:
    return f"{tensor.name!r}, {tensor.dtype}, {tensor.shape}"


def fitting_shape(images: Tensor, height: int, width: int) -> tuple[int, ...]:
    """(N, H, W, 3) of one canvas of that size [px], or of what the file fixes."""
    return tuple(usual if fixed is None else fixed for fixed, usual in zip(images.shape, (1, height, width, 3)))


def try_smallest(run: Callable[[np.ndarray], Outputs], images: Tensor, card: ModelCard, path: Path) -> None:
    """Run one empty canvas, the smallest or the one that the file fixes. Raises ModelError if that fails."""
    side = min(card.size_multiple, card.max_size)
    try:
        canvases = np.zeros(fitting_shape(images, side, side), np.uint8)
        check_detections(run(canvases), len(canvases), card, "the graph")
    except (BackendError, ValueError, MemoryError) as error:  # ValueError: a negative or enormous fixed size
        raise ModelError(f"{path}: the graph cannot be run: {error or 'out of memory'}") from error


def run_in_parts(run: Callable[[Any], Outputs], canvases: np.ndarray | Packed, fixed: int | None) -> Outputs:
    """`run` for a file that takes `fixed` canvases at once: parts of that many, the last filled up with any."""
    images = canvases.shape[0]
    if fixed is None or images == fixed:
        return run(canvases)
    parts = [run(_exactly(canvases, start, fixed)) for start in range(0, images, fixed)]
    return named_outputs([np.concatenate(values)[:images] for values in zip(*parts)])


def _exactly(canvases: np.ndarray | Packed, start: int, count: int) -> np.ndarray | Packed:
    if isinstance(canvases, Packed):
        part = canvases.part(start, count)
        return replace(part, views=part.views + part.views[-1:] * (count - len(part.views)))
    rest = canvases[start : start + count]
    black = np.zeros((count - len(rest), *canvases.shape[1:]), canvases.dtype)
    return np.concatenate([rest, black]) if len(black) else rest


def batches_in_flight(backend: Backend) -> int:
    """How many batches the backend wants at once, each `run` called from a thread of its own."""
    return max(1, getattr(backend, "in_flight", 1))


def computes_on_cpu(backend: Backend) -> bool:
    """Whether `run` needs the cores that also read and place images."""
    return bool(getattr(backend, "computes_on_cpu", False))


def takes_float(backend: Backend) -> bool:
    """Whether canvases may be float32, in grey levels that are not whole."""
    return bool(getattr(backend, "takes_float", False))


def places_views(backend: Backend) -> bool:
    """Whether images may go to the backend as they are, to be placed on its device."""
    return bool(getattr(backend, "places_views", False))


def check_device_preprocessing(asked: object, backend: Backend) -> None:
    """Raise TypeError if `asked` is not True or False, BackendError if it is True and it cannot be done."""
    flag("device_preprocessing", asked)
    if asked and not places_views(backend):
        raise BackendError(
            f"device_preprocessing=True: {backend.name} places no images on its device. TensorRT engines, weights "
            'with device="cuda" and ONNX Runtime\'s CUDA provider do, where the library of plugins/ is built: '
            "cmake -B build && cmake --build build -j2"
        )


def allocate(backend: Backend, size: int) -> np.ndarray:
    """(size,) uint8 of memory that the backend reads without another copy."""
    own = getattr(backend, "allocate", None)
    memory: np.ndarray = np.empty(size, np.uint8) if own is None else own(size)
    return memory
