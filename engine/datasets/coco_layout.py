"""COCO's JSON, in COCO's own folders and in those of Roboflow: a folder a split, with a file and its pictures."""

from __future__ import annotations

from pathlib import Path

from cornernet.engine.datasets.layout import Layout
from cornernet.engine.scoring.coco import load_coco

_PREFIX = "instances_"
_ROBOFLOW = "_annotations.coco.json"


def _coco_splits(root: Path) -> list[str]:
    """annotations/instances_<split>.json; where no file is called so, annotations/<split>.json."""
    names = sorted(file.stem for file in (root / "annotations").glob("*.json"))
    instances = [name.removeprefix(_PREFIX) for name in names if name.startswith(_PREFIX)]
    return instances or names


def _roboflow_splits(root: Path) -> list[str]:
    """<split>/_annotations.coco.json"""
    return sorted(file.parent.name for file in root.glob(f"*/{_ROBOFLOW}"))


COCO = Layout("COCO", "annotations/instances_<split>.json", _coco_splits, load_coco)
ROBOFLOW_COCO = Layout(
    "Roboflow's COCO",
    f"<split>/{_ROBOFLOW}",
    _roboflow_splits,
    lambda root, split: load_coco(root, annotations=root / split / _ROBOFLOW, images=root / split),
)
