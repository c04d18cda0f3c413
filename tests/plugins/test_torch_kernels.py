"""The kernels behind torch's custom operators: the bits of torch's own, on the emulation and through the dispatcher."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from cornernet import plugins
from cornernet.plugins import launchers
from cornernet.plugins.launchers import LaunchError
from cornernet.trainer.deploy import decode, kernel_operators
from cornernet.trainer.deploy.kernel_operators import KernelOperators
from cornernet.trainer.network import corner_pool

IN_TORCH = {"top_left": corner_pool.pool_top_left_in_torch, "bottom_right": corner_pool.pool_bottom_right_in_torch}


@pytest.fixture
def operators(emulated) -> KernelOperators:
    return KernelOperators(emulated.launchers, lambda device: 0)


def random(*shape: int, dtype: torch.dtype = torch.float32, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(dtype)


@pytest.mark.parametrize("corner", IN_TORCH)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("shape", [(2, 8, 20, 24), (1, 5, 7, 9)])
def test_pooling_gives_torchs_bits_in_every_memory_order(operators, shape, channels_last, dtype, corner):
    memory = torch.channels_last if channels_last else torch.contiguous_format
    first, second = (random(*shape, dtype=dtype, seed=seed).contiguous(memory_format=memory) for seed in (1, 2))
    pooled = operators.pool(first, second, corner)
    assert torch.equal(pooled, IN_TORCH[corner](first, second))
    if channels_last and dtype != torch.float32 and shape[1] % 8 == 0:
        assert pooled.is_contiguous(memory_format=torch.channels_last)  # pooled as it lay, no reordering


def test_maps_of_different_order_and_alignment_are_pooled_too(operators):
    whole = random(1, 9, 16, 16, dtype=torch.float16)
    first = whole.flatten()[3 : 3 + 8 * 256].view(1, 8, 16, 16)  # 6 bytes off
    second = random(1, 8, 16, 16, dtype=torch.float16, seed=5).contiguous(memory_format=torch.channels_last)
    for a, b in ((first, second), (second, first)):
        assert torch.equal(operators.pool(a, b, "top_left"), IN_TORCH["top_left"](a, b))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_peaks_and_groups_give_torchs_numbers(operators, dtype):
    sides = []
    for seed in (1, 2):
        logits = random(2, 3, 24, 32, dtype=dtype, seed=seed)
        scores, labels, cells = operators.peaks(logits, 30)
        wanted = decode.corner_peaks_in_torch(logits, 30)
        assert torch.equal(labels, wanted[1]) and torch.equal(cells, wanted[2])
        torch.testing.assert_close(scores, wanted[0], rtol=2e-7, atol=0)
        sides += [scores, labels, 0.3 * random(2, 30, seed=seed), (cells % 32).float(), (cells // 32).float()]
    for rules in ((50, 0.5, False), (200, 0.1, True)):
        for got, wanted in zip(operators.group(tuple(sides), *rules), decode.corner_group_in_torch(*sides, *rules)):
            assert torch.equal(got, wanted)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize(("channels", "size"), [(16, 3), (5, 3), (16, 1)])
def test_windows_give_torchs_bits_in_every_memory_order(operators, channels, size, channels_last, dtype):
    memory = torch.channels_last if channels_last else torch.contiguous_format
    features = random(2, channels, 6, 9, dtype=dtype).contiguous(memory_format=memory)
    cells = torch.randint(0, 54, (2, 20), generator=torch.Generator().manual_seed(1)).int()
    got = operators.windows(features, cells, size)
    for one, other in zip(got, decode.corner_windows_in_torch(features, cells, size)):
        assert torch.equal(one, other)
    if channels_last and dtype != torch.float32 and channels % 8 == 0:
        assert got[0].is_contiguous(memory_format=torch.channels_last)  # as the convolution over them wants it


def test_a_batch_comes_back_final(operators):
    from cornernet.engine.backends import RawDetections
    from cornernet.engine.geometry import place_fit
    from cornernet.engine.protocol import Protocol
    from cornernet.engine.results.postprocess import Suppression, to_results

    rows, protocol = 60, Protocol("any")
    corner, size = 80 * torch.rand(2, rows, 2), 30 * torch.rand(2, rows, 2)
    scores = torch.rand(2, rows).sort(dim=1, descending=True).values
    labels = torch.randint(0, 2, (2, rows)).int()
    found = decode.CornerPairs(
        torch.cat((corner, corner + size), 2), scores, torch.zeros(2, rows, 2), labels, torch.tensor([rows, 30]).int()
    )
    placement = place_fit((90, 120), (96, 96), protocol)
    (down, across), (height, width) = placement.resized, placement.image
    row = [placement.left, placement.top, across, down, across, width, down, height, torch.nan]
    given = found.boxes, found.scores, found.labels, found.counts, torch.tensor([row, row])
    got = operators.soft_nms(given, 20, method="linear", drop_empty=True)
    raw = RawDetections(*(each.numpy() for each in found))
    for image in range(2):
        wanted = to_results([(raw, image, placement)], Suppression("linear", max_per_image=20), protocol)
        count = int(got[3][image])
        for one, other in zip(got, wanted):
            torch.testing.assert_close(one[image, :count], torch.from_numpy(other), rtol=1e-5, atol=1e-5)


WHOLE_NETWORK = """
import sys
import numpy as np
import torch
from cornernet.engine.backends.finishing import Finishing, NmsRules
from lively_network import card_of, lively_network
from cornernet.export.parity import drawn_images
from cornernet.plugins.launchers import Launchers
from cornernet.trainer.deploy import kernel_operators
from cornernet.trainer.deploy.torch_backend import TorchBackend

