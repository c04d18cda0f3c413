"""Images -> Detections. Read this file first: it composes the stages, each a pure function in a file of its own.

read_image -> place_on_canvas -> backend.run -> to_results -> Detections      each a pure function
images.py     preprocess.py      backends/      postprocess.py
running/stages.py joins them, running/serial.py runs them in turn, running/overlapped.py all at once
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Sequence
from copy import copy
from dataclasses import replace
from os import PathLike
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Unpack, overload

import numpy as np

from cornernet.engine.arguments import choice, flag, integer
from cornernet.engine.arguments import size as check_size
from cornernet.engine.backends import Backend
from cornernet.engine.backends.backend_options import BackendOptions
from cornernet.engine.backends.contract import check_device_preprocessing
from cornernet.engine.backends.open_given import open_given
from cornernet.engine.errors import BackendError
from cornernet.engine.geometry import Size, fit_canvas
from cornernet.engine.model_card import ModelCard
from cornernet.engine.protocol import Canvas, Protocol, find_protocol
from cornernet.engine.reading.headers.header import MAX_PIXELS, MOST_PIXELS
from cornernet.engine.reading.images import ChannelOrder, ImageSource, Rules
from cornernet.engine.reading.views import Decode, Resize, factors
from cornernet.engine.results.detections import Detections
from cornernet.engine.results.device_detections import DeviceDetections
from cornernet.engine.results.postprocess import Suppression
from cornernet.engine.results.soft_nms import Method
from cornernet.engine.results.thresholds import Threshold, class_labels, score_thresholds
from cornernet.engine.running.choose_looks import choose_looks, say_if_rounded
from cornernet.engine.running.choose_running import results_of
from cornernet.engine.running.cores import workers_for
from cornernet.engine.running.memory import Memory
from cornernet.engine.running.stages import Stages

if TYPE_CHECKING:
    from cornernet.engine.backends.open import Precision, Runtime

WINDOW_BATCHES = 4
"""`predict` looks at this many batches of images together where their canvases differ, so that equal ones meet."""

PATIENCE_SECONDS = 0.1
"""`stream` lets a batch run short when its source gives nothing for so long."""

MOST_AHEAD = 65536
"""Images in a batch, or read ahead."""

Images = ImageSource | Iterable[ImageSource]
Where = Literal["host", "device"]


class Detector:
    """A model, and how images go through it. Thread-safe; a context manager.

    Defaults are those of the command line. Sizes: scaled to the canvas of training where the card knows it, else as
    they are. Scores: from the card's thresholds on (`cornernet evaluate --write-threshold` measures them), else from
    0.3 on; evaluation, which has to see every box, and the other protocols take all unless a threshold is given.

    Args:
        model: path of an ONNX file, a TensorRT engine or a checkpoint, or a Backend that is already open (it is then
            closed by its owner).
        resize: "original" keeps each image's resolution, the paper's protocol; "fit" scales every image to one canvas,
            so that images of any size share batches. None: "fit" where a size is given or the card knows the canvas of
            training, unless the protocol is another project's.
        size: (height, width) [px] of the canvas for "fit"; default the card's usual one, that of training.
        canvas: how "original" pads, see Protocol.canvas; None: as the protocol says.
        protocol: "default", "official", "mmdetection" or a Protocol: every decision in which they differ.
        mirror: run the mirrored view too; None: as the weights' project tests, see `mirrors` (official CornerNet: yes).
        scales: run the image at each of these factors (with "fit": on the canvas times each) and merge.
        max_crops: of a CornerNet-Saccade, windows of an image that it looks at more closely; None: as its card says.
        soft_nms: "gaussian", "linear", "hard", or None to keep overlapping boxes.
        merge_exponent: average boxes with those they suppress (official `merge_bbox`, `weight_exp`: 10); None: do not.
        max_per_image: the best so many of each image are kept.
        score_threshold: of those, the ones with at least this score; one number, or {class name: number} for some.
        classes: names of the classes to look for; None: all.
        max_pixels: larger pictures are refused before they are decoded.
        channel_order: of arrays and tensors that are handed in; files and PIL images know theirs.
        allow_urls: fetch pictures from http and https addresses, at most 64 MiB in a minute each.
        runtime, precision: of a .onnx file, see `open_backend`. None: ONNX Runtime, as the file says; runtime="auto":
            what is fastest here; precision="bf16": faster on CPUs that compute in it, boxes a little different.
        device: "cpu", "cuda" or "cuda:1"; None: the runtime's own choice.
        decode: "fast": with "fit", a JPEG more than twice as large as its canvas is decoded at 1/2, 1/4 or 1/8.
        device_preprocessing: images of the host are scaled, padded and cut on the device too, as those lying there are.
        device_postprocessing: soft-NMS runs on the device too, so that batches come back final. BackendError for what
            only the host does: views to merge, the official order of boxes, and others it names.
        threads: cores to use, for reading and for a runtime that computes on the CPU; default all this process may.
        backend_options: of the backend, when `model` is a path: `providers` of a .onnx file, `plugins` of an engine,
            `compiled=True` of weights (torch.compile: a minute for the first run of a shape, then faster).

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
        max_crops: int | None = None,
        soft_nms: Method | None = "gaussian",
        merge_exponent: float | None = None,
        max_per_image: int = 100,
        score_threshold: Threshold | None = None,
        classes: Sequence[str] | None = None,
        max_pixels: int = MAX_PIXELS,
        channel_order: ChannelOrder = "bgr",
        allow_urls: bool = False,
        decode: Decode = "exact",
        device_preprocessing: bool = False,
        device_postprocessing: bool = False,
        threads: int | None = None,
        runtime: Runtime | None = None,
        precision: Precision | None = None,
        device: str | None = None,
        **backend_options: Unpack[BackendOptions],
    ) -> None:
        self.protocol: Protocol = find_protocol(protocol, canvas=canvas)
        choice("decode", decode, ("exact", "fast"))
        max_pixels = integer("max_pixels", max_pixels, least=1, most=MOST_PIXELS)
        self._owns_backend = isinstance(model, str | PathLike)
        options = {"runtime": runtime, "precision": precision, "device": device, **backend_options}
        self._backend = open_given(model, threads, options)
        try:
            suppression = Suppression(
                method=soft_nms,
                sigma=self.card.soft_nms_sigma,
                merge_exponent=merge_exponent,
                max_per_image=max_per_image,
                score_threshold=score_thresholds(score_threshold, self.card, self.protocol),
                labels=class_labels(classes, self.card),
            )
            plan = choose_looks(self.card, self.protocol, resize, size, factors(scales), mirror, max_crops)
            say_if_rounded(plan, self._backend)
            self.protocol = plan.protocol
            self._workers = workers_for(threads)
            check_device_preprocessing(device_preprocessing, self._backend)
            flag("device_postprocessing", device_postprocessing)
            rules = Rules(max_pixels, channel_order, allow_urls)
            stages = Stages(
                self._backend,
                plan.protocol,
                plan,
                suppression,
                rules,
                decode,
                device_preprocessing=device_preprocessing,
            )
            if device_postprocessing:
                stages = stages.finished_on_device("device_postprocessing=True")
        except BaseException:  # what was asked for does not suit this model: a device must not stay taken
            if self._owns_backend:
                self._backend.close()
            raise
        self.stages = stages
        """Public for benchmarks, which run the same stages in another way."""
        self._asked_threshold = score_threshold
        self._memory = Memory(self._backend)
        self._closed = threading.Event()

    @property
    def card(self) -> ModelCard:
        """What the model file says about itself."""
        return self._backend.card

    @property
    def backend(self) -> Backend:
        """The runtime that runs the model."""
        return self._backend

    @overload
    def predict(self, images: Images, *, batch_size: int = 8, keep_images: bool = False) -> list[Detections]: ...
    @overload
    def predict(self, images: Images, *, batch_size: int = 8, results: Literal["device"]) -> list[DeviceDetections]: ...

    def predict(
        self, images: Images, *, batch_size: int = 8, keep_images: bool = False, results: Where = "host"
    ) -> list[Any]:
        """One result per image, in order.

        Args:
            images: paths, directories, globs, videos; bytes or open files of pictures; arrays (H, W, 3) uint8, tensors
                and PIL images; one of them or any mixture. Arrays are not copied: do not overwrite one before its
                result is there. Arrays on the device stay there, if the backend places them there (places_views).
            batch_size: canvases that the model gets at once, of one size only; of a CornerNet-Saccade 32 at least.
            keep_images: each result carries its picture as `.image`, for drawing and crops.
            results: "device": DeviceDetections in place of Detections, whose boxes, scores and labels stay where the
                model runs; they are as final as with device_postprocessing. BackendError where it cannot do that.

        An image that cannot be used, and an image whose batch failed in the backend, gives a result with `.error`.
        """
        batch_size = integer("batch_size", batch_size, least=1, most=MOST_AHEAD)
        window = batch_size * (1 if self.stages.plan.fit else WINDOW_BATCHES)
        return list(self._detect(images, results, keep_images, batch_size=batch_size, window=window))

    @overload
    def stream(
        self, images: Images, *, batch_size: int = 1, prefetch: int | None = None, keep_images: bool = False
    ) -> Iterator[Detections]: ...
    @overload
    def stream(
        self, images: Images, *, batch_size: int = 1, prefetch: int | None = None, results: Literal["device"]
    ) -> Iterator[DeviceDetections]: ...

    def stream(
        self,
        images: Images,
        *,
        batch_size: int = 1,
        prefetch: int | None = None,
        keep_images: bool = False,
        results: Where = "host",
    ) -> Iterator[Any]:
        """The same, one result after the other, for sources without end.

        Reading, placing, running and post-processing overlap, in threads that end with the iterator: close it, or use
        it up. Memory does not grow with the number of images: at most `batch_size + prefetch` of them are anywhere
        between the source and you, and of those that were read and do not lie on their canvas yet at most `max_pixels`
        pixels and one picture a thread. With `keep_images` that bound holds for all pictures up to you.

        Args:
            prefetch: images read ahead of the batch that runs; None: as many as keep the backend busy, or 1 for a live
                Video, where what was read ahead is old when its turn comes.

        A source that gives nothing for a tenth of a second does not hold up the images before: they run as a short
        batch. What it raises is raised here, after the results before it.
        """
        batch_size = integer("batch_size", batch_size, least=1, most=MOST_AHEAD)
        if prefetch is not None:
            prefetch = integer("prefetch", prefetch, least=1, most=MOST_AHEAD)
        options = {"batch_size": batch_size, "window": batch_size, "prefetch": prefetch, "patience": PATIENCE_SECONDS}
        return self._detect(images, results, keep_images, **options)

    def for_evaluation(self) -> Detector:
        """The same, keeping boxes of every score unless a threshold was asked for. It is closed with this one."""
        if self._asked_threshold is not None:
            return self
        every = copy(self)
        every._owns_backend = False
        every.stages = replace(self.stages, suppression=replace(self.stages.suppression, score_threshold=0.0))
        if every.stages.finishing is not None:
            every.stages = every.stages.finished_on_device("device_postprocessing=True")
        return every

    def warm_up(self, batch_size: int = 1, size: Size | None = None) -> None:
        """Run one empty batch, so that the first real one does not pay for allocation and kernel selection.

        size: (height, width) [px] of the canvas; default the one of "fit", else of training.
        """
        batch_size = integer("batch_size", batch_size, least=1, most=MOST_AHEAD)
        asked = None if size is None else fit_canvas(check_size("size", size), self.card)
        height, width = asked or self.stages.plan.fit or self.card.usual_canvas
        self._backend.run(np.zeros((batch_size, height, width, 3), np.uint8))

    def close(self) -> None:
        """Free the model, if this detector opened it."""
        if not self._closed.is_set():
            self._closed.set()
            self._memory.clear()
            if self._owns_backend:
                self._backend.close()

    def __enter__(self) -> Detector:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _detect(self, images: Images, results: Where, keep_images: bool, **running: Any) -> Iterator[Any]:
        choice("results", results, ("host", "device"))
        if self._closed.is_set():
            raise BackendError("this Detector is closed; open a new one")
        stages = replace(self.stages, keep_images=keep_images)
        if results == "device":
            stages = stages.finished_on_device('results="device"', stays=True)
        return results_of(stages, self._memory, images, workers=self._workers, **running)
