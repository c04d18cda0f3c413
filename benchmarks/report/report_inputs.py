"""What a report is made of: files of `train`, `evaluate`, `benchmark` and `analyse`, found in folders or named."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from glob import escape
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from cornernet.benchmarks.analyses.analyses_report import Report as Analysis
from cornernet.benchmarks.latency.latency_report import Report as Latency
from cornernet.engine.errors import CornerNetError, DatasetError
from cornernet.engine.model_card import ModelCard
from cornernet.engine.printable import printable
from cornernet.engine.scoring.best_threshold import BestF1
from cornernet.engine.scoring.coco_stats import ClassStats
from cornernet.engine.scoring.confusion import Confusion
from cornernet.engine.scoring.curves import POINTS, Curve
from cornernet.export.read_card import read_card
from cornernet.trainer.loop.metrics_file import read_metrics

MODELS = (".onnx", ".engine", ".plan", ".safetensors")
METRICS = "metrics.jsonl"
LARGEST = 256_000_000
"""Bytes of a JSON file: a thousand classes with all their curves have 20 million."""

_FIRST_KEY = re.compile(rb'\s*\{\s*"(file|model|machine|analysis)"\s*:')
"""How the results of our verbs begin."""


class Evaluation(BaseModel):
    """What `cornernet evaluate` writes. Files from before it kept curves, or which file it was, have none."""

    model_config = ConfigDict(allow_inf_nan=False)

    file: str | None = None
    sha256: str | None = None
    runtime: str | None = None
    precision: str | None = None
    model: str
    dataset: str
    values: dict[str, float]
    per_class: list[ClassStats]
    images: int
    objects: int
    best_f1: list[BestF1] = []
    curves: list[Curve] = []
    confusion: Confusion | None = None
    notes: list[str] = []
    errors: list[dict[str, str]] = []

    @model_validator(mode="after")
    def _agrees_with_itself(self) -> Evaluation:
        if any(len(points) != POINTS for curve in self.curves for points in (curve.precision, curve.F1)):
            raise ValueError(f"a curve has other than {POINTS} points")
        if self.confusion is not None:
            size = len(self.confusion.names) + 1
            if {len(row) for row in (self.confusion.counts, *self.confusion.counts)} != {size}:
                raise ValueError(f"the confusion table is not {size} x {size}")
        return self


@dataclass(frozen=True)
class Run:
    """A folder of `cornernet train`. rows: of its metrics file, numbers only."""

    folder: Path
    rows: list[dict[str, float]]


@dataclass
class Inputs:
    """All that was found, each with its file. problems: what lay in a folder and could not be used."""

    runs: dict[Path, Run] = field(default_factory=dict)
    models: dict[Path, ModelCard] = field(default_factory=dict)
    evaluations: dict[Path, Evaluation] = field(default_factory=dict)
    benchmarks: dict[Path, Latency] = field(default_factory=dict)
    analyses: dict[Path, Analysis] = field(default_factory=dict)
    pictures: list[Path] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    def files(self) -> list[Path]:
        """Everything that was read."""
        kinds = (self.runs, self.models, self.evaluations, self.benchmarks, self.analyses, self.pictures)
        return [path for kind in kinds for path in kind]


def read_inputs(sources: Sequence[Path]) -> Inputs:
    """Folders are searched, and the folders in them; of a model the evaluations beside it are taken too.

    Raises DatasetError or ModelError if a file that was named cannot be used, or if nothing was found.
    """
    inputs = Inputs()
    for source in sources:
        found = _look_into(source) if source.is_dir() else []
        if not source.is_dir() and not _take(source, inputs):
            raise DatasetError(
                f"{printable(source)}: nothing that a report shows; expected the folder of a run, a JSON file of "
                "`cornernet evaluate`, `cornernet benchmark` or `cornernet analyse`, or a model file"
            )
        if source.suffix.lower() in MODELS:
            found = sorted(source.parent.glob(f"{escape(source.name)}.*.json"))
        for path in found:
            try:
                _take(path, inputs)
            except CornerNetError as error:
                inputs.problems.append(str(error))
    if not inputs.files():
        raise DatasetError(
            f"{', '.join(map(printable, sources))}: nothing to report on. Train, or measure first: "
            "`cornernet evaluate` and `cornernet benchmark` write the files that a report shows"
        )
    return inputs


def _look_into(folder: Path) -> list[Path]:
    """Files of a folder and of those in it that may be ours. Of weights the best alone: the last are a step further."""
    try:
        entries = sorted(folder.iterdir())
        inner = [path for entry in entries if entry.is_dir() for path in sorted(entry.iterdir())]
    except OSError as error:
        raise DatasetError(f"{printable(folder)}: cannot be read: {error.strerror}") from error
    files = [path for path in (*entries, *inner) if path.is_file()]
    return [path for path in files if path.suffix.lower() != ".safetensors" or path.name == "best.safetensors"]


def _take(path: Path, inputs: Inputs) -> bool:
    """Read one file into `inputs`. False: it is nothing that a report shows. Raises DatasetError, ModelError."""
    key = path.resolve()
    if path.name == METRICS:
        rows = [{name: float(value) for name, value in row.items() if _is_number(value)} for row in read_metrics(path)]
        inputs.runs[key] = Run(path.parent, rows)
        _take_picture(path.with_name("predictions.png"), inputs)
        return True
    if path.suffix.lower() in MODELS:
        inputs.models[key] = read_card(path)
        return True
    content = _read_json(path) if path.suffix.lower() == ".json" else None
    if content is None:
        return False
    try:
        if "analysis" in content:
            inputs.analyses[key] = Analysis.read(path)
            _take_picture(path.with_name(f"{path.stem}-examples.png"), inputs)
        elif str(content.get("format")).startswith("cornernet-benchmark/"):
            inputs.benchmarks[key] = Latency.read(path)
        elif "per_class" in content:
            inputs.evaluations[key] = Evaluation.model_validate(content)
            _take_picture(path.with_name("predictions.png"), inputs)
        else:
            return False
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "file"
        raise DatasetError(
            f"{printable(path)}: not a result of `cornernet evaluate`: {printable(where)}: {first['msg']}. "
            "Evaluate again"
        ) from error
    return True


def _take_picture(path: Path, inputs: Inputs) -> None:
    if path.is_file() and path.resolve() not in inputs.pictures:
        inputs.pictures.append(path.resolve())


def _read_json(path: Path) -> dict[str, Any] | None:
    """The content, if the file begins like one of our results. Raises DatasetError if it then is none."""
    try:
        with path.open("rb") as file:
            if not _FIRST_KEY.match(file.read(4096)):
                return None
        if path.stat().st_size > LARGEST:
            raise DatasetError(f"{printable(path)}: {path.stat().st_size:,} bytes; a result has at most {LARGEST:,}")
        content = json.loads(path.read_bytes())
    except OSError as error:
        raise DatasetError(f"{printable(path)}: cannot be read: {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:
        raise DatasetError(f"{printable(path)}: not valid JSON: {error}. Measure again") from error
    return content if isinstance(content, dict) else None


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and abs(value) < 1e300  # NaN is not less; a longer integer is no float


def short_names(paths: Sequence[Path]) -> list[str]:
    """Of each path the last parts, as many as tell it from the others."""
    for count in range(1, 1 + max((len(path.parts) for path in paths), default=0)):
        names = [printable("/".join(path.parts[-count:])) for path in paths]
        if len(set(names)) == len(set(paths)):
            return names
    return [printable(path) for path in paths]
