"""Networks with random weights for timing: what a layer costs does not depend on what it has learnt.

    python -m cornernet.benchmarks.untrained_models FOLDER [PRESET ...]

Writes <preset>.safetensors, <preset>-fp32.onnx, <preset>-fp16.onnx and, where TensorRT is installed, an engine beside
each ONNX file. A step that cannot be done is named and the others go on. Existing files are kept.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cornernet.engine.errors import CornerNetError

if TYPE_CHECKING:
    from cornernet.engine.model_card import ModelCard
    from cornernet.trainer.network.corner_net import CornerNet

PRESETS = ("hourglass-104", "squeeze")
CLASSES = 80  # COCO
SIDE = 511
BATCHES, SACCADE_BATCHES = (1, 8, 16), (1, 8, 32)  # a Saccade's largest: all crops of a picture


def write_models(folder: Path, presets: tuple[str, ...] = PRESETS) -> list[Path]:
    """The files that now exist."""
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for preset in presets:
        checkpoint = folder / f"{preset}.safetensors"
        if _made(checkpoint, partial(write_untrained, preset)):
            written.append(checkpoint)
        for precision in ("fp32", "fp16"):
            model = folder / f"{preset}-{precision}.onnx"
            if _made(model, partial(_export, checkpoint, precision)):
                written.append(model)
            engine = model.with_suffix(".engine")
            if model in written and _made(engine, partial(_build, model)):
                written.append(engine)
    return written


def _made(path: Path, make: Callable[[Path], None]) -> bool:
    if path.exists():
        return True
    try:
        make(path)
    except (CornerNetError, ImportError) as error:
        print(f"{path.name}: not made: {error}")
        return False
    print(f"{path.name}: written", flush=True)
    return True


def untrained_network(preset_name: str, classes: int = CLASSES) -> tuple[CornerNet, ModelCard]:
    """A network of this preset in eval mode, the same weights every time, and its card."""
    import torch

    from cornernet.engine.model_card import Decoder, ModelCard
    from cornernet.trainer.network.corner_net import CornerNet
    from cornernet.trainer.network.presets import PRESET_DECODERS, PRESET_SACCADES, preset

    torch.manual_seed(0)
    config = preset(preset_name, classes)
    saccade = PRESET_SACCADES.get(preset_name)
    side = SIDE if saccade is None else max(saccade.view_sizes)
    card = ModelCard(
        name=preset_name,
        class_names=tuple(f"class {number}" for number in range(classes)),
        category_ids=tuple(range(1, classes + 1)),
        stride=config.stride,
        size_multiple=config.size_multiple,
        train_size=(side, side),
        decoder=Decoder() if saccade is None else PRESET_DECODERS[preset_name],
        saccade=saccade,
    )
    return CornerNet(config).eval(), card


def pairing_network(preset_name: str) -> tuple[CornerNet, ModelCard]:
    """Random weights that find boxes to compare: one class, and no embeddings too far apart; crops wherever a Saccade
    could make some."""
    network, card = untrained_network(preset_name, classes=1)
    changes: dict[str, Any] = {"decoder": card.decoder.model_copy(update={"max_distance": 1e6})}
    if card.saccade is not None:
        thresholds = dict.fromkeys(("attention_threshold", "view_threshold", "reference_threshold"), 0.0)
        changes["saccade"] = card.saccade.model_copy(update={**thresholds, "max_crops": 5})
    return network, card.model_copy(update=changes)


def write_untrained(preset_name: str, path: Path) -> None:
    """A checkpoint of the preset, random weights, always the same."""
    from cornernet.trainer.network.checkpoint import save_checkpoint

    save_checkpoint(path, *untrained_network(preset_name))


def exported(model: str, folder: Path) -> Path:
    """The ONNX file that `model` names, or that of a preset with random weights, which is written into `folder`."""
    if model.endswith(".onnx"):
        return Path(model)
    checkpoint, path = folder / f"{model}.safetensors", folder / f"{model}.onnx"
    write_untrained(model, checkpoint)
    _export(checkpoint, "fp32", path)
    return path


def _export(checkpoint: Path, precision: str, path: Path) -> None:
    from cornernet.export.onnx_export import export_onnx
    from cornernet.trainer.network.checkpoint import load_checkpoint

    export_onnx(*load_checkpoint(checkpoint), path, precision=precision)  # type: ignore[arg-type]


def _build(model: Path, path: Path) -> None:
    from cornernet.export.build import build_engine
    from cornernet.export.parse_network import read_onnx

    card = read_onnx(model)[1]
    canvas = "x".join(map(str, card.usual_canvas))
    batches = BATCHES if card.saccade is None else SACCADE_BATCHES
    build_engine(model, path, profiles=(",".join(f"{batch}x{canvas}" for batch in batches),))


if __name__ == "__main__":
    made = write_models(Path(sys.argv[1]), tuple(sys.argv[2:]) or PRESETS)
    sys.exit(0 if made else 1)
