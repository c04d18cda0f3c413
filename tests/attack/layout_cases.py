"""Data sets in YOLO's and Pascal VOC's layouts, their label files, lists and descriptions damaged."""

from __future__ import annotations

import shutil
from pathlib import Path
from random import Random

from dataset_layouts import TRUTH, write_roboflow, write_voc, write_yolo

from attack.families import Case
from attack.mutations import extreme, mutate

_WRITERS = {"yolo": write_yolo, "voc": write_voc, "roboflow": write_roboflow}
_TEXTS = {".txt", ".xml", ".yaml", ".json"}


def make(chance: Random, folder: Path, number: int) -> Case:
    layout = chance.choice(sorted(_WRITERS))
    root = folder / f"case-{layout}"
    shutil.rmtree(root, ignore_errors=True)
    _WRITERS[layout](root, TRUTH)
    files = sorted(path for path in root.rglob("*") if path.suffix in _TEXTS)
    kind = "bytes"
    for path in chance.sample(files, min(len(files), chance.choice((1, 2, 5)))):
        data = path.read_bytes()
        if chance.random() < 0.4:
            kind, data = "numbers", _other_number(chance, data)
        path.write_bytes(mutate(chance, data) if kind == "bytes" else data)
    return Case(f"{layout} {kind}", lambda: _drive(root, folder / "converted"))


def _other_number(chance: Random, data: bytes) -> bytes:
    """A number or a path in the text replaced by one that programs overlook."""
    words = data.split(b" ")
    odd = [str(extreme(chance)), "-1", "nan", "inf", "1e400", "1" * 5000, "../" * 50, "/dev/zero", "\0", "&x;", "*a"]
    words[chance.randrange(len(words))] = chance.choice(odd).encode()
    return b" ".join(words)


def _drive(root: Path, output: Path) -> str:
    from cornernet.engine.datasets.convert_dataset import convert_dataset
    from cornernet.engine.datasets.layouts import find_dataset
    from cornernet.engine.printable import printable
    from cornernet.engine.scoring.evaluation import scored_truth
    from cornernet.engine.survey.survey import survey
    from cornernet.engine.survey.survey_page import survey_page

    found = find_dataset(root)
    splits = {split: found.load(split) for split in found.splits}
    for data in splits.values():
        assert all(printable(line) == line for line in data.problems), data.problems
        for sample in data.samples:
            assert sample.boxes.shape == (len(sample.labels), 4) and len(sample.crowd) == len(sample.labels)
            assert (sample.boxes[:, :2] < sample.boxes[:, 2:]).all() and (sample.boxes >= 0).all()
            assert (sample.boxes[:, [2, 3]] <= (sample.width, sample.height)).all()
        scored_truth(data)
    survey_page(survey(splits, size=(64, 64)), {})
    shutil.rmtree(output, ignore_errors=True)
    convert_dataset(splits, output, form="yolo", pictures="link")
    assert all(path.is_relative_to(output) for path in output.rglob("*"))
    return "used"
