"""What is done to images, stage by stage; each a function of its arguments, called from any thread.

load -> views -> place -> run -> finish; a network that looks again has further views before it is finished
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from os import PathLike
from typing import Any

import numpy as np

from cornernet.engine.backends import Backend, named_outputs
from cornernet.engine.backends.contract import check_detections, places_views, takes_float
from cornernet.engine.backends.device_arrays import DeviceImage, describe_image, facts_of
from cornernet.engine.backends.finishing import Final, Finishing, check_final
from cornernet.engine.backends.placing import Packed
from cornernet.engine.errors import ImageError
from cornernet.engine.geometry import Size
from cornernet.engine.model_card import ModelCard
from cornernet.engine.protocol import Protocol
from cornernet.engine.reading.headers.header import check_size
from cornernet.engine.reading.images import ImageSource, Rules, read_reduced
from cornernet.engine.reading.packing import Pixels, pack, packed_bytes
from cornernet.engine.reading.video import Frame
from cornernet.engine.reading.views import Decode, Found, Looks, View, batches
from cornernet.engine.results.detections import Detections
from cornernet.engine.results.device_detections import DeviceDetections
from cornernet.engine.results.device_rules import device_rules, placement_row
from cornernet.engine.results.postprocess import Suppression, to_results

log = logging.getLogger("cornernet.running")


@dataclass
class Loaded:
    """An image that was read, or the reason why not; then what the model said of its views.

    pixels: (H, W, 3) uint8 BGR, or as much smaller as the decoder made it; None once it lies on its canvases. On the
        device, if that is where it came from and the backend places it there.
    size: (height, width) [px] of the image itself.
    """

    index: int
    source: ImageSource
    pixels: Pixels | None = None
    size: Size | None = None
    error: str | None = None
    found: dict[int, Found] = field(default_factory=dict)
    """By the order of the views, whichever batch is done first."""
    final: Final | None = None
    """In place of what was `found`, from a backend that post-processes."""

    @property
    def seen(self) -> list[Found]:
        return [self.found[order] for order in sorted(self.found)]

    @property
    def area(self) -> int:
        """Pixels held in memory."""
        return 0 if self.pixels is None else self.pixels.shape[0] * self.pixels.shape[1]


Batch = list[View]
"""Views of one canvas size; `View.image` counts within the window."""


@dataclass(frozen=True)
class Stages:
    """A Detector's settings, and the stages that follow from them."""

    backend: Backend
    protocol: Protocol
    plan: Looks
    suppression: Suppression
    rules: Rules
    decode: Decode
    keep_images: bool = False
    """Whether results carry their pictures; they then stay in memory until the result is taken."""
    device_preprocessing: bool = False
    """Whether images on the host are placed by the backend too."""
    finishing: Finishing | None = None
    """How the backend post-processes; None: the host does."""

    def finished_on_device(self, asked: str, *, stays: bool = False) -> Stages:
        """The same, with a backend that post-processes. Raises BackendError, see `device_rules`."""
        rules = device_rules(asked, self.backend, self.plan, self.suppression, stays=stays)
        return replace(self, finishing=Finishing(rules, stays))

    @property
    def looks(self) -> int:
        """How often `views`, `place` and `run` come before `finish`."""
        return self.plan.looks

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of canvases: uint8; float32 where that is asked for and the backend takes it."""
        return np.dtype(np.uint8 if self.plan.whole_levels or not takes_float(self.backend) else np.float32)

    @property
    def max_pixels(self) -> int:
        return self.rules.max_pixels

    @property
    def card(self) -> ModelCard:
        return self.backend.card

    def load(self, numbered: tuple[int, ImageSource]) -> Loaded:
        """Read one image. Whatever is wrong with it becomes its `error`."""
        index, source = numbered
        try:
            on_device = self._found_on_device(source)
            if on_device is not None:
                return Loaded(index, source, on_device, on_device.shape[:2])
            pixels, size = read_reduced(source, self.rules, reduction=self._reduction)
            return Loaded(index, source, pixels, size)
        except ImageError as error:
            return Loaded(index, source, error=str(error))
        except Exception as error:  # one image that nobody foresaw must not lose the others
            log.exception("image %d", index)
            return Loaded(index, source, error=f"cannot be read: {error or type(error).__name__}")

    def views(self, window: Sequence[Loaded], batch_size: int) -> list[Batch]:
        """The batches of a window's next look: views of images whose canvases are equal share them, `batch_size` of
        them or as many as the plan puts together."""
        views: list[View] = []
        for position, loaded in enumerate(window):
            if loaded.size is not None and loaded.error is None:
                if loaded.found and isinstance(loaded.pixels, DeviceImage):  # it was read: whoever wrote it is done
                    loaded.pixels = replace(loaded.pixels, producer=None)
                try:
                    placements = self.plan.placements(loaded.size, loaded.seen)
                    views += [View(position, order, place) for order, place in enumerate(placements, len(loaded.found))]
                except ImageError as error:
                    loaded.error = str(error)
        return list(batches(views, max(batch_size, self.plan.together)))

    def bytes_to_place(self, batch: Batch, window: Sequence[Loaded]) -> int:
        """Host memory that `place` needs for a batch."""
        views = _placements(batch, window)
        if self._is_packed(views):
            return packed_bytes(views, self.plan)
        return int(np.prod((len(batch), *batch[0].placement.canvas, 3))) * self.dtype.itemsize

    def place(self, batch: Batch, window: Sequence[Loaded], memory: np.ndarray) -> np.ndarray | Packed:
        """The canvases (n, h, w, 3) of a batch, of `dtype`, or what its backend places itself, in memory (bytes,)."""
        views = _placements(batch, window)
        if self._is_packed(views):
            return pack(views, memory, self.plan, dtype=self.dtype)
        shape = (len(batch), *batch[0].placement.canvas, 3)
        canvases = memory[: int(np.prod(shape)) * self.dtype.itemsize].view(self.dtype).reshape(shape)
        for canvas, (pixels, placement) in zip(canvases, views, strict=True):
            assert isinstance(pixels, np.ndarray), "what lies on a device is packed"
            self.plan.place(pixels, placement, canvas)
        return canvases

    def run(self, batch: Batch, window: Sequence[Loaded], placed: np.ndarray | Packed) -> None:
        """Run the model; what it says, or why it failed, goes to the images of the batch."""
        try:
            if self.finishing is not None:
                for view, final in zip(batch, self._run_final(batch, placed, self.finishing), strict=True):
                    window[view.image].final = final
                return
            if isinstance(placed, Packed):
                raw = self.backend.run_views(placed)  # type: ignore[attr-defined]  # it says that it has it
            else:
                raw = self.backend.run(placed)
            check_detections(raw, len(batch), self.card, self.backend.name)
            raw = named_outputs([np.ascontiguousarray(values) for values in raw])
        except Exception as error:  # BackendError, MemoryError, or what the caller's own backend raises
            for view in batch:
                window[view.image].error = f"{self.backend.name} failed: {error or type(error).__name__}"
        else:
            for row, view in enumerate(batch):
                window[view.image].found[view.order] = raw, row, view.placement

    def _run_final(self, batch: Batch, placed: np.ndarray | Packed, finishing: Finishing) -> list[Final]:
        rows = [placement_row(view.placement, self.protocol) for view in batch]  # type: ignore[arg-type]  # a ViewPlan's
        found: list[Final] = self.backend.run_final(  # type: ignore[attr-defined]  # it says that it has it
            placed, np.array(rows, np.float32), finishing
        )
        check_final(found, len(batch), self.card, self.backend.name)
        return found

    def finish(self, loaded: Loaded) -> Any:
        """The result of an image all of whose views were run: Detections, or DeviceDetections if it stays there."""
        about: dict[str, Any] = {
            "class_names": self.card.class_names,
            "category_ids": self.card.category_ids,
            "image_size": loaded.size,
            "path": _path_of(loaded.source),
            "index": loaded.index,
            "frame": loaded.source.number if isinstance(loaded.source, Frame) else None,
            "decimals": self.protocol.result_decimals,
            "image": loaded.pixels if self.keep_images else None,
        }
        if self.finishing is not None and self.finishing.stays:
            boxes, scores, labels = loaded.final or (None, None, None)
            return DeviceDetections(boxes, scores, labels, error=loaded.error, **about)
        if loaded.error is not None:
            return Detections.failed(loaded.error, **about)
        if loaded.final is not None:
            kept = self.suppression.keeps(loaded.final.scores, loaded.final.labels)
            return Detections(*(values[kept] for values in loaded.final), **about)
        return Detections(*to_results(self.plan.kept(loaded.seen), self.suppression, self.protocol), **about)

    def _is_packed(self, views: Sequence[tuple[Pixels, Any]]) -> bool:
        return self.device_preprocessing or any(isinstance(pixels, DeviceImage) for pixels, _ in views)

    def _found_on_device(self, source: ImageSource) -> DeviceImage | None:
        """An image that stays on the device. None: it is none, or it is copied to the host as other arrays are, because
        a result has to carry it or this backend cannot place it. Raises ImageError if it cannot be used."""
        facts = facts_of(source)
        if facts is None or self.keep_images:
            return None
        if not places_views(self.backend):
            _say_that_arrays_are_copied(self.backend.name)
            return None
        image = describe_image(source, facts, rgb=self.rules.channel_order == "rgb")
        check_size(*image.shape[:2], "device array", self.max_pixels)
        self.backend.check_image(image)  # type: ignore[attr-defined]
        return image

    def _reduction(self, image: Size) -> int:
        """1, 2, 4 or 8: how much smaller the decoder may make an image of this size."""
        return self.plan.reduction(image) if self.decode == "fast" and not self.keep_images else 1


def _placements(batch: Batch, window: Sequence[Loaded]) -> list[tuple[Pixels, Any]]:
    views = [(window[view.image].pixels, view.placement) for view in batch]
    assert all(pixels is not None for pixels, _ in views)
    return views  # type: ignore[return-value]


_told: set[str] = set()
_telling = threading.Lock()


def _say_that_arrays_are_copied(backend: str) -> None:
    """Once for each kind of backend, whichever of the threads that read is first."""
    with _telling:
        if backend in _told:
            return
        _told.add(backend)
    log.warning(
        "images on the device are copied to the host, because %s does not place them itself. TensorRT engines, weights "
        'with device="cuda" and ONNX Runtime\'s CUDA provider do, where the library of plugins/ is built: '
        "cmake -B build && cmake --build build -j2",
        backend,
    )


def _path_of(source: ImageSource) -> str | None:
    if isinstance(source, Frame):
        return source.path
    return str(source) if isinstance(source, str | PathLike) else None