network = lively_network()
backend = TorchBackend(network, card_of(network))
canvases = drawn_images(0, 2, 64, 96)
row = [0, 0, 96, 64, 1, 1, 1, 1, np.nan]
final = np.array([row, row], np.float32), Finishing(NmsRules(20, "gaussian", 0.5, 0.5, 0.001, 0, True))
wanted, wanted_final = backend.run(canvases), backend.run_final(canvases, *final)
called = []
class Counting(kernel_operators.KernelOperators):
    def pool(self, *a): called.append("pool"); return super().pool(*a)
    def peaks(self, *a): called.append("peaks"); return super().peaks(*a)
    def windows(self, *a): called.append("windows"); return super().windows(*a)
    def group(self, *a): called.append("group"); return super().group(*a)
    def soft_nms(self, *a, **k): called.append("soft_nms"); return super().soft_nms(*a, **k)
kernel_operators.register(Counting(Launchers(sys.argv[1]), lambda device: 0), "cpu")
got = backend.run(canvases)
assert wanted.counts.sum() > 0
for left, right in zip(got, wanted):
    assert left.shape == right.shape and abs(left.astype(float) - right).max() < 1e-4
assert "soft_nms" not in called
for left, right in zip(backend.run_final(canvases, *final), wanted_final):
    assert len(left.scores) and all(abs(a.astype(float) - b).max() < 1e-3 for a, b in zip(left, right))
print(sorted(set(called)), called.count("pool"))
maps, cells = torch.randn(2, 16, 12, 10), torch.randint(0, 120, (2, 7)).int()
for dtype in (torch.float32, torch.float16):
    for memory in (torch.contiguous_format, torch.channels_last):
        for x in (maps[:, :, 1:].to(dtype, memory_format=memory), maps.to(dtype, memory_format=memory)[:, :8, 1:]):
            operators = torch.ops.cornernet
            for operator, arguments in (
                (operators.corner_pool_top_left, (x, x.flip(3))),
                (operators.corner_pool_bottom_right, (x, x.contiguous())),
                (operators.corner_windows, (x, cells % 60, 3)),
                (operators.corner_peaks, (x, 9)),
            ):
                torch.library.opcheck(operator.default, arguments, test_utils=("test_schema", "test_faketensor"))
