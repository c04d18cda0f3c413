"""Tensors out of a weight file of any age: zip or legacy pickles of PyTorch 0.3 and newer, and safetensors.

A pickle is a program. It is read by PyTorch's restricted reader, which knows tensors and plain containers and
calls nothing else; a file that asks for more is refused and the name it asked for is printed. The diary that
mmdetection 3.x keeps beside its weights is skipped: each object of it becomes an empty `_Skipped`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from cornernet.engine.arguments import is_file, shown_path
from cornernet.engine.backends.open import weights_beside
from cornernet.engine.errors import ModelError
from cornernet.trainer.import_weights.wrapping import bare_names, unwrapped
from cornernet.trainer.network.safetensors_file import read_safetensors

_NUMPY_TYPES = ("Float64", "Float32", "Float16", "Int64", "Int32", "UInt8", "Bool")
_SKIPPED_NAMES = (
    "mmengine.logging.history_buffer.HistoryBuffer",
    "builtins.getattr",
    "numpy.ndarray",
    "numpy.dtype",
    *(f"numpy.{core}.multiarray.{name}" for core in ("core", "_core") for name in ("_reconstruct", "scalar")),
    *(f"numpy.dtypes.{kind}DType" for kind in _NUMPY_TYPES),
)
"""What the histories of losses in mmengine's message hub are made of. Nothing of it is imported or called."""


class WeightFile(NamedTuple):
    """tensors: dense, on the CPU, by the network's own names, see wrapping.py. class_names: may be ()."""

    tensors: dict[str, Tensor]
    class_names: tuple[str, ...]


def read_weight_file(path: Path) -> WeightFile:
    """Read every tensor. Raises ModelError if the file is missing, damaged, asks for code, or holds something else."""
    if not is_file(path):
        raise ModelError(f"{shown_path(path)}: no such file; expected a checkpoint (.pkl, .pth or .safetensors).")
    if beside := weights_beside(path):
        raise ModelError(beside)
    with path.open("rb") as file:
        start = file.read(9)
    # safetensors: 8 bytes of header length, then JSON. A pickle begins with 0x80, a zip with "PK".
    if start[8:] == b"{" and not start.startswith((b"\x80", b"PK")):
        content: Any = read_safetensors(path)[1]
    else:
        content = _unpickle_tensors(path)
    return WeightFile(bare_names(_only_tensors(unwrapped(content), path)), _class_names(content))


class _Skipped:
    """Stands for an object that is not needed: takes whatever a pickle gives to it, does nothing, keeps nothing."""

    def __init__(self, *_: Any) -> None: ...

    def __setstate__(self, _: Any) -> None: ...


def _unpickle_tensors(path: Path) -> Any:
    skipped: list[Any] = [(_Skipped, name) for name in _SKIPPED_NAMES]
    try:
        with torch.serialization.safe_globals(skipped):
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged file can raise anything; nothing in it was executed
        asked = re.search(r"GLOBAL ([\w.]+)", str(error))
        if asked:
            raise ModelError(
                f"{path}: the file asks to run {asked[1]} while it is read, which a file of weights has no need to do. "
                "It was refused and nothing was executed. If that name looks cut off, so is the file; else, if you "
                "trust its author, open it with the program that wrote it and save the state_dict alone."
            ) from error
        first_line = (str(error).splitlines() or [type(error).__name__])[0]
        raise ModelError(
            f"{path}: not a readable PyTorch checkpoint, or a truncated one ({first_line}). Download or copy it again; "
            "its size should be that of the original."
        ) from error


def _only_tensors(state: Any, path: Path) -> dict[str, Tensor]:
    if not isinstance(state, Mapping) or not state:
        raise ModelError(f"{path}: holds a {type(state).__name__}; expected a state_dict: parameter names to tensors.")
    for name, value in state.items():
        plain = isinstance(value, Tensor) and value.layout is torch.strided and not value.is_quantized
        if not isinstance(name, str) or not plain or value.device.type != "cpu":
            what = f"a {value.layout} tensor on {value.device}" if isinstance(value, Tensor) else type(value).__name__
            raise ModelError(f"{path}: entry {name!r} is {what}; expected dense tensors only.")
    return dict(state)


def _class_names(checkpoint: Any) -> tuple[str, ...]:
    """mmdetection writes them: 2.x as meta.CLASSES, 3.x as meta.dataset_meta.classes."""
    meta = checkpoint.get("meta") if isinstance(checkpoint, Mapping) else None
    meta = meta if isinstance(meta, Mapping) else {}
    data = meta.get("dataset_meta")
    for source in (data if isinstance(data, Mapping) else {}, meta):
        names = source.get("classes") or source.get("CLASSES")
        if isinstance(names, list | tuple) and names and all(isinstance(name, str) for name in names):
            return tuple(names)
    return ()
