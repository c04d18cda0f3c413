"""Which layout a data set is in, and one split of it, whatever the layout.

A layout is a row of `LAYOUTS` and a file of its own.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from cornernet.engine.arguments import as_path, shown, shown_path
from cornernet.engine.datasets.coco_layout import COCO, ROBOFLOW_COCO
from cornernet.engine.datasets.layout import Layout, match_split
from cornernet.engine.datasets.voc_layout import VOC
from cornernet.engine.datasets.yolo_layout import YOLO
from cornernet.engine.errors import DatasetError
from cornernet.engine.printable import printable
from cornernet.engine.scoring.coco import CocoDataset, load_coco

LAYOUTS = (COCO, ROBOFLOW_COCO, VOC, YOLO)
"""In this order: a folder in two layouts is of the first that has the split. The others are not looked at then."""


@dataclass(frozen=True)
class FoundDataset:
    """A data set on disk. splits: in the layout's own words."""

    root: Path
    layout: Layout
    splits: tuple[str, ...]

    def load(self, split: str) -> CocoDataset:
        """One of `splits`. Raises DatasetError."""
        return self.layout.read(self.root, split)


def find_dataset(root: Path | str) -> FoundDataset:
    """The layout and the splits of the data set in a folder (of YOLO's also: its data.yaml).

    Raises DatasetError, with what is there and what could be, if the folder is in no known layout.
    """
    return next(_found(as_path("root", root)))


def load_dataset(
    root: Path | str, split: str | None = None, *, images: Path | None = None, annotations: Path | None = None
) -> CocoDataset:
    """Read one split of a data set in any of `LAYOUTS`.

    Args:
        root:        its folder, or data.yaml.
        split:       its name; val finds valid, validation and val2017 too, as train and test do. None: the only one.
        images, annotations: folder and COCO file, instead of looking for them under `root`.

    Raises DatasetError if there is no such data set or split, or if nothing of it can be used.
    """
    root = as_path("root", root)
    if not isinstance(split, str | None):
        raise TypeError(f"split={shown(split)}; expected the name of a split, or None")
    if annotations is not None:
        return load_coco(root, split, images=images, annotations=annotations)
    found: list[FoundDataset] = []
    for one in _found(root):
        if (meant := match_split(split, one.splits)) is not None:
            return load_coco(root, meant, images=images) if images is not None else one.load(meant)
        found.append(one)
    if found[0].layout is COCO:  # any other file of annotations/, by its name
        return load_coco(root, split, images=images)
    listed = "; ".join(f"{one.layout.name}: {_some(one.splits)}" for one in found)
    alone = split is not None and sum(len(one.splits) for one in found) == 1
    advice = " `cornernet convert --hold-out 0.2` makes train and val of it." if alone else ""
    wanted = "the name of a split" if split is None else f"a split {shown_path(split)}"
    raise DatasetError(f"{shown_path(root)}: expected {wanted}; there is {listed}.{advice}")


def _found(root: Path) -> Iterator[FoundDataset]:
    """Every layout that the folder is in, one after the other. Raises DatasetError if there is none."""
    known = False
    for layout in LAYOUTS:
        try:
            splits = tuple(layout.splits(root))
        except DatasetError:
            raise
        except (OSError, ValueError) as error:  # a name of 300 letters, a zero byte in it
            why = getattr(error, "strerror", None) or printable(str(error))
            raise DatasetError(f"{shown_path(root)}: cannot be read: {why}") from error
        if splits:
            known = True
            yield FoundDataset(root, layout, splits)
    if not known:
        raise DatasetError(_unknown(root))


def _unknown(root: Path) -> str:
    """What is there, what was looked for, and whether it is a folder further down."""
    known = "; ".join(f"{layout.name}: {layout.marks}" for layout in LAYOUTS)
    if not root.is_dir():
        there = "no such folder" if not root.exists() else "not a folder"
        return f"{shown_path(root)}: {there}; expected a data set in one of these layouts: {known}"
    entries = sorted(islice(root.iterdir(), 1000))
    names = _some([f"{entry.name}/" if entry.is_dir() else entry.name for entry in entries]) or "nothing"
    inner = next((entry for entry in entries[:50] if entry.is_dir() and _is_one(entry)), None)
    hint = f" Is it {shown_path(inner)}?" if inner is not None else ""
    return f"{shown_path(root)}: no data set in a known layout; there is {names}. Known are {known}.{hint}"


def _is_one(folder: Path) -> bool:
    try:
        return any(layout.splits(folder) for layout in LAYOUTS)
    except (DatasetError, OSError):
        return False


def _some(names: Sequence[str], most: int = 8) -> str:
    shown_names = ", ".join(map(shown_path, names[:most]))
    return shown_names if len(names) <= most else f"{shown_names} and {len(names) - most} more"
