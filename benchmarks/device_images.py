"""Images that are on the device already, through Detector: the boxes of the host's images, and how fast.

    python -m cornernet.benchmarks.device_images MODEL --json FILE [--seconds N] [--rehearse]

MODEL: a preset, which gets random weights: `squeeze` in torch, `models/tiny.onnx` written there and run by ONNX
Runtime's CUDA provider, `models/tiny.engine` built and run by TensorRT. Arrays of torch, and of CuPy and PyCUDA where
they are installed; the host's images as they are, and placed on the device; boxes made final on the device, brought to
the host or read there by torch. Of a preset that is a CornerNet-Saccade its views and crops, rounded or not.
Exit code 1 if boxes differ.
--rehearse: a tiny network and the kernel's source on the CPU.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import json
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from cornernet.benchmarks.untrained_models import pairing_network
from cornernet.engine.backends.contract import places_views
from cornernet.engine.backends.finishing import finishes
from cornernet.engine.detector import Detector
from cornernet.engine.results.detections import Detections
from cornernet.engine.results.device_detections import DeviceDetections

SIDE, REHEARSAL_SIDE = 511, 128
BATCH = 8
PROFILE = "1x511x511,8x511x511,8x511x511"
TOLERANCE, PIXELS = 1e-3, 0.5
"""Between scores, and between sides of boxes [px]. The canvases are the same bits; what differs is order of sums."""

Convert = Callable[[np.ndarray], Any]


def ways(*, rehearse: bool) -> Iterator[tuple[str, Convert]]:
    """What is installed here that puts an array on the device."""
    if rehearse:
        kernels, rig = _emulation()
        yield "emulated", lambda image: rig.OnDevice(kernels, image)
        return
    import torch

    yield "torch", lambda image: torch.from_numpy(image).cuda()
    yield "torch, channels first", lambda image: _planes(torch.from_numpy(image).cuda())
    if importlib.util.find_spec("cupy") is not None:
        yield "cupy", importlib.import_module("cupy").asarray
    if importlib.util.find_spec("pycuda") is not None:
        importlib.import_module("pycuda.autoprimaryctx")  # the context that PyTorch and TensorRT use too
        yield "pycuda", importlib.import_module("pycuda.gpuarray").to_gpu


def _planes(image: Any) -> Any:
    """The same values, in memory channel by channel."""
    return image.permute(2, 0, 1).contiguous().permute(1, 2, 0)


def _emulation() -> tuple[Any, Any]:
    sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
    import placing_rig

    return placing_rig.emulated_kernels(), placing_rig


def open_backend(model: Path, *, rehearse: bool) -> Any:
    """A backend on the GPU; in a rehearsal one on the CPU that places images by the emulated kernel."""
    from cornernet.trainer.deploy.torch_backend import TorchBackend

    network, card = pairing_network(model.stem)
    if model.suffix:
        from cornernet.engine.backends.open import open_backend as open_file
        from cornernet.export.build import build_engine
        from cornernet.export.onnx_export import export_onnx

        model.parent.mkdir(parents=True, exist_ok=True)
        export_onnx(network, card, model.with_suffix(".onnx"), precision="fp16")
        if model.suffix == ".engine":
            build_engine(model.with_suffix(".onnx"), model, profiles=(PROFILE,))
        return open_file(model, device="cuda")
    if not rehearse:
        return TorchBackend(network, card, device="cuda", precision="fp16")
    kernels, rig = _emulation()
    return rig.PlacesViews(kernels, TorchBackend(network, card))


def read_by_torch(found: DeviceDetections) -> Detections:
    """Results on the device as a user of torch takes them over, then on the host."""
    import torch

    if found.error:
        return found.to_host()
    arrays = found.boxes, found.scores, found.labels
    tensors = (each if torch.is_tensor(each) else torch.as_tensor(each, device="cuda") for each in arrays)
    boxes, scores, labels = (each.cpu().numpy() for each in tensors)
    return Detections(boxes, scores, labels, image_size=found.image_size)


def measure(detector: Detector, images: list[Any], wanted: list[Any], *, stays: bool = False) -> dict[str, Any]:
    """One row: images per second, the largest differences to `wanted`, and what went wrong. stays: results stay on the
    device."""
    detector.predict(images, batch_size=BATCH)
    began = time.perf_counter()
    found: list[Any] = (
        detector.predict(images, batch_size=BATCH, results="device")
        if stays
        else detector.predict(images, batch_size=BATCH)
    )
    seconds = time.perf_counter() - began
    found = [read_by_torch(each) for each in found] if stays else found
    errors = [each.error for each in found if each.error]
    differing, scores, pixels = 0, 0.0, 0.0
    for each, expected in zip(found, wanted):
        if len(each) == len(expected):
            scores = max(scores, float(np.abs(each.scores - expected.scores).max(initial=0)))
            pixels = max(pixels, float(np.abs(each.boxes - expected.boxes).max(initial=0)))
        differing += len(each) != len(expected)
    boxes = sum(map(len, wanted))
    same = boxes and not differing and scores <= TOLERANCE and pixels <= PIXELS
    return {
        "boxes": boxes,
        "images_per_second": len(images) / seconds,
        "largest_score_difference": scores,
        "largest_box_difference_px": pixels,
        "differs": "" if same else f"{differing} of {len(wanted)} images in the number of their {boxes} boxes",
        "errors": errors[:1],
    }


def rows(model: Path, seconds: float, *, rehearse: bool) -> Iterator[dict[str, Any]]:
    began = time.monotonic()
    rng, count = np.random.default_rng(0), 4 if rehearse else 64
    sizes = [(48, 64), (70, 50)] if rehearse else [(480, 640), (427, 640)]
    images = [rng.integers(0, 256, (*sizes[number % 2], 3), dtype=np.uint8) for number in range(count)]
    side = REHEARSAL_SIDE if rehearse else SIDE
    backend = open_backend(model, rehearse=rehearse)
    settings: dict[str, dict[str, Any]] = {
        "fit": {"size": (side, side)},
        "mirrored": {"size": (side, side), "mirror": True},
        "original, two scales": {"resize": "original", "scales": (0.4, 0.7)},
    }
    if backend.card.saccade is not None:
        settings = {"crops": {}, "crops of floats": {"protocol": "official"}}
    for name, setting in settings.items():
        about = {"model": model.name, "backend": backend.name, "views": name}
        chosen = images if name == next(iter(settings)) else images[: max(4, count // 8)]
        kept = {"score_threshold": 0.0, **setting}
        try:
            with Detector(backend, **kept) as detector:
                wanted = detector.predict(chosen, batch_size=BATCH)
                yield {**about, "array": "host", **measure(detector, chosen, wanted)}
                if not places_views(backend):
                    yield {**about, "array": "device", "differs": "this backend places no images", "errors": []}
                    continue
                for array, convert in ways(rehearse=rehearse):
                    if time.monotonic() - began < seconds:
                        yield {**about, "array": array, **measure(detector, list(map(convert, chosen)), wanted)}
            with Detector(backend, device_preprocessing=True, **kept) as detector:
                yield {**about, "array": "host, placed on the device", **measure(detector, chosen, wanted)}
            if name != "fit" or not finishes(backend):
                continue
            with Detector(backend, device_postprocessing=True, **kept) as detector:
                yield {**about, "array": "host, final on the device", **measure(detector, chosen, wanted)}
            with Detector(backend, device_preprocessing=True, **kept) as detector:
                yield {**about, "array": "results on the device", **measure(detector, chosen, wanted, stays=True)}
        except (ImportError, RuntimeError, ValueError) as error:  # one way that fails leaves the others their numbers
            yield {**about, "array": "", "differs": "", "errors": [f"{type(error).__name__}: {error}"]}
    backend.close()


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Compare images on the device with images on the host.")
    parser.add_argument("model", type=Path)
    parser.add_argument("--json", type=Path, required=True)
    parser.add_argument("--seconds", type=float, default=90)
    parser.add_argument("--rehearse", action="store_true")
    options = parser.parse_args(arguments)
    written, failed = [], 0
    for row in rows(options.model, options.seconds, rehearse=options.rehearse):
        written.append(row)
        failed += bool(row["differs"] or row["errors"])
        options.json.write_text(json.dumps(written, indent=1), encoding="utf-8")
        print(row, flush=True)
    print(f"{len(written) - failed} comparisons passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
