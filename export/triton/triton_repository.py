"""From a model file to a Triton model repository: two models, one of which clients talk to."""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cornernet.engine.backends.engine_card import EngineCard, read_engine_card
from cornernet.engine.backends.open import ENGINE_SUFFIXES, weights_beside
from cornernet.engine.errors import ExportError, ModelError
from cornernet.engine.geometry import Size
from cornernet.engine.model_card import ATTENTION_OUTPUTS, INPUT, OUTPUTS, ModelCard
from cornernet.engine.protocol import find_protocol
from cornernet.engine.reading.views import canvas_to_fit
from cornernet.engine.whole_file import write_text_whole, write_whole
from cornernet.export.triton.triton_config import NetworkFacts, boxes_config, network_config

MODEL_PY = '''"""Pictures -> boxes: see the docstring of what is imported. Needs `cornernet` in the server's Python."""

from cornernet.engine.serving.triton_model import TritonPythonModel

__all__ = ["TritonPythonModel"]
'''


@dataclass(frozen=True)
class RepositoryReport:
    """What was written. options: of `tritonserver` that this repository needs."""

    folder: Path
    boxes: str
    network: str
    max_batch: int
    canvas: Size | None
    options: tuple[str, ...]


def repository_files(folder: Path, name: str, model: Path) -> dict[str, Path]:
    """What `write_repository` writes, by its role."""
    network, boxes = folder / f"{name}_network", folder / name
    plan = model.suffix.lower() in ENGINE_SUFFIXES
    return {
        "network": network / "1" / ("model.plan" if plan else "model.onnx"),
        "network config": network / "config.pbtxt",
        "model.py": boxes / "1" / "model.py",
        "card": boxes / "1" / "card.json",
        "labels": boxes / "labels.txt",
        "config": boxes / "config.pbtxt",
    }


def write_repository(
    model: Path | str,
    folder: Path | str,
    *,
    name: str = "cornernet",
    max_batch: int | None = None,
    instances: int = 1,
    workers: int = 2,
    delay_us: int = 1000,
    settings: Mapping[str, Any] | None = None,
) -> RepositoryReport:
    """Write `<name>_network`, the file as it is, and `<name>`, which reads pictures and gives boxes, into `folder`.

    Args:
        model: .onnx of `export` (ONNX Runtime backend), or a TensorRT engine that needs no library beside it.
        max_batch: canvases the network gets at once; None: 8, or what an engine takes.
        instances, workers: processes of the network per GPU (or in all, without one), and of the model in front.
        delay_us: how long the network's queue waits for more canvases [us].
        settings: arguments of `Detector` (resize, size, protocol, mirror, score_threshold, ...).

    Raises:
        ModelError: the file cannot be used, or holds raw heads.
        ExportError: Triton cannot run it: built for TensorRT-RTX, needs a plugin library, takes no single picture.
    """
    model, folder = Path(model), Path(folder)
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]*", name):
        raise ExportError(f"name {name!r}: expected letters, digits, and _ . - between them: it is part of an address")
    card, facts, options = _engine(model) if model.suffix.lower() in ENGINE_SUFFIXES else _onnx(model)
    if card.outputs != "detections":
        raise ModelError(f"{model} gives raw heads; export it with `--outputs detections`")
    chosen = {key: value for key, value in (settings or {}).items() if value is not None}
    canvas = _canvas(card, facts, chosen, model)
    if max_batch is not None and max_batch > facts.max_batch:
        raise ExportError(f"max_batch={max_batch}, but {model} takes at most {facts.max_batch} canvases at once")
    facts = NetworkFacts(
        facts.backend,
        facts.shapes,
        max_batch or min(facts.max_batch, 8 if facts.backend == "onnxruntime" else facts.max_batch),
        [canvas or card.usual_canvas] if facts.backend == "onnxruntime" else facts.canvases,
        facts.profiles,
    )
    files, network = repository_files(folder, name, model), f"{name}_network"
    write_whole(files["network"], lambda partial: shutil.copyfile(model, partial))
    texts = {
        "network config": network_config(network, facts, instances=instances, delay_us=delay_us),
        "model.py": MODEL_PY,
        "card": card.to_json(),
        "labels": "".join(f"{' '.join(label.split())}\n" for label in card.class_names),
        "config": boxes_config(name, network, chosen, max_batch=facts.max_batch, workers=workers),
    }
    for role, text in texts.items():
        write_text_whole(files[role], text)
    return RepositoryReport(folder, name, network, facts.max_batch, canvas, options)


_MOST = 1 << 16


