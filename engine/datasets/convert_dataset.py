"""A data set in any layout, written as COCO or as YOLO. Its pictures are copied or linked, never changed."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from cornernet.engine.arguments import shown_path
from cornernet.engine.errors import DatasetError, OutputError
from cornernet.engine.printable import printable
from cornernet.engine.scoring.coco import CocoDataset, Sample
from cornernet.engine.scoring.coco_entries import whole_number
from cornernet.engine.scoring.evaluation import scored_truth
from cornernet.engine.whole_file import write_text_whole, write_whole

Form = Literal["coco", "yolo"]
Pictures = Literal["copy", "link"]


def convert_dataset(
    splits: Mapping[str, CocoDataset],
    output: Path,
    *,
    form: Form = "coco",
    pictures: Pictures = "copy",
    progress: Callable[[int], None] = lambda done: None,
) -> list[str]:
    """Write splits, by their names, into a folder that is only ours: pictures first, what is in them last.

    What was left out or mended on reading is so in what is written.

    Args:
        form:     coco: images/<split>/ and annotations/instances_<split>.json. yolo: images/<split>/, labels/<split>/
            and data.yaml.
        pictures: link: symbolic links to where they are.
        progress: called with the number of pictures just written.

    Returns report lines: what the form cannot say.

    Raises OutputError if the pictures lie in `output`; OSError if something cannot be read or written.
    """
    home = _absolute(output)
    inside = next((s.path for data in splits.values() for s in data.samples if home in _absolute(s.path).parents), None)
    if inside is not None:
        raise OutputError(f"{printable(inside)} lies in {printable(output)}; choose another folder to write into")
    names = {split: picture_names(data.samples) for split, data in splits.items()}
    for split, data in splits.items():
        for sample, name in zip(data.samples, names[split]):
            _put(sample.path, output / "images" / split / name, pictures)
            progress(1)
    write = _write_coco if form == "coco" else _write_yolo
    return write(splits, names, output)


def held_out(data: CocoDataset, part: float) -> tuple[CocoDataset, CocoDataset]:
    """A split in two: what to train on, and `part` of the pictures to validate on, at least one of each.

    Which they are follows from their names alone: the same on every machine, and nearly so when pictures are added.
    Raises DatasetError if there are fewer than two.
    """
    if len(data) < 2:
        raise DatasetError(
            f"{shown_path(data.annotation_file)}: {len(data)} pictures; expected two or more to share out"
        )
    count = min(max(1, round(part * len(data))), len(data) - 1)
    by_hash = sorted(data.samples, key=lambda sample: hashlib.sha256(os.fsencode(sample.path.name)).digest())
    chosen = {sample.image_id for sample in by_hash[:count]}
    train = tuple(sample for sample in data.samples if sample.image_id not in chosen)
    val = tuple(sample for sample in data.samples if sample.image_id in chosen)
    return replace(data, samples=train), replace(data, samples=val, problems=())


def picture_names(samples: Sequence[Sample]) -> list[Path]:
    """Each picture as seen from the folder that holds all of them; a number where two differ in their suffix only."""
    paths = [_absolute(sample.path) for sample in samples]
    root = Path(os.path.commonpath([path.parent for path in paths])) if paths else Path()
    names: list[Path] = []
    taken: set[str] = set()
    for path in paths:
        name = path.relative_to(root)
        number = 2
        while str(name.with_suffix("")).lower() in taken:
            name = path.relative_to(root).with_name(f"{path.stem}-{number}{path.suffix}")
            number += 1
        taken.add(str(name.with_suffix("")).lower())
        names.append(name)
    return names


def _absolute(path: Path) -> Path:
    """Without `..`, so that a name cannot leave the folder it is put into."""
    return Path(os.path.normpath(path.absolute()))


def _put(source: Path, target: Path, pictures: Pictures) -> None:
    if pictures == "copy":
        write_whole(target, lambda partial: shutil.copyfile(source, partial))
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    target.unlink(missing_ok=True)
    target.symlink_to(source.resolve())


def _write_coco(splits: Mapping[str, CocoDataset], names: Mapping[str, Sequence[Path]], output: Path) -> list[str]:
    for split, data in splits.items():
        content = scored_truth(data)
        name_of = {sample.image_id: name.as_posix() for sample, name in zip(data.samples, names[split])}
        images: list[dict[str, Any]] = []
        for entry in content["images"]:
            image_id = whole_number(entry, "id")
            if image_id in name_of:  # of two entries with one id the first was taken
                images.append({**entry, "file_name": name_of.pop(image_id)})
        own = {sample.image_id for sample in data.samples}
        annotations = [entry for entry in content["annotations"] if whole_number(entry, "image_id") in own]
        text = json.dumps({**content, "images": images, "annotations": annotations})
        write_text_whole(output / "annotations" / f"instances_{split}.json", text + "\n")
    return []


def _write_yolo(splits: Mapping[str, CocoDataset], names: Mapping[str, Sequence[Path]], output: Path) -> list[str]:
    classes = list(dict.fromkeys(name for data in splits.values() for name in data.class_names))
    number_of = {name: number for number, name in enumerate(classes)}
    crowds = 0
    for split, data in splits.items():
        numbers = [number_of[name] for name in data.class_names]
        for sample, name in zip(data.samples, names[split]):
            crowds += int(sample.crowd.sum())
            write_text_whole((output / "labels" / split / name).with_suffix(".txt"), _lines(sample, numbers))
    listed = "".join(f"{split}: images/{split}\n" for split in splits)
    # A text in JSON is one in YAML too.
    named = "".join(f"  {number}: {json.dumps(name, ensure_ascii=False)}\n" for number, name in enumerate(classes))
    write_text_whole(output / "data.yaml", f"# Written by cornernet.\n{listed}names:\n{named}")
    notes = []
    if crowds:
        notes.append(f"{crowds} crowd regions and difficult objects left out: YOLO's files have no word for them")
    if any(len(set(data.class_names)) < len(data.class_names) for data in splits.values()):
        notes.append("classes of one name became one")
    return notes


def _lines(sample: Sample, numbers: Sequence[int]) -> str:
    lines = []
    for box, label, crowd in zip(sample.boxes.tolist(), sample.labels.tolist(), sample.crowd.tolist()):
        if not crowd:
            x1, y1, x2, y2 = (
                box[0] / sample.width,
                box[1] / sample.height,
                box[2] / sample.width,
                box[3] / sample.height,
            )
            lines.append(f"{numbers[label]} {(x1 + x2) / 2:.8f} {(y1 + y2) / 2:.8f} {x2 - x1:.8f} {y2 - y1:.8f}\n")
    return "".join(lines)
