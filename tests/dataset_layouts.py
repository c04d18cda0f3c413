"""One small data set, written in every layout that is read. Coordinates are pixel edges, x1 y1 x2 y2."""

import json
from pathlib import Path

import cv2
import numpy as np

NAMES = ("cat", "no")  # YAML's own rules would make the second a False
TRUTH = {
    "train": [
        ("a.jpg", (60, 80), [("cat", 10, 20, 50, 60), ("no", 0, 0, 80, 60)]),
        ("b.png", (64, 64), []),
        ("c.jpg", (48, 90), [("no", 3, 4, 9, 10)]),
    ],
    "val": [("d.jpg", (50, 70), [("cat", 1, 2, 69, 50)]), ("e.jpg", (40, 40), [])],
}
"""Split -> (file name, (height, width), objects)."""


def write_picture(path: Path, size: tuple[int, int]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = np.random.default_rng(len(path.name) + size[0]).integers(0, 255, (*size, 3), np.uint8)
    path.write_bytes(cv2.imencode(path.suffix, picture)[1].tobytes())


def coco_lists(pictures) -> dict:
    images = [
        {"id": number, "file_name": name, "width": width, "height": height}
        for number, (name, (height, width), _) in enumerate(pictures, start=1)
    ]
    objects = [(number, found) for number, (_, _, objects) in enumerate(pictures, start=1) for found in objects]
    annotations = [
        {"id": id_, "image_id": number, "category_id": NAMES.index(name) + 1, "bbox": [x1, y1, x2 - x1, y2 - y1]}
        for id_, (number, (name, x1, y1, x2, y2)) in enumerate(objects, start=1)
    ]
    categories = [{"id": number, "name": name} for number, name in enumerate(NAMES, start=1)]
    return {"images": images, "annotations": annotations, "categories": categories}


def write_coco(root: Path, truth=TRUTH, *, folder="images/{}", file="annotations/instances_{}.json") -> Path:
    for split, pictures in truth.items():
        for name, size, _ in pictures:
            write_picture(root / folder.format(split) / name, size)
        target = root / file.format(split)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(json.dumps(coco_lists(pictures)))
    return root


def write_coco_2017(root: Path, truth=TRUTH) -> Path:
    """As COCO itself comes, with a file beside it that is not about boxes."""
    write_coco(root, truth, folder="{}2017", file="annotations/instances_{}2017.json")
    (root / "annotations/captions_train2017.json").write_text("{}")
    return root


def roboflow_names(truth):
    return {"valid" if split == "val" else split: pictures for split, pictures in truth.items()}


def write_roboflow(root: Path, truth=TRUTH) -> Path:
    return write_coco(root, roboflow_names(truth), folder="{}", file="{}/_annotations.coco.json")


def yolo_line(found, size) -> str:
    (name, x1, y1, x2, y2), (height, width) = found, size
    numbers = ((x1 + x2) / 2 / width, (y1 + y2) / 2 / height, (x2 - x1) / width, (y2 - y1) / height)
    return " ".join([str(NAMES.index(name)), *(f"{number:.6f}" for number in numbers)])


def write_yolo(root: Path, truth=TRUTH, *, yaml=None) -> Path:
    for split, pictures in truth.items():
        for name, size, objects in pictures:
            write_picture(root / "images" / split / name, size)
            labels = (root / "labels" / split / name).with_suffix(".txt")
            labels.parent.mkdir(parents=True, exist_ok=True)
            if objects or name == "b.png":  # an empty file; and none at all for the others
                labels.write_text("\n".join(yolo_line(found, size) for found in objects))
    splits = "".join(f"{split}: images/{split}\n" for split in truth)
    (root / "data.yaml").write_text(yaml or f"path: /not/here\n{splits}names:\n  0: cat\n  1: no\n")
    return root


def write_roboflow_yolo(root: Path, truth=TRUTH) -> Path:
    """train/images, train/labels, valid/...; the paths lead beside the folder, as Roboflow writes them."""
    for split, pictures in roboflow_names(truth).items():
        for name, size, objects in pictures:
            write_picture(root / split / "images" / name, size)
            labels = (root / split / "labels" / name).with_suffix(".txt")
            labels.parent.mkdir(parents=True, exist_ok=True)
            labels.write_text("\n".join(yolo_line(found, size) for found in objects))
    (root / "data.yaml").write_text("train: ../train/images\nval: ../valid/images\nnc: 2\nnames: ['cat', 'no']\n")
    return root


def voc_xml(name, size, objects) -> str:
    """1-based, both ends included: the pixel edge x1 is before pixel x1 + 1, the edge x2 behind pixel x2."""
    height, width = size
    found = "".join(
        f"<object><name>{label}</name><difficult>0</difficult><bndbox><xmin>{x1 + 1}</xmin><ymin>{y1 + 1}</ymin>"
        f"<xmax>{x2}</xmax><ymax>{y2}</ymax></bndbox></object>"
        for label, x1, y1, x2, y2 in objects
    )
    numbers = f"<width>{width}</width><height>{height}</height><depth>3</depth>"
    return f"<annotation><filename>{name}</filename><size>{numbers}</size>{found}</annotation>"


def write_voc(root: Path, truth=TRUTH) -> Path:
    for folder in ("Annotations", "ImageSets/Main"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    for split, pictures in truth.items():
        for name, size, objects in pictures:
            write_picture(root / "JPEGImages" / name, size)
            (root / "Annotations" / name).with_suffix(".xml").write_text(voc_xml(name, size, objects))
        stems = [Path(name).stem for name, _, _ in pictures]
        (root / f"ImageSets/Main/{split}.txt").write_text("\n".join(stems) + "\n")
        (root / f"ImageSets/Main/cat_{split}.txt").write_text("\n".join(f"{stem} -1" for stem in stems))
    return root


def write_roboflow_voc(root: Path, truth=TRUTH) -> Path:
    for split, pictures in roboflow_names(truth).items():
        for name, size, objects in pictures:
            write_picture(root / split / name, size)
            (root / split / name).with_suffix(".xml").write_text(voc_xml(name, size, objects))
    return root


WRITERS = {
    "COCO": write_coco,
    "COCO 2017": write_coco_2017,
    "Roboflow's COCO": write_roboflow,
    "YOLO": write_yolo,
    "Roboflow's YOLO": write_roboflow_yolo,
    "Pascal VOC": write_voc,
    "Roboflow's VOC": write_roboflow_voc,
}


def objects_of(data) -> dict[str, list[tuple]]:
    """File name -> (class, x1, y1, x2, y2) of each object, to a hundredth of a pixel."""
    return {
        sample.path.name: [
            (data.class_names[label], *(round(float(value), 2) for value in box))
            for box, label in zip(sample.boxes, sample.labels)
        ]
        for sample in data.samples
    }


def truth_of(split) -> dict[str, list[tuple]]:
    return {name: list(objects) for name, _, objects in TRUTH[split]}