def _onnx(model: Path) -> tuple[ModelCard, NetworkFacts, tuple[str, ...]]:
    from cornernet.export.parse_network import read_onnx

    if beside := weights_beside(model):
        raise ModelError(beside)
    if model.suffix.lower() != ".onnx":
        raise ModelError(f"{model}: expected a .onnx file or a TensorRT engine; `cornernet export` writes the first")
    graph, card = read_onnx(model)
    shapes = {
        value.name: [axis.dim_value if axis.HasField("dim_value") else -1 for axis in value.type.tensor_type.shape.dim]
        for value in (*graph.graph.input, *graph.graph.output)
    }
    if card.outputs == "detections" and (missing := {INPUT, *card.detection_outputs} - shapes.keys()):
        raise ModelError(f"{model} has no {', '.join(sorted(missing))}. Write it with `cornernet export`.")
    batch = shapes[INPUT][0]
    if batch not in (-1, 1):
        raise ExportError(f"{model} takes {batch} canvases at once and no fewer; export it with an open batch")
    wanted = {key: shapes[key][1:] for key in (INPUT, *card.detection_outputs) if key in shapes}
    return card, NetworkFacts("onnxruntime", wanted, _MOST if batch == -1 else 1, ()), ()


def _engine(model: Path) -> tuple[ModelCard, NetworkFacts, tuple[str, ...]]:
    facts = read_engine_card(model)
    _check_triton_runs_it(model, facts)
    first = facts.profiles[0]
    fixed = all(profile.min[1:] == profile.max[1:] == first.min[1:] for profile in facts.profiles)
    height, width = first.min[1:] if fixed else (-1, -1)
    rows = facts.card.decoder.num_dets
    shapes = {
        INPUT: (height, width, 3),
        **dict(zip(OUTPUTS, ((rows, 4), (rows,), (rows, 2), (rows,), ()), strict=True)),
    }
    if (saccade := facts.card.saccade) is not None:
        shapes |= dict.fromkeys(ATTENTION_OUTPUTS, (len(saccade.attention_strides), saccade.locations))
    network = NetworkFacts(
        "tensorrt",
        shapes,
        min(profile.max[0] for profile in facts.profiles),
        list(dict.fromkeys(profile.opt[1:] for profile in facts.profiles)),
        len(facts.profiles),
    )
    # An engine that carries a library is version compatible, and TensorRT loads it only where it is told that it may.
    options = ("--backend-config=tensorrt,version-compatible=true",) if facts.embeds_plugins else ()
    return facts.card, network, options


def _check_triton_runs_it(model: Path, facts: EngineCard) -> None:
    if facts.flavour != "tensorrt":
        raise ExportError(f"{model} was built for TensorRT-RTX, which Triton has no backend for; build with TensorRT")
    if facts.plugins is not None and not facts.embeds_plugins:
        raise ExportError(
            f"{model} needs {facts.plugins.name} beside it. Triton opens such a library but registers nothing of it: "
            "build the engine again with `--embed-plugins`, or `--plugins none`."
        )
    if facts.float_canvases:
        raise ExportError(
            f"{model} takes float32 canvases, but these are uint8 here; build it without --float-canvases"
        )
    least = max(profile.min[0] for profile in facts.profiles)
    if least > 1:
        raise ExportError(f"{model} takes {least} canvases at once and no fewer; build it with a profile from 1 on")


def _canvas(card: ModelCard, facts: NetworkFacts, settings: dict[str, Any], model: Path) -> Size | None:
    """The one canvas (height, width) [px] of all pictures, or None; a network with one canvas gets that one.

    Completes `settings`. Raises ExportError if they ask for a canvas that the network does not take.
    """
    height, width, _ = facts.shapes[INPUT]
    if height > 0 and width > 0 and not {"resize", "size"} & settings.keys():
        settings |= {"resize": "fit", "size": [height, width]}
    size = tuple(settings["size"]) if "size" in settings else None
    protocol = find_protocol(settings.get("protocol", "default"))
    canvas = canvas_to_fit(card, protocol, settings.get("resize"), size)
    if any(fixed not in (-1, None if canvas is None else canvas[axis]) for axis, fixed in enumerate((height, width))):
        given = "each picture's own" if canvas is None else "{}x{}".format(*canvas)
        raise ExportError(f"{model} takes canvases of {height}x{width} only, asked for was {given}")
    for side in canvas or ():
        if not card.is_legal_side(side):
            raise ExportError(
                f"canvas {canvas}: {model} takes multiples of {card.size_multiple} up to {card.max_size} px"
            )
    return canvas
