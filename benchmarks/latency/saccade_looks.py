"""What a CornerNet-Saccade costs by stage and by its number of crops, beside the published way, and what fewer cost.

    python -m cornernet.benchmarks.latency.saccade_looks -o benchmarks/results/saccade
    python -m cornernet.benchmarks.latency.saccade_looks -o out --network run/best.safetensors --data shapes
    python -m cornernet.benchmarks.latency.saccade_looks -o out --network run/best.safetensors --data shapes --rounds 0

A network is a preset with random weights, or a checkpoint, which gets AP on --data for each number of crops, in float32
and in int8. That is calibrated on the pictures that the network was trained on, and its gate compares AP on them: no
picture that is scored is seen before. Writes saccade.json and saccade.png, and prints the tables. Each measurement is a
process of its own, and the steps take turns: every round measures each of them once; no rounds, no times. ratio is the
median over rounds of a step's time without reading over that of "as published" in the same round, at the same crops:
attention is planted, so that every step makes as many.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from cornernet.benchmarks.latency.ladder import prepare
from cornernet.benchmarks.latency.ladder_steps import STEPS
from cornernet.benchmarks.latency.pictures import write_pictures
from cornernet.benchmarks.latency.saccade_chart import draw_looks
from cornernet.benchmarks.latency.saccade_steps import STAGES, time_looks
from cornernet.engine.backends import Backend, Outputs
from cornernet.engine.datasets.layouts import load_dataset
from cornernet.engine.detector import Detector
from cornernet.engine.errors import CornerNetError
from cornernet.engine.machine import machine_facts, summary
from cornernet.engine.scoring.coco import CocoDataset
from cornernet.engine.scoring.evaluation import evaluate
from cornernet.engine.whole_file import write_text_whole
from cornernet.export.read_card import read_card

FORMAT = "cornernet-saccade/1"
CROPS = (0, 5, 10, 20, 30)
COMPARED = ("as published", "ONNX Runtime", "OpenVINO", "OpenVINO, bf16", "OpenVINO, int8", "OpenVINO, int8 and bf16")
ACCURATE = ("OpenVINO", "OpenVINO, int8")
"""The steps that AP is measured with."""
COLUMNS = ("AP", "AP50", "APs", "APm", "APl")

MEANING = (
    '"As published" is our own network run in torch eager the way its authors publish it, crops without attention, at '
    "the same crops; the official code itself no longer builds. ms: one 480x640 picture, its views in one batch and "
    "its crops in another; p50 of each stage. ratio: median over rounds of all but reading, over the first step's in "
    "the same round. AP: of trained weights, whose own attention makes the crops."
)


def measure(
    network: str,
    *,
    dataset: CocoDataset | None = None,
    calibrate: CocoDataset | None = None,
    crops: Sequence[int] = CROPS,
    steps: Sequence[str] = COMPARED,
    rounds: int = 3,
    runs: int = 3,
    say: Any = print,
) -> dict[str, Any]:
    """The report, JSON-ready.

    Args:
        network: a preset, or a checkpoint's path.
        dataset: AP of a checkpoint.
        calibrate: data set that int8 of a checkpoint is calibrated on, and whose AP its gate compares.
        rounds, runs: processes per step and number of crops, and timed pictures in each.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        files = write_pictures(folder / "pictures")
        stem, trained = prepare(network, folder, calibrate)
        card = read_card(Path(network)) if trained else None
        say(f"{stem.name}: files made")
        rows = []
        for count in crops if rounds else ():
            rows += _compare(stem, count, files, steps, rounds, runs, say)
        accuracy = []
        if trained and dataset is not None:
            accuracy = [_accuracy(step, stem, count, dataset) for step in ACCURATE for count in crops]
    scored = {} if dataset is None or calibrate is None else {"scored": len(dataset), "calibrated": len(calibrate)}
    return {
        "format": FORMAT,
        "machine": machine_facts(),
        "settings": {
            "network": card.name if card else network,
            "trained": trained,
            "rounds": rounds,
            "runs": runs,
            **scored,
        },
        "rows": rows,
        "accuracy": accuracy,
    }


def _compare(
    stem: Path, crops: int, files: Sequence[Path], steps: Sequence[str], rounds: int, runs: int, say: Any
) -> list[dict[str, Any]]:
    """One row a step: crops asked for and made, the median of each stage [ms], their sum without reading, its ratio."""
    stages: dict[str, list[list[float]]] = {step: [] for step in steps}
    made: dict[str, list[int]] = {step: [] for step in steps}
    for turn in range(rounds):
        for step in [*steps[turn % len(steps) :], *steps[: turn % len(steps)]]:
            once = time_looks(step, stem, crops, runs, files)
            stages[step].append([float(np.median(once["stages_ms"][stage])) for stage in STAGES])
            made[step] += once["made"]
            say(f"{stem.name}, {crops} crops, round {turn + 1}, {step}: {sum(stages[step][-1][1:]):.1f} ms")
    first = np.sum(stages[steps[0]], axis=1) - np.array(stages[steps[0]])[:, 0]
    rows = []
    for step in steps:
        table = np.array(stages[step])
        total = table[:, 1:].sum(axis=1)
        rows.append(
            {
                "crops": crops,
                "made": float(np.mean(made[step])),
                "step": step,
                "stages_ms": dict(zip(STAGES, np.median(table, axis=0).tolist())),
                "ms": float(np.median(total)),
                "ratio": float(np.median(total / first)),
            }
        )
    return rows


