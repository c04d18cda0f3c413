"""What each optimisation is worth: the published way, step by step down to integers, side by side in one run.

    python -m cornernet.benchmarks.latency.ladder -o benchmarks/results/ladder
    python -m cornernet.benchmarks.latency.ladder -o out --networks quickstart/run/best.safetensors,squeeze \\
        --data quickstart/shapes --split test --price-per-hour 0.10

A network is a checkpoint, or a preset with random weights: what a layer costs does not depend on what it has learnt.
Checkpoints get AP on --data for every step; int8 is calibrated, and its gate compares AP, on a split of its own.
Writes ladder.json and ladder.png, and prints the tables.

Each measurement is a process of its own, and the steps take turns: every round measures each of them once. ratio is
the median over rounds of a step's time over that of "as published" in the same round.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from cornernet.benchmarks.latency.ladder_report import draw_ladder, render
from cornernet.benchmarks.latency.ladder_steps import STEPS, time_step
from cornernet.benchmarks.latency.pictures import write_pictures
from cornernet.benchmarks.untrained_models import write_untrained
from cornernet.engine.datasets.layouts import load_dataset
from cornernet.engine.detector import Detector
from cornernet.engine.errors import CornerNetError
from cornernet.engine.geometry import Size
from cornernet.engine.machine import installed_versions, machine_facts
from cornernet.engine.scoring.coco import CocoDataset
from cornernet.engine.scoring.evaluation import evaluate
from cornernet.engine.whole_file import write_text_whole
from cornernet.export.calibration import MOST_PICTURES

FORMAT = "cornernet-ladder/1"
NETWORKS = ("tiny", "squeeze", "hourglass-104")
SIDE = 511
"""Canvas side [px] of networks without a size of training: the paper's."""
GROWTH = ("ONNX Runtime", "OpenVINO, int8 and bf16")
THROUGHPUT_BATCH = 8


def climb(
    networks: Sequence[str],
    *,
    dataset: CocoDataset | None = None,
    calibrate: CocoDataset | None = None,
    rounds: int = 5,
    runs: int = 3,
    growth: Sequence[str] = (),
    price_per_hour: float | None = None,
    steps: Sequence[str] = tuple(STEPS),
    say: Any = print,
) -> dict[str, Any]:
    """The report, JSON-ready; see `ladder_report.render` for what its numbers are.

    Args:
        networks: presets, or checkpoint files.
        dataset: AP of the checkpoints.
        calibrate: what int8 of the checkpoints is calibrated on, and its gate compares AP on; None: drawn pictures.
        rounds, runs: processes per step, and timed runs in each after two that warm up.
        growth: names of those networks whose growth with pixels, batch and number of pictures is measured.
        price_per_hour: of this machine, any currency; adds the cost of a million pictures.
    """
    found = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        files = write_pictures(folder / "pictures")
        for network in networks:
            stem, trained = prepare(network, folder, calibrate)
            say(f"{stem.name}: files made")
            found.append(_measure(stem, trained, files, dataset, rounds, runs, growth, price_per_hour, steps, say))
    return {
        "format": FORMAT,
        "machine": machine_facts() | {"packages": machine_facts()["packages"] | installed_versions(("openvino",))},
        "settings": {"rounds": rounds, "runs": runs, "price_per_hour": price_per_hour, "flags": _cpu_flags()},
        "networks": found,
    }


def prepare(network: str, folder: Path, calibrate: CocoDataset | None) -> tuple[Path, bool]:
    """The files of `ladder_steps.STEPS` for a preset or a checkpoint: their stem, and whether it is a checkpoint."""
    from cornernet.export.int8_export import export_int8
    from cornernet.export.onnx_export import export_onnx
    from cornernet.export.parity import drawn_images
    from cornernet.export.quantise import quantise, write_quantised
    from cornernet.trainer.network.checkpoint import load_checkpoint

    trained = network.endswith(".safetensors")
    stem = folder / (Path(network).stem if trained else network)
    checkpoint = stem.with_suffix(".safetensors")
    if trained:
        checkpoint.write_bytes(Path(network).read_bytes())
    else:
        write_untrained(network, checkpoint)
    weights, card = load_checkpoint(checkpoint)
    export_onnx(weights, card, stem.with_suffix(".onnx"))
    int8 = stem.with_name(f"{stem.name}-int8.onnx")
    if trained and calibrate is not None:
        pictures = _copied(calibrate, folder / f"{stem.name}-calibrate")
        export_int8(weights, card, int8, calibrate=pictures, dataset=calibrate)
    else:
        import onnx

        side = min(SIDE, card.max_size) if card.saccade is None else card.usual_canvas[0]
        model = onnx.load(stem.with_suffix(".onnx"))
        write_quantised(quantise(model, [drawn_images(seed, 1, side, side) for seed in range(2)]), int8)
    return stem, trained


