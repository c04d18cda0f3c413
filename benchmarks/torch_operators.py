"""The custom operators as torch runs them: on a GPU our kernels through the dispatcher, beside torch's own operators.

    python -m cornernet.benchmarks.torch_operators [--json FILE] [--rehearse]

Every operator in every type and memory order gives the numbers of torch's own, and the strides that compiled code is
told; on a GPU also from a CUDA graph. A tiny network gives the same boxes with the kernels as with torch's operators,
raw and final; on a GPU compiled too. Exit code 1 if something differs. --rehearse: the kernels' source on the CPU.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from cornernet.benchmarks.kernel_checks import open_kernels
from cornernet.benchmarks.torch_networks import torchs_own
from cornernet.benchmarks.untrained_models import pairing_network
from cornernet.engine.backends.finishing import NmsRules
from cornernet.plugins.launchers import SOFT_NMS
from cornernet.trainer.deploy import decode, final_boxes, kernel_operators
from cornernet.trainer.deploy.deployed import DeployedNetwork
from cornernet.trainer.network import corner_pool

ORDERS = (torch.contiguous_format, torch.channels_last)
SHAPE, REHEARSAL_SHAPE = (2, 64, 128, 128), (2, 16, 12, 10)
RULES = NmsRules(20, "gaussian", 0.5, 0.5, 0.001, 0, True)

Operator = tuple[str, Any, Callable[..., Any], tuple[Any, ...]]
"""Name, the operator, the same in torch, arguments."""


def operators(device: torch.device, *, rehearse: bool) -> Iterator[Operator]:
    ops: Any = torch.ops.cornernet
    shape = REHEARSAL_SHAPE if rehearse else SHAPE
    random = torch.Generator().manual_seed(0)
    maps, other = (torch.randn(shape, generator=random).to(device) for _ in range(2))
    cells = torch.randint(0, shape[2] * shape[3], (shape[0], 20), generator=random, dtype=torch.int32).to(device)
    for dtype in (torch.float16,) if rehearse else (torch.float32, torch.float16, torch.bfloat16):
        for order in ORDERS:
            x, y = (each.to(dtype).contiguous(memory_format=order) for each in (maps, other))
            about = f"{dtype} {'channels last' if order == torch.channels_last else 'planes'}".removeprefix("torch.")
            yield f"pool {about}", ops.corner_pool_top_left, corner_pool.pool_top_left_in_torch, (x, y)
            mixed = x[:, :, 1:], y.contiguous()[:, :, 1:]
            yield f"pool {about}, cut", ops.corner_pool_bottom_right, corner_pool.pool_bottom_right_in_torch, mixed
            yield f"peaks {about}", ops.corner_peaks, decode.corner_peaks_in_torch, (x, 20)
            yield f"windows {about}", ops.corner_windows, decode.corner_windows_in_torch, (x, cells, 3)
    sides = []
    for each in (maps, other):
        scores, labels, found = decode.corner_peaks_in_torch(each, 20)
        sides += [scores, labels // 8, 0.1 * scores, found % shape[3] * 1.0, found // shape[3] * 1.0]
    grouping: tuple[Any, ...] = (*sides, 30, 0.5, False)
    yield "group", ops.corner_group, decode.corner_group_in_torch, grouping
    boxes, scores, _, labels, counts = decode.corner_group_in_torch(*grouping)
    row = torch.tensor([0, 0, shape[3] / 2, shape[2], 1, 2, 1, 1, torch.nan], device=device)
    rules = (RULES.limit, SOFT_NMS[RULES.method], *RULES[2:])
    final = (boxes, scores, labels, counts, row.expand(shape[0], 9), *rules)
    yield "soft-NMS", ops.corner_soft_nms, final_boxes.corner_soft_nms_in_torch, final


def check(operator: Any, in_torch: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    """Raises AssertionError where numbers differ, torch's OpCheckError where strides, shapes or types do."""
    wanted = in_torch(*arguments)
    _same(operator(*arguments), wanted)
    torch.library.opcheck(operator.default, arguments, test_utils=("test_schema", "test_faketensor"))
    if arguments[0].is_cuda:
        torch.cuda.synchronize()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            recorded = operator(*arguments)
        graph.replay()
        torch.cuda.synchronize()
        _same(recorded, wanted)


def _same(got: Any, wanted: Any) -> None:
    pairs = [(got, wanted)] if isinstance(got, Tensor) else zip(got, wanted, strict=True)
    for one, other in pairs:  # equal but for the last digits of sigmoid and exp
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5, equal_nan=True)


def check_network(device: torch.device, precision: torch.dtype, way: str, side: int) -> None:
    """Raises AssertionError unless kernels (way "kernels") or compiled code find what torch's operators find, in
    canvases of side x side [px]."""
    network, card = pairing_network("tiny")
    deployed = DeployedNetwork(network, card, dtype=precision).to(device)
    deployed = deployed.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    images = torch.randint(0, 256, (2, side, side, 3), dtype=torch.uint8, device=device)
    row = torch.tensor([0, 0, side, side, 1, 1, 1, 1, torch.nan], device=device).repeat(2, 1)
    run: Any = deployed
    if way == "compiled":
        run = torch.compile(deployed)

    def found(network: Any) -> tuple[Tensor, ...]:
        pairs = network(images)
        final = final_boxes.corner_soft_nms(pairs.boxes, pairs.scores, pairs.labels, pairs.counts, row, RULES)
        return pairs.counts, pairs.scores, final.counts, final.scores

    with torch.inference_mode():
        got = found(run)
        with torchs_own(device.type):
            wanted = found(deployed)
    assert int(wanted[2].min()) > 0, "no boxes to compare"
    # Compiled convolutions round in another order, and a peak more or less may be found.
    tolerance = 0.02 if way == "compiled" else 1e-5
    for one, other in zip(got[1::2], wanted[1::2]):
        torch.testing.assert_close(one[:, :10], other[:, :10], rtol=tolerance, atol=tolerance)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Compare the operators in torch with torch's own.")
    parser.add_argument("--json", type=Path, help="write the outcome of every check here")
    parser.add_argument("--rehearse", action="store_true")
    options = parser.parse_args(arguments)
    device = torch.device("cpu" if options.rehearse else "cuda")
    if options.rehearse:
        launchers = open_kernels(emulated=True).launchers
        kernel_operators.register(kernel_operators.KernelOperators(launchers, lambda device: 0), "cpu")
    elif not kernel_operators.register_cuda_kernels():
        return 1
    checks: list[tuple[str, Callable[[], None]]] = [
        (name, partial(check, operator, in_torch, given))
        for name, operator, in_torch, given in operators(device, rehearse=options.rehearse)
    ]
    side, ways = (32, ("kernels",)) if options.rehearse else (128, ("kernels", "compiled"))  # compiling takes long
    for way in ways:
        for precision in (torch.float32,) if options.rehearse else (torch.float16, torch.float32):
            checks.append((f"network {way} {precision}", partial(check_network, device, precision, way, side)))
    outcomes = []
    for name, run in checks:
        why = ""
        try:
            run()
        except Exception as error:  # whatever a first run on hardware comes up with is the outcome of this check alone
            why = " ".join(f"{type(error).__name__}: {error}".split())[:500]
        outcomes.append({"check": name, "differs": why})
        print(f"{'DIFFERS' if why else 'same':8}{name}  {why}", flush=True)
        if options.json:
            options.json.write_text(json.dumps(outcomes, indent=1), encoding="utf-8")
    wrong = int(np.sum([bool(outcome["differs"]) for outcome in outcomes]))
    print(f"{len(outcomes) - wrong} checks passed, {wrong} failed")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