class _Counted:
    """Counts the canvases that a backend runs."""

    def __init__(self, backend: Backend) -> None:
        self.card, self.name, self.close = backend.card, backend.name, backend.close
        self.canvases = 0
        self._backend = backend

    def run(self, canvases: np.ndarray) -> Outputs:
        self.canvases += len(canvases)
        return self._backend.run(canvases)


def _accuracy(step: str, stem: Path, crops: int, dataset: CocoDataset) -> dict[str, Any]:
    backend = _Counted(STEPS[step](stem))
    try:
        values = evaluate(Detector(backend, max_crops=crops), dataset).stats.values
        canvases = round(backend.canvases / len(dataset), 2)
        return {"step": step, "crops": crops, "canvases": canvases} | {name: round(values[name], 4) for name in COLUMNS}
    finally:
        backend.close()


def render(report: Mapping[str, Any]) -> str:
    """Markdown: stages of each step by the number of crops; AP by it, where it was measured."""
    return "\n".join(_times(report) + _accuracies(report)) + "\n"


def _times(report: Mapping[str, Any]) -> list[str]:
    if not report["rows"]:
        return []
    settings = report["settings"]
    weights = "trained weights" if settings["trained"] else "random weights"
    lines = [f"{summary(report['machine'])}. {settings['rounds']} rounds in turns.", "", MEANING, ""]
    lines += [f"**{settings['network']}**, {weights}:", ""]
    lines += [_line(["crops", "step", *STAGES, "ms", "ratio"]), _line(["---"] * (len(STAGES) + 4))]
    for row in report["rows"]:
        times = [f"{row['stages_ms'][stage]:.1f}" for stage in STAGES]
        lines.append(_line([f"{row['made']:.0f}", row["step"], *times, f"{row['ms']:.0f}", f"{row['ratio']:.2f}"]))
    return lines


def _accuracies(report: Mapping[str, Any]) -> list[str]:
    if not report["accuracy"]:
        return []
    settings = report["settings"]
    time_of = {(row["step"], row["crops"]): f"{row['ms']:.0f}" for row in report["rows"]}
    lines = [""] if report["rows"] else []
    lines += [
        f"What fewer crops cost: **{settings['network']}**, trained weights, {settings['scored']} pictures to score. "
        "int8 was calibrated, and its gate compared AP, on the "
        f"{settings['calibrated']} pictures of its training alone.",
        "",
        _line(["step", "crops at most", "canvases a picture", *COLUMNS, *(["ms"] if time_of else [])]),
        _line(["---"] * (3 + len(COLUMNS) + bool(time_of))),
    ]
    for row in report["accuracy"]:
        cells = [row["step"], str(row["crops"]), f"{row['canvases']:.1f}", *(f"{row[name]:.3f}" for name in COLUMNS)]
        lines.append(_line([*cells, time_of[row["step"], row["crops"]]] if time_of else cells))
    return lines


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def main(arguments: Sequence[str]) -> int:
    """The command of the module's docstring; exit code 1 with a sentence if something cannot be measured."""
    parser = argparse.ArgumentParser(prog="python -m cornernet.benchmarks.latency.saccade_looks", description=__doc__)
    parser.add_argument("--output", "-o", type=Path, required=True)
    parser.add_argument("--network", default="saccade")
    parser.add_argument("--data", type=Path)
    parser.add_argument("--split", default="test", help="of --data, to score on")
    parser.add_argument("--train-split", default="train", help="of --data, to calibrate int8 on")
    parser.add_argument("--crops", default=",".join(map(str, CROPS)))
    parser.add_argument(
        "--steps", default=";".join(COMPARED), help="with ; between; others are compared with the first"
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--runs", type=int, default=3)
    given = parser.parse_args(arguments)
    try:
        report = measure(
            given.network,
            dataset=load_dataset(given.data, given.split) if given.data is not None else None,
            calibrate=load_dataset(given.data, given.train_split) if given.data is not None else None,
            crops=[int(count) for count in given.crops.split(",")],
            steps=given.steps.split(";"),
            rounds=given.rounds,
            runs=given.runs,
            say=lambda text: print(text, file=sys.stderr, flush=True),
        )
    except CornerNetError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    given.output.mkdir(parents=True, exist_ok=True)
    write_text_whole(given.output / "saccade.json", json.dumps(report, indent=1) + "\n")
    draw_looks(report, given.output / "saccade.png")
    print(render(report))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
