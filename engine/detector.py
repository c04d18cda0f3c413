"""Images -> Detections. Read this file first: it composes the stages, each a pure function in a file of its own.

read_image -> place_on_canvas -> backend.run -> to_candidates -> suppress -> Detections
images.py     preprocess.py      backends/      postprocess.py   soft_nms.py
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from cornernet.engine.arguments import integer, shown
from cornernet.engine.arguments import size as check_size
from cornernet.engine.backends import Backend
from cornernet.engine.backends.contract import check_detections
from cornernet.engine.errors import BackendError, ImageError
from cornernet.engine.geometry import Size, fit_canvas
from cornernet.engine.model_card import ModelCard
from cornernet.engine.protocol import Canvas, Protocol, find_protocol
from cornernet.engine.reading.headers.header import MAX_PIXELS, MOST_PIXELS
from cornernet.engine.reading.images import ImageSource, expand_sources, read_image
from cornernet.engine.reading.prefetch import prefetch as work_ahead
from cornernet.engine.reading.preprocess import place_on_canvas
from cornernet.engine.reading.views import Resize, View, ViewPlan, batches, canvas_to_fit, mirrors
from cornernet.engine.results.detections import Detections
from cornernet.engine.results.postprocess import Candidates, Suppression, suppress, to_candidates
from cornernet.engine.results.soft_nms import Method

WINDOW_BATCHES = 4
"""`predict` looks at this many batches of images together, so that equal canvases meet."""

MOST_AHEAD = 65536
"""Images in a batch, or read ahead."""


@dataclass
class _Loaded:
    """An image that was read, or the reason why not."""

    index: int
    source: ImageSource
    pixels: np.ndarray | None = None
    error: str | None = None


class Detector:
    """A model, and how images go through it. Thread-safe; a context manager.

    Args:
        model: path of an ONNX file or a TensorRT engine, or a Backend that is already open (it is then closed by its
            owner).
        resize: "original" keeps each image's resolution, the paper's protocol; "fit" scales every image to one canvas,
            so that images of any size share batches. None, as the command line: "fit" where a size is given or the card
            knows the canvas of training, unless the protocol is another project's.
        size: (height, width) [px] of the canvas for "fit"; default the card's usual one, that of training.
        canvas: how "original" pads, see Protocol.canvas; None: as the protocol says.
        protocol: "default", "official", "mmdetection" or a Protocol: every decision in which they differ.
        mirror: run the mirrored view too; None: as the weights' project tests, see `mirrors` (official CornerNet: yes).
        scales: run the image at each of these factors (with "fit": on the canvas times each) and merge.
        soft_nms: "gaussian", "linear", "hard", or None to keep overlapping boxes.
        merge_exponent: average boxes with those they suppress (official `merge_bbox`, `weight_exp`: 10); None: do not.
        max_per_image, score_threshold: what is kept of each image.
        max_pixels: larger pictures are refused before they are decoded.
        backend_options: handed to the backend when `model` is a path (`providers`, `threads`).

    Raises:
        ModelError: the file cannot be used, or the model cannot take this canvas.
        BackendError: the runtime for the file is missing or broken.
    """

    def __init__(
        self,
        model: str | PathLike[str] | Backend,
        *,
        resize: Resize | None = None,
        size: Size | None = None,
        canvas: Canvas | None = None,
        protocol: str | Protocol = "default",
        mirror: bool | None = None,
        scales: Sequence[float] = (1.0,),
        soft_nms: Method | None = "gaussian",
        merge_exponent: float | None = None,
        max_per_image: int = 100,
        score_threshold: float = 0.0,
        max_pixels: int = MAX_PIXELS,
        **backend_options: Any,
    ) -> None:
        self.protocol: Protocol = find_protocol(protocol, canvas=canvas)
        self._suppression = Suppression(
            method=soft_nms,
            merge_exponent=merge_exponent,
            max_per_image=max_per_image,
            score_threshold=score_threshold,
        )
        self._max_pixels = integer("max_pixels", max_pixels, least=1, most=MOST_PIXELS)
        self._owns_backend = isinstance(model, str | PathLike)
        self._backend = _open(model, backend_options)
        try:
            self._plan = ViewPlan(
                card=self.card,
                protocol=self.protocol,
                fit=canvas_to_fit(self.card, self.protocol, resize, size),
                scales=_factors(scales),
                mirror=mirrors(self.card, self.protocol, mirror),
            )
        except Exception:
            if self._owns_backend:
                self._backend.close()
            raise
        self._closed = threading.Event()

    @property
    def card(self) -> ModelCard:
        """What the model file says about itself."""
        return self._backend.card

    @property
    def backend(self) -> Backend:
        """The runtime that runs the model."""
        return self._backend

    def predict(self, images: ImageSource | Iterable[ImageSource], *, batch_size: int = 8) -> list[Detections]:
        """One result per image, in order.

        Args:
            images: paths, directories, globs, bytes of image files, arrays (H, W, 3) uint8 BGR; one of them or any
                mixture. Arrays are not copied: do not overwrite one before its result is there.
            batch_size: canvases that the model gets at once; canvases of one size only.

        An image that cannot be used, and an image whose batch failed in the backend, gives a result with `.error`.
        """
        batch_size = integer("batch_size", batch_size, least=1, most=MOST_AHEAD)
        window = WINDOW_BATCHES * batch_size
        return list(self._detect(images, batch_size, window, prefetch=batch_size))

    def stream(
        self, images: ImageSource | Iterable[ImageSource], *, batch_size: int = 1, prefetch: int = 4
    ) -> Iterator[Detections]:
        """The same, one result after the other, for sources without end.

        A thread reads up to `prefetch` images ahead of the batch that runs. Closing the iterator ends the thread.
        """
        batch_size = integer("batch_size", batch_size, least=1, most=MOST_AHEAD)
        prefetch = integer("prefetch", prefetch, least=1, most=MOST_AHEAD)
        return self._detect(images, batch_size, window=batch_size, prefetch=prefetch)

    def warm_up(self, batch_size: int = 1, size: Size | None = None) -> None:
        """Run one empty batch, so that the first real one does not pay for allocation and kernel selection.

        size: (height, width) [px] of the canvas; default the one of "fit", else of training.
        """
        batch_size = integer("batch_size", batch_size, least=1, most=MOST_AHEAD)
        asked = None if size is None else fit_canvas(check_size("size", size), self.card)
        height, width = asked or self._plan.fit or self.card.usual_canvas
        self._backend.run(np.zeros((batch_size, height, width, 3), np.uint8))

    def close(self) -> None:
        """Free the model, if this detector opened it."""
        if not self._closed.is_set():
            self._closed.set()
            if self._owns_backend:
                self._backend.close()

    def __enter__(self) -> Detector:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _detect(
        self, images: ImageSource | Iterable[ImageSource], batch_size: int, window: int, prefetch: int
    ) -> Iterator[Detections]:
        if self._closed.is_set():
            raise BackendError("this Detector is closed; open a new one")
        waiting: list[_Loaded] = []
        pixels = 0
        reader = work_ahead(enumerate(expand_sources(images)), self._load, prefetch)
        failure: Exception | None = None
        try:
            while (loaded := _next_or_failure(reader)) is not None:
                if isinstance(loaded, Exception):
                    failure = loaded
                    break
                waiting.append(loaded)
                pixels += loaded.pixels[..., 0].size if loaded.pixels is not None else 0
                # The second condition bounds memory: few large pictures, or many small ones.
                if len(waiting) >= window or pixels >= self._max_pixels:
                    yield from self._run_window(waiting, batch_size)
                    waiting, pixels = [], 0
            yield from self._run_window(waiting, batch_size)
            if failure is not None:
                raise failure
        finally:
            reader.close()

    def _load(self, numbered: tuple[int, ImageSource]) -> _Loaded:
        index, source = numbered
        try:
            return _Loaded(index, source, read_image(source, max_pixels=self._max_pixels))
        except ImageError as error:
            return _Loaded(index, source, error=str(error))

    def _run_window(self, window: list[_Loaded], batch_size: int) -> list[Detections]:
        """Results of images that share batches where their canvases are equal."""
        views: list[View] = []
        for position, loaded in enumerate(window):
            if loaded.pixels is not None:
                try:
                    views += [View(position, place) for place in self._plan.placements(loaded.pixels.shape[:2])]
                except ImageError as error:
                    loaded.error = str(error)
        found: dict[int, list[Candidates]] = {position: [] for position in range(len(window))}
        for batch in batches(views, batch_size):
            try:
                self._run_batch(batch, window, found)
            except Exception as error:  # a runtime may raise anything; every picture has its result all the same
                for view in batch:
                    window[view.image].error = f"{self._backend.name} failed: {error or type(error).__name__}"
        return [self._result(loaded, found[position]) for position, loaded in enumerate(window)]

    def _run_batch(self, batch: list[View], window: list[_Loaded], found: dict[int, list[Candidates]]) -> None:
        canvases = np.empty((len(batch), *batch[0].placement.canvas, 3), np.uint8)
        for canvas, view in zip(canvases, batch):
            pixels = window[view.image].pixels
            assert pixels is not None
            place_on_canvas(pixels, view.placement, self.card, self.protocol, out=canvas)
        raw = self._backend.run(canvases)
        check_detections(raw, len(batch), self.card, self._backend.name)
        for row, view in enumerate(batch):
            found[view.image].append(to_candidates(raw, row, view.placement, self.protocol))

    def _result(self, loaded: _Loaded, views: list[Candidates]) -> Detections:
        about: dict[str, Any] = {
            "class_names": self.card.class_names,
            "category_ids": self.card.category_ids,
            "image_size": None if loaded.pixels is None else loaded.pixels.shape[:2],
            "path": str(loaded.source) if isinstance(loaded.source, str | PathLike) else None,
            "index": loaded.index,
            "decimals": self.protocol.result_decimals,
        }
        if loaded.error is not None:
            return Detections.failed(loaded.error, **about)
        return Detections(*suppress(views, self._suppression, self.protocol), **about)


def _open(model: str | PathLike[str] | Backend, options: dict[str, Any]) -> Backend:
    if isinstance(model, str | PathLike):
        from cornernet.engine.backends.open import open_backend

        return open_backend(Path(model), **options)
    if not all(hasattr(model, part) for part in ("card", "run", "close")):
        raise TypeError(f"model={shown(model)}; expected a path of an ONNX file or an engine, or an open Backend")
    if options:
        raise TypeError(f"{', '.join(options)}: expected no options of a backend, which is already open here")
    return model


def _next_or_failure(reader: Iterator[_Loaded]) -> _Loaded | Exception | None:
    """The next image, what the caller's own iterator raised instead, or None at the end."""
    try:
        return next(reader, None)
    except Exception as error:
        return error


def _factors(scales: Sequence[float]) -> tuple[float, ...]:
    if isinstance(scales, str | bytes) or not isinstance(scales, Iterable):
        raise TypeError(f"scales={shown(scales)}; expected one or more factors, such as (0.5, 1.0)")
    return tuple(np.asarray(scales, dtype=object).ravel()) if isinstance(scales, np.ndarray) else tuple(scales)
