"""Pascal VOC: an XML file a picture. Coordinates count pixels from 1, both ends included (VOC2012 development kit).

So a box from xmin to xmax reaches from the pixel edge xmin - 1 to the edge xmax, and (1, 1, W, H) is a whole picture.
Boxes of tools that write edges (labelImg) become a pixel larger to the left and above; coordinates of 0 give such away,
and are reported. An object marked difficult counts as a crowd region: not trained on, neither right nor wrong where
boxes are scored.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple
from xml.etree.ElementTree import Element

from cornernet.engine.arguments import shown_path
from cornernet.engine.datasets.layout import Layout, text_of
from cornernet.engine.datasets.safe_xml import read_xml
from cornernet.engine.errors import DatasetError, ImageError
from cornernet.engine.reading.images import SUFFIXES
from cornernet.engine.reading.picture_size import picture_size
from cornernet.engine.scoring.coco import CocoDataset, dataset_of

ALL = "all"
"""The split of a data set that has no ImageSets/Main."""

_ANNOTATIONS = ("Annotations", "annotations")
_PICTURES = ("JPEGImages", "images", "Images", ".")
_LIST_BYTES = 2**28


class _Part(NamedTuple):
    """annotations, pictures: folders; stems: of the split's files in order, None: all; source: what names them.

    others: folders of the other splits.
    """

    annotations: Path
    pictures: Path
    stems: list[str] | None
    source: Path
    others: tuple[Path, ...] = ()


class _Object(NamedTuple):
    """bbox: x y width height [px] at pixel edges, or None."""

    name: str
    bbox: list[float] | None
    from_zero: bool
    difficult: bool


class _Record(NamedTuple):
    """What an XML file says: width and height [px], (0, 0) if it does not; its objects."""

    size: tuple[int, int]
    objects: list[_Object]


def _splits(root: Path) -> list[str]:
    """ImageSets/Main/<split>.txt; Roboflow has a folder a split, with pictures and XML files in it."""
    if _annotations(root) is None:
        folders = [path for path in root.iterdir() if path.is_dir()] if root.is_dir() else []
        return sorted(folder.name for folder in folders if _has_xml(folder))
    lists = sorted(file for file in (root / "ImageSets" / "Main").glob("*.txt") if not _of_a_class(file))
    return [file.stem for file in lists] or [ALL]


def _read(root: Path, split: str) -> CocoDataset:
    part = _find(root, split)
    problems: list[str] = []
    classes, records = _read_files(part, problems)
    pictures = _pictures(part.pictures)
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for stem in part.stems if part.stems is not None else records:
        if stem not in records:
            problems.append(f"{shown_path(stem)}: no usable XML file in {part.annotations.name}; left out")
            continue
        if stem not in pictures:
            problems.append(f"{shown_path(stem)}: no picture of this name in {part.pictures.name}; left out")
            continue
        try:
            width, height = records[stem].size
            if not width or not height:
                height, width = picture_size(part.pictures / pictures[stem])
        except ImageError as error:
            problems.append(f"{error}; left out, not scored either")
            continue
        images.append({"id": len(images) + 1, "file_name": pictures[stem], "width": width, "height": height})
        for found in records[stem].objects:
            entry = {"id": len(annotations) + 1, "image_id": len(images), "category_id": classes.get(found.name)}
            annotations.append({**entry, "bbox": found.bbox, "iscrowd": int(found.difficult)})
    from_zero = sum(found.from_zero for record in records.values() for found in record.objects)
    if from_zero:
        problems.append(
            f"{from_zero} boxes begin at 0, but Pascal VOC counts pixels from 1, both ends included, and so they were "
            "read: if the tool that wrote them counts from 0, boxes are up to a pixel too large"
        )
    categories = [{"id": number, "name": name} for name, number in classes.items()]
    content = {"images": images, "annotations": annotations, "categories": categories}
    return dataset_of(content, part.source, [part.pictures], problems=problems, from_coco=False)


VOC = Layout("Pascal VOC", "Annotations/*.xml with ImageSets/Main/<split>.txt, or <split>/*.xml", _splits, _read)


def _find(root: Path, split: str) -> _Part:
    annotations = _annotations(root)
    if annotations is None:
        others = tuple(root / name for name in _splits(root) if name != split)
        return _Part(root / split, root / split, None, root / split, others)
    pictures = next(folder for name in _PICTURES if (folder := root / name).is_dir())
    file = root / "ImageSets" / "Main" / f"{split}.txt"
    if split == ALL and not file.is_file():
        return _Part(annotations, pictures, None, annotations)
    lines = (line.strip() for line in text_of(file, _LIST_BYTES).splitlines())
    return _Part(annotations, pictures, list(dict.fromkeys(_stem(line) for line in lines if line)), file)


def _read_files(part: _Part, problems: list[str]) -> tuple[dict[str, int], dict[str, _Record]]:
    """Class -> category id, of the whole data set, since a split may lack one; stem -> record, of the split."""
    wanted = None if part.stems is None else set(part.stems)
    classes: set[str] = set()
    records: dict[str, _Record] = {}
    for folder in (part.annotations, *part.others):
        for file in sorted(folder.glob("*.xml")):
            own = folder == part.annotations and (wanted is None or file.stem in wanted)
            try:
                record = _record(read_xml(file))
            except DatasetError as error:
                if own:
                    problems.append(f"{error}; left out")
                continue
            classes.update(found.name for found in record.objects)
            if own:
                records[file.stem] = record
    return {name: number for number, name in enumerate(sorted(classes - {""}), start=1)}, records


def _record(tree: Element) -> _Record:
    size = tree.find("size")
    width, height = (_number(size, side) for side in ("width", "height"))
    objects = []
    for entry in tree.findall("object"):
        box = entry.find("bndbox")
        x1, y1, x2, y2 = edges = [_number(box, side) for side in ("xmin", "ymin", "xmax", "ymax")]
        bbox = [x1 - 1, y1 - 1, x2 - x1 + 1, y2 - y1 + 1] if None not in edges else None  # type: ignore[operator]
        from_zero = bbox is not None and min(bbox[:2]) < 0
        difficult = _number(entry, "difficult") == 1
        objects.append(_Object((entry.findtext("name") or "").strip(), bbox, from_zero, difficult))
    return _Record((int(width or 0), int(height or 0)), objects)


def _number(entry: Element | None, tag: str) -> float | None:
    try:
        value = float((entry.findtext(tag) if entry is not None else "") or "")
    except ValueError:
        return None
    return value if abs(value) < 2**24 else None  # NaN is not less either


def _annotations(root: Path) -> Path | None:
    return next((root / name for name in _ANNOTATIONS if _has_xml(root / name)), None)


def _has_xml(folder: Path) -> bool:
    return folder.is_dir() and next(folder.glob("*.xml"), None) is not None


def _of_a_class(file: Path) -> bool:
    """aeroplane_train.txt: a second column says whether the class is in the picture. Names may hold blanks too."""
    if not file.is_file():
        return True
    with file.open("rb") as lines:
        first = [lines.readline(1000).split() for _ in range(100)]
    return any(first) and all(len(words) > 1 and words[-1] in (b"-1", b"0", b"1") for words in first if words)


def _stem(name: str) -> str:
    """A line of a list may have a picture's suffix."""
    return Path(name).stem if Path(name).suffix.lower() in SUFFIXES else name


def _pictures(folder: Path) -> dict[str, str]:
    """Stem -> name; of several with one stem the first in the order of names."""
    found: dict[str, str] = {}
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() in SUFFIXES:
            found.setdefault(path.stem, path.name)
    return found
