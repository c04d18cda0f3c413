"""A TensorRT backend on fakes, with an engine file and card written for it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from fake_cuda import FakeCuda
from fake_tensorrt import expected, fake_tensorrt, plan
from toy_onnx import toy_card

from cornernet.engine.backends.cuda_runtime import Cuda
from cornernet.engine.backends.engine_card import EngineCard, FileFacts, Profile, write_engine_card
from cornernet.engine.backends.tensorrt import TensorRTBackend

SMALL = [[1, 16, 16], [2, 32, 48], [4, 64, 64]]


def write_engine(folder: Path, profiles=(SMALL,), *, flavour="tensorrt", **more) -> Path:
    """A fake plan and its true sidecar."""
    path = folder / "toy.engine"
    keys = ("version", "gpu", "plugins", "operators", "targets", "card", "embeds_plugins", "float_canvases")
    facts = {key: more.pop(key) for key in keys if key in more}
    path.write_bytes(plan(list(profiles), **more))
    onnx = FileFacts(name="toy.onnx", sha256="0" * 64, bytes=1)
    chosen = tuple(Profile(min=low, opt=best, max=high) for low, best, high in profiles)
    defaults = dict(card=toy_card(), engine=FileFacts.of(path), onnx=onnx, flavour=flavour, version="10.16.1.11")
    settled = dict(profiles=chosen, opt_level=3, inspected="engine")
    write_engine_card(path, EngineCard(**(defaults | settled | facts)))
    return path


class Rig:
    """A backend on fakes. Closing it must leave nothing behind on the device."""

    def __init__(self, folder: Path, profiles=(SMALL,), *, rtx=False, cuda=None, options=None, **more) -> None:
        flavour = "tensorrt_rtx" if rtx else "tensorrt"
        self.path = write_engine(folder, profiles, flavour=flavour, **more)
        self.cuda = cuda or FakeCuda()
        self.api = fake_tensorrt(self.cuda, rtx=rtx)
        self.options = {"kernel_cache": folder / "toy.kernels"} | (options or {})

    def __enter__(self) -> Rig:
        device = self.options.get("device", 0)
        self.backend = TensorRTBackend(self.path, api=self.api, cuda=Cuda(self.cuda, device=device), **self.options)
        return self

    def __exit__(self, *error: object) -> None:
        self.backend.close()

    @property
    def engine(self):
        return self.api.module.engines[-1]


def images(count: int, height: int = 32, width: int = 48, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, height, width, 3), dtype=np.uint8)


def assert_results(raw, canvases) -> None:
    for got, wanted in zip(raw, expected(canvases)):
        assert got.shape == wanted.shape and got.dtype == wanted.dtype
        np.testing.assert_array_equal(got, wanted)
