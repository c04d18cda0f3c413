"""Python: pages of directives that mkdocstrings fills from docstrings."""

from __future__ import annotations

import inspect

import cornernet
from cornernet import engine
from cornernet.engine import backends, model_card

TRAINING = (
    "cornernet.trainer.loop.train.train",
    "cornernet.trainer.loop.train.TrainReport",
    "cornernet.trainer.data.shapes.generate_shapes",
    "cornernet.trainer.network.checkpoint.load_checkpoint",
    "cornernet.trainer.network.checkpoint.save_checkpoint",
    "cornernet.trainer.import_weights.import_checkpoint",
)
EXPORT = (
    "cornernet.export.onnx_export.export_onnx",
    "cornernet.export.int8_export.export_int8",
    "cornernet.export.build.build_engine",
    "cornernet.export.triton.triton_repository.write_repository",
)
SCORING = (
    "cornernet.engine.scoring.coco.load_coco",
    "cornernet.engine.scoring.coco.CocoDataset",
    "cornernet.engine.scoring.evaluation.evaluate",
)
RUNTIMES = ("onnxruntime", "openvino", "tensorrt", "fastest")


def api_page() -> str:
    """The public names of `cornernet`, then what trains, exports and scores."""
    public = [_home(getattr(cornernet, name)) for name in cornernet.__all__]
    sections = {"Detecting": public, "Scoring": SCORING, "Training": TRAINING, "Export": EXPORT}
    parts = ["# Python"]
    for title, names in sections.items():
        parts += [f"## {title}", *map(_directive, names)]
    return "\n\n".join(parts) + "\n"


def runtimes_page() -> str:
    """Where models run: how one is opened, each runtime, many machines."""
    names = [f"cornernet.engine.backends.{name}" for name in RUNTIMES]
    parts = ["# Runtimes", _directive(_home(engine.open_backend)), *map(_directive, names)]
    return "\n\n".join([*parts, "## Many machines", _directive("cornernet.engine.cluster.ray_job")]) + "\n"


def contract_page() -> str:
    """What is in and around the one file."""
    shapes = [_home(backends.Backend), _home(backends.RawDetections)]
    parts = (*shapes, "cornernet.engine.backends.contract", "cornernet.export.functions", _home(model_card.Decoder))
    return "\n\n".join(["# The ONNX contract", *map(_directive, parts)]) + "\n"


def _home(thing: object) -> str:
    """Where a public name is defined."""
    return f"{inspect.getmodule(thing).__name__}.{thing.__name__}"  # type: ignore[union-attr,attr-defined]


def _directive(name: str) -> str:
    return f"::: {name}"