def _copied(dataset: CocoDataset, folder: Path) -> Path:
    """Pictures of one split alone: the folder that they lie in may hold others, those to score on."""
    folder.mkdir()
    for number, sample in enumerate(dataset.samples[:: -(-len(dataset) // MOST_PICTURES)]):
        shutil.copyfile(sample.path, folder / f"{number}{sample.path.suffix}")
    return folder


def _measure(
    stem: Path,
    trained: bool,
    files: Sequence[Path],
    dataset: CocoDataset | None,
    rounds: int,
    runs: int,
    growth: Sequence[str],
    price: float | None,
    steps: Sequence[str],
    say: Any,
) -> dict[str, Any]:
    size = (SIDE, SIDE)
    canvas: dict[str, list[float]] = {step: [] for step in steps}
    jpeg: dict[str, list[float]] = {step: [] for step in steps}
    for turn in range(rounds):
        for step in [*steps[turn % len(steps) :], *steps[: turn % len(steps)]]:
            once = time_step(step, stem, size, 1, runs, files)
            canvas[step].append(float(np.median(once["canvas_ms"])))
            jpeg[step].append(float(np.median(once["jpeg_ms"])))
            say(f"{stem.name}, round {turn + 1}, {step}: {canvas[step][-1]:.1f} ms")
    first = np.array(canvas[steps[0]])
    rows = []
    for step in steps:
        batch = time_step(step, stem, size, THROUGHPUT_BATCH, runs, files)
        images_per_s = THROUGHPUT_BATCH * 1000 / float(np.median(batch["jpeg_ms"]))
        rows.append(
            {
                "step": step,
                "ms": float(np.median(canvas[step])),
                "ratio": float(np.median(np.array(canvas[step]) / first)),
                "jpeg_ms": float(np.median(jpeg[step])),
                "images_per_s": images_per_s,
                "cost_per_million": None if price is None else price / (images_per_s * 3600) * 1e6,
                "AP": _accuracy(step, stem, dataset) if trained and dataset is not None else None,
            }
        )
    return {
        "name": stem.name,
        "trained": trained,
        "canvas": list(size),
        "rows": rows,
        "growth": [_growth(step, stem, runs, files) for step in GROWTH if step in steps and stem.name in growth],
    }


def _growth(step: str, stem: Path, runs: int, files: Sequence[Path]) -> dict[str, Any]:
    """ms of one canvas by its side, of one picture by the batch it is in, and pictures/s by how many are given."""

    def per_image(size: Size, batch: int, key: str) -> float:
        return float(np.median(time_step(step, stem, size, batch, runs, files)[key])) / batch

    return {
        "step": step,
        "ms_by_side": {str(side): per_image((side, side), 1, "canvas_ms") for side in (255, 511, 767, 1023)},
        "ms_by_batch": {str(batch): per_image((255, 255), batch, "canvas_ms") for batch in (1, 2, 4, 8)},
        "images_per_s_by_images": {
            str(images): 1000 / per_image((255, 255), images, "jpeg_ms") for images in (1, 8, 64)
        },
    }


def _accuracy(step: str, stem: Path, dataset: CocoDataset) -> float:
    backend = STEPS[step](stem)
    try:
        return evaluate(Detector(backend), dataset).stats["AP"]
    finally:
        backend.close()


def _cpu_flags() -> list[str]:
    """Of the instructions that int8 and bf16 are fast with, those that this CPU has."""
    wanted = ("avx2", "avx512f", "avx512_vnni", "avx_vnni", "avx512_bf16", "amx_bf16", "amx_int8")
    try:
        words = set(Path("/proc/cpuinfo").read_text(encoding="utf-8").split())
    except OSError:
        return []
    return [flag for flag in wanted if flag in words]


def main(arguments: Sequence[str]) -> int:
    """The command of the module's docstring; exit code 1 with a sentence if something cannot be measured."""
    parser = argparse.ArgumentParser(prog="python -m cornernet.benchmarks.latency.ladder", description=__doc__)
    parser.add_argument("--output", "-o", type=Path, required=True)
    parser.add_argument("--networks", default=",".join(NETWORKS))
    parser.add_argument("--data", type=Path)
    parser.add_argument("--split", default="test")
    parser.add_argument("--calibrate-split", default="train", help="of --data, for int8; not the one that is scored")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--price-per-hour", type=float)
    parser.add_argument("--growth", default="tiny,squeeze", help="networks whose growth with the input is measured")
    given = parser.parse_args(arguments)
    try:
        report = climb(
            given.networks.split(","),
            dataset=load_dataset(given.data, given.split) if given.data is not None else None,
            calibrate=load_dataset(given.data, given.calibrate_split) if given.data is not None else None,
            rounds=given.rounds,
            runs=given.runs,
            growth=given.growth.split(","),
            price_per_hour=given.price_per_hour,
            say=lambda text: print(text, file=sys.stderr, flush=True),
        )
    except CornerNetError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    given.output.mkdir(parents=True, exist_ok=True)
    write_text_whole(given.output / "ladder.json", json.dumps(report, indent=1) + "\n")
    draw_ladder(report, given.output / "ladder.png")
    print(render(report))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
