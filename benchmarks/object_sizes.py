"""What two looks are worth where objects differ much in size: `saccade-tiny` against `tiny` at equal cost.

    python -m cornernet.benchmarks.object_sizes DIR --epochs 20 --json object_sizes.json

Drawn pictures of 512 px with objects of 8 to 300 px. The Saccade sees canvases of 127 x 127. Against it stands `tiny`
on two canvases: one that costs as much as one canvas of the Saccade, and one that costs as much as all canvases that
the Saccade looks at per picture. Costs are multiply-accumulates. In training each spends as many as the Saccade, so on
the larger canvas it sees fewer pictures; with --as-many it is also trained there on as many, at several times the cost.
A second Saccade learns as the official one does: from crops around objects alone, never from a whole picture.
A call that is interrupted goes on where it stopped.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

import cornernet.benchmarks
from cornernet.engine.backends import Outputs
from cornernet.engine.detector import Detector
from cornernet.engine.errors import TrainingError
from cornernet.engine.machine import machine_facts
from cornernet.engine.model_card import ModelCard
from cornernet.engine.scoring.coco import CocoDataset, load_coco
from cornernet.engine.scoring.evaluation import evaluate
from cornernet.engine.whole_file import write_text_whole
from cornernet.trainer.data.shapes import CLASSES, generate_shapes
from cornernet.trainer.deploy.torch_backend import TorchBackend
from cornernet.trainer.loop.config import TrainConfig
from cornernet.trainer.loop.train import train
from cornernet.trainer.network.checkpoint import load_checkpoint
from cornernet.trainer.network.corner_net import CornerNet
from cornernet.trainer.network.cost import count_macs
from cornernet.trainer.network.presets import NetworkConfig, preset

SIDE, VARY, OBJECTS = 512, 0.1, (8, 300)
CROPS = (0, 1, 2, 4, 8, 16, 30)
"""Most crops of each measurement of the Saccade."""
COLUMNS = ("AP", "AP50", "APs", "APm", "APl")


class _Counted(TorchBackend):
    """Counts the canvases that it runs."""

    canvases = 0

    def run(self, canvases: np.ndarray) -> Outputs:
        self.canvases += len(canvases)
        return super().run(canvases)


def measure(
    output: Path, *, pictures: int, epochs: int, crops: int, val: int, seed: int, as_many: bool = False
) -> dict[str, Any]:
    """Draw, train and score.

    pictures, epochs: of the Saccade's training; crops: most crops a picture at which it is compared; val: pictures to
    score on; as_many: train on the larger canvas with as many pictures too.
    """
    data = output / "data"
    generate_shapes(data, train=pictures, val=val, seed=seed, size=(SIDE, SIDE), vary=VARY, objects=OBJECTS)
    train_data, val_data = load_coco(data, "train"), load_coco(data, "val")

    config = _config("saccade", epochs=epochs, seed=seed)
    network, card, trained = _trained(config, train_data, output / "saccade")
    curve = [score(network, card, val_data, max_crops=most) for most in sorted({*CROPS, crops})]
    (looked,) = (row for row in curve if row["max_crops"] == crops)
    rows = [trained | looked]
    network, card, trained = _trained(
        _config("saccade", epochs=epochs, seed=seed, crops={"views": 0.0}), train_data, output / "saccade_noviews"
    )
    crops_only = {"network": f"{trained['network']}, trained on crops around objects alone"}
    rows.append(trained | crops_only | score(network, card, val_data, max_crops=crops))
    tiny, own = preset("tiny", len(CLASSES)), canvas_gmacs(network.config, card)
    whole = looked["gmacs"]
    contests = [("canvas", own, False), ("picture", whole, False), ("pictures", whole, True)]
    for name, gmacs, every_picture in contests if as_many else contests[:2]:
        side = side_of_cost(tiny, gmacs)
        affordable = max(1, round(epochs * own / (count_macs(tiny, side, side) / 1e9)))
        config = _config("tiny", epochs=epochs if every_picture else affordable, seed=seed, size=(side, side))
        network, card, trained = _trained(config, train_data, output / f"tiny_{name}")
        rows.append(trained | score(network, card, val_data))
    settings = {"pictures": pictures, "epochs": epochs, "crops": crops, "val": val, "seed": seed, "as_many": as_many}
    drawn = {"side": SIDE, "objects": OBJECTS}
    return {"machine": machine_facts(), "settings": settings | drawn, "rows": rows, "curve": curve}


def _trained(config: TrainConfig, data: CocoDataset, folder: Path) -> tuple[CornerNet, ModelCard, dict[str, Any]]:
    """The last weights of a run in `folder`, which goes on if it was interrupted, and what it cost."""
    report = train(config, data, None, folder, resume=(folder / "last.pt").exists(), device="cpu", quiet=True)
    if report.interrupted:
        raise TrainingError("interrupted; the same command goes on from here")
    network, card = load_checkpoint(folder / "last.safetensors")
    seen = report.steps * config.batch_size
    cost = seen * canvas_gmacs(network.config, card)
    budget = {"epochs": config.epochs, "pictures_seen": seen, "trained_gmacs": round(cost, 1)}
    return network, card, {"network": config.preset, **budget}


def score(network: CornerNet, card: ModelCard, data: CocoDataset, *, max_crops: int | None = None) -> dict[str, Any]:
    """COCO numbers of the network as it is deployed, and what a picture costs."""
    backend = _Counted(network, card, device=torch.device("cpu"))
    with Detector(backend, max_crops=max_crops) as detector:
        values = evaluate(detector, data).stats.values
    canvases = backend.canvases / len(data)
    gmacs = canvases * canvas_gmacs(network.config, card)
    accuracy = {name: round(values[name], 4) for name in COLUMNS}
    height, width = card.usual_canvas
    costs = {"canvas": [height, width], "canvases": round(canvases, 2), "gmacs": round(gmacs, 3)}
    return {"max_crops": max_crops, **costs, **accuracy}


def canvas_gmacs(network: NetworkConfig, card: ModelCard) -> float:
    """Multiply-accumulates of one canvas [1e9]."""
    return count_macs(network, *card.usual_canvas) / 1e9


def side_of_cost(network: NetworkConfig, gmacs: float) -> int:
    """Side of the legal square canvas whose cost is nearest to `gmacs` [1e9], no larger than the pictures [px]."""
    least = network.size_multiple
    unit = count_macs(network, least, least) / 1e9 / least**2  # convolutions cost by area
    return min(range(least, SIDE + 1, least), key=lambda side: abs(unit * side**2 - gmacs))


def _config(name: str, **values: Any) -> TrainConfig:
    file = Path(next(iter(cornernet.benchmarks.__path__))) / "experiments" / f"sizes_{name}.toml"
    return TrainConfig.read(file, **values)


def render(report: Mapping[str, Any]) -> str:
    """Markdown: the comparison, and the Saccade's AP over the number of crops."""
    settings, columns = report["settings"], " | ".join(COLUMNS)
    words = " ".join(f"--{name} {settings[name]}" for name in ("pictures", "epochs", "crops", "val", "seed"))
    words += " --as-many" if settings["as_many"] else ""
    least, most = settings["objects"]
    line = "|---|---:|---:|---:|---:|---:|" + "---:|" * len(COLUMNS)
    lines = [
        f"Drawn pictures of up to {settings['side']} px with objects of {least} to {most} px, {settings['pictures']} "
        f"to train on and {settings['val']} to score: "
        f"`python -m cornernet.benchmarks.object_sizes runs/sizes {words}`",
        "",
        f"| network | canvas | canvases a picture | GMAC a picture | pictures seen | training | {columns} |",
        line,
    ]
    for row in report["rows"]:
        cells = (row["network"], "{}x{}".format(*row["canvas"]), f"{row['canvases']:.1f}", f"{row['gmacs']:.2f}")
        cost = f"{row['trained_gmacs'] / report['rows'][0]['trained_gmacs']:.1f}"
        lines.append(f"| {' | '.join(cells)} | {row['pictures_seen']} | {cost} | {_accuracy(row)} |")
    lines += [
        "",
        f"| crops at most | canvases a picture | GMAC a picture | {columns} |",
        "|---:|---:|---:|" + "---:|" * 5,
    ]
    for row in report["curve"]:
        lines.append(f"| {row['max_crops']} | {row['canvases']:.1f} | {row['gmacs']:.2f} | {_accuracy(row)} |")
    return "\n".join(lines)


def _accuracy(row: Mapping[str, Any]) -> str:
    return " | ".join(f"{row[name]:.3f}" for name in COLUMNS)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Two looks against one where objects differ much in size.")
    parser.add_argument("output", type=Path, help="gets the pictures and the runs")
    parser.add_argument("--pictures", type=int, default=600, help="to train on")
    parser.add_argument("--epochs", type=int, default=20, help="passes of the Saccade; the others cost as much")
    parser.add_argument("--crops", type=int, default=8, help="most crops a picture in the comparison")
    parser.add_argument("--val", type=int, default=100, help="pictures to score on")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--as-many", action="store_true", help="as many pictures on the larger canvas too")
    parser.add_argument("--json", type=Path, help="write the numbers here too")
    options = parser.parse_args(arguments)
    settings = {name: value for name, value in vars(options).items() if name not in ("output", "json")}
    report = measure(options.output, **settings)
    print(render(report))
    if options.json is not None:
        write_text_whole(options.json, json.dumps(report, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