"""


def test_a_registered_kernel_is_what_the_network_runs_and_writes_the_strides_that_compiled_code_expects(emulated):
    """In a process of its own: a registration is for good. On a GPU the device type is "cuda", here it is "cpu"."""
    folder = Path(__file__).resolve().parents[1]
    library = emulated.launchers.library._name
    environment = os.environ | {"PYTHONPATH": str(folder)}
    command = [sys.executable, "-c", WHOLE_NETWORK, library]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "['group', 'peaks', 'pool', 'soft_nms', 'windows'] 4"


def test_without_the_library_it_says_once_that_torchs_operators_run(monkeypatch, caplog):
    monkeypatch.setattr(kernel_operators, "library_path", lambda: None)
    kernel_operators.register_cuda_kernels.cache_clear()
    try:
        assert not kernel_operators.register_cuda_kernels() and not kernel_operators.register_cuda_kernels()
    finally:
        kernel_operators.register_cuda_kernels.cache_clear()
    assert caplog.text.count("torch's own operators run") == 1


def test_the_python_of_the_page_pools(emulated, monkeypatch):
    """On the emulation, with smaller maps in memory of the host."""
    page = (Path(__file__).parents[2] / "plugins/README.md").read_text(encoding="utf-8")
    code = page.partition("```python\n")[2].partition("```")[0]
    for there, here in (("128, 128, 128", "4, 16, 16"), ('device="cuda", ', "")):
        assert there in code
        code = code.replace(there, here)
    monkeypatch.setattr(plugins, "library_path", lambda: "the library")
    monkeypatch.setattr(launchers, "Launchers", {"the library": emulated.launchers}.__getitem__)
    names: dict = {}
    exec(code, names)
    assert torch.equal(names["pooled"], IN_TORCH["top_left"](names["first"], names["second"]))


def test_a_kernel_runs_on_the_device_of_its_tensors_whichever_is_current(monkeypatch):
    entered = []

    @contextlib.contextmanager
    def device_of(tensor):
        entered.append(tensor.shape)
        yield
        entered.append("left")

    monkeypatch.setattr(torch.cuda, "device_of", device_of)
    guarded = kernel_operators.on_its_device(lambda first, size: entered.append(size))
    guarded(torch.zeros(2, 3), 7)
    assert entered == [(2, 3), 7, "left"]


@pytest.mark.parametrize(
    ("stand_in", "words"),
    [
        (lambda library: (_ for _ in ()).throw(OSError("invalid ELF header")), "invalid ELF header"),
        (lambda library: (_ for _ in ()).throw(AttributeError("undefined symbol")), "undefined symbol"),
        (lambda library: None, "CUDA error 209: the library was not built for this GPU"),
    ],
)
def test_a_library_that_cannot_run_here_leaves_torchs_operators_in_place(monkeypatch, caplog, stand_in, words):
    def refuse(kernels, device):
        raise LaunchError("cornernet_corner_pool", 209)

    monkeypatch.setattr(kernel_operators, "library_path", lambda: Path("libcornernet_plugins.so"))
    monkeypatch.setattr(kernel_operators, "Launchers", stand_in)
    monkeypatch.setattr(kernel_operators, "try_out", refuse)
    monkeypatch.setattr(kernel_operators, "register", lambda *_: pytest.fail("it was registered"))
    kernel_operators.register_cuda_kernels.cache_clear()
    try:
        assert not kernel_operators.register_cuda_kernels()
    finally:
        kernel_operators.register_cuda_kernels.cache_clear()
    assert words in caplog.text and "torch's own operators run" in caplog.text


def test_a_library_that_runs_is_tried_out_without_a_trace(operators):
    kernel_operators.try_out(operators, "cpu")
