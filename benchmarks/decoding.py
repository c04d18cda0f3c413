"""What `decode="fast"` gains on big photographs, and what it costs in AP.

    python -m cornernet.benchmarks.decoding MODEL DATASET --split test --json decoding.json

The pictures of a data set are enlarged and saved as JPEG, so that their boxes are known; both ways of decoding see the
same files. The time is that of one picture of 12 megapixels, from its bytes to the canvas.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from cornernet.benchmarks.latency.pictures import draw_picture
from cornernet.engine.detector import Detector
from cornernet.engine.geometry import Placement
from cornernet.engine.machine import machine_facts
from cornernet.engine.reading.images import Rules, read_image, read_reduced
from cornernet.engine.reading.preprocess import place_on_canvas
from cornernet.engine.running.opencv_threads import opencv_alone
from cornernet.engine.scoring.coco import CocoDataset, load_coco
from cornernet.engine.scoring.evaluation import evaluate
from cornernet.engine.whole_file import write_text_whole
from cornernet.trainer.deploy.open_model import open_detector

FACTORS = (4, 8)
QUALITY = 85
BIG = (3000, 4000)
"""(height, width) [px]: a photograph of a telephone."""
CANVAS = (512, 512)


def enlarged(data: CocoDataset, folder: Path, factor: int) -> CocoDataset:
    """The data set with pictures and boxes `factor` times as large, written into `folder`."""
    content = json.loads(data.annotation_file.read_text(encoding="utf-8"))
    paths = {sample.image_id: sample.path for sample in data.samples}
    (folder / "images").mkdir(parents=True)
    (folder / "annotations").mkdir()
    content["images"] = [entry for entry in content["images"] if entry["id"] in paths]
    for entry in content["images"]:
        picture = read_image(paths[entry["id"]])
        size = (picture.shape[1] * factor, picture.shape[0] * factor)
        name = f"{entry['id']}.jpg"
        big = cv2.resize(picture, size, interpolation=cv2.INTER_CUBIC)
        (folder / "images" / name).write_bytes(
            cv2.imencode(".jpg", big, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])[1].tobytes()
        )
        entry |= {"file_name": name, "width": size[0], "height": size[1]}
    for entry in content["annotations"]:
        entry["bbox"] = [value * factor for value in entry["bbox"]]
        entry["area"] = entry["area"] * factor**2
        entry.pop("segmentation", None)
    file = folder / "annotations" / "instances_big.json"
    file.write_text(json.dumps(content), encoding="utf-8")
    return load_coco(folder, "big")


def time_decoding(detector: Detector, repeats: int) -> dict[str, float]:
    """Milliseconds from the bytes of a 12-megapixel JPEG to a canvas of 512 x 512: the best of `repeats`, in turns."""
    picture = draw_picture(np.random.default_rng(0), *BIG)
    data = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])[1].tobytes()
    plan = detector.stages.plan
    times: dict[str, list[float]] = {"exact": [], "fast": []}
    with opencv_alone():
        for _ in range(repeats):
            for name, reduction in (("exact", lambda size: 1), ("fast", plan.reduction)):
                start = time.perf_counter()
                pixels, size = read_reduced(data, Rules(), reduction=reduction)
                placement = plan.placements(size)[0]
                assert isinstance(placement, Placement)
                place_on_canvas(pixels, placement, detector.card, detector.protocol)
                times[name].append((time.perf_counter() - start) * 1000)
    return {name: min(values) for name, values in times.items()}


def measure(model: Path, data: CocoDataset, repeats: int = 7) -> dict[str, Any]:
    """AP of both ways on enlarged pictures, and their times."""
    rows = []
    for factor in FACTORS:
        with tempfile.TemporaryDirectory() as folder:
            big = enlarged(data, Path(folder) / "data", factor)
            for decode in ("exact", "fast"):
                with open_detector(model, decode=decode) as detector:
                    stats = evaluate(detector, big).stats
                rows.append({"factor": factor, "decode": decode, "AP": stats["AP"], "AP50": stats["AP50"]})
    with open_detector(model, resize="fit", size=CANVAS) as detector:
        times = time_decoding(detector, repeats)
    return {"machine": machine_facts(), "images": len(data), "rows": rows, "ms": times}


def render(report: Mapping[str, Any]) -> str:
    """Markdown."""
    ms = report["ms"]
    lines = [
        f"A JPEG of 12 megapixels, from bytes to a canvas of {CANVAS[0]}x{CANVAS[1]}, on one core: exact "
        f"{ms['exact']:.0f} ms, fast {ms['fast']:.0f} ms, {ms['exact'] / ms['fast']:.1f} times less. AP of "
        f"{report['images']} enlarged pictures:",
        "",
        "| enlarged | decode | AP | AP50 |",
        "|---:|---|---:|---:|",
    ]
    lines += [
        f"| {row['factor']} times | {row['decode']} | {row['AP']:.3f} | {row['AP50']:.3f} |" for row in report["rows"]
    ]
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="What decoding big JPEGs at a fraction of their size gains and costs.")
    parser.add_argument("model", type=Path)
    parser.add_argument("dataset", type=Path)
    parser.add_argument("--split", default="test")
    parser.add_argument("--json", type=Path, help="write the numbers here too")
    options = parser.parse_args(arguments)
    report = measure(options.model, load_coco(options.dataset, options.split))
    print(render(report))
    if options.json is not None:
        write_text_whole(options.json, json.dumps(report, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
