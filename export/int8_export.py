"""Weights -> int8 ONNX file: the float32 graph, compared with torch as ever, then quantised and compared with itself.

network --build_model--> float32 graph --parity gate--> quantise --> blocks back in float --> int8 gate --> file
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import NamedTuple

from cornernet.engine.errors import ExportError
from cornernet.engine.model_card import ModelCard
from cornernet.engine.scoring.coco import CocoDataset
from cornernet.export.calibration import calibration_canvases, find_pictures
from cornernet.export.int8_gate import Agreement, Step, average_precision, search_float_blocks, seen_by_saccade
from cornernet.export.onnx_export import build_model, deployed_card, inline_functions
from cornernet.export.parity import Parity, check_parity
from cornernet.export.quantise import quantise, write_quantised
from cornernet.trainer.network.corner_net import CornerNet


class Int8Report(NamedTuple):
    """What was written. parity: of the float32 graph with torch. agreement: of int8 with float32 on the `pictures` used
    to calibrate. float_blocks: that int8 would have cost too much. ap: of the data set before and after, or None."""

    path: Path
    card: ModelCard
    bytes: int
    nodes: int
    seconds: float
    parity: Parity
    pictures: int
    agreement: Agreement
    float_blocks: tuple[str, ...]
    ap: tuple[float, float] | None


def export_int8(
    network: CornerNet,
    card: ModelCard,
    output: Path | str,
    *,
    calibrate: Path,
    dataset: CocoDataset | None = None,
    max_loss: float = 0.005,
    max_size: int | None = None,
    num_dets: int | None = None,
    inline: bool = False,
    step: Step = lambda text: None,
) -> Int8Report:
    """Write `network` as an int8 file that finds the boxes of the float32 one.

    Args:
        calibrate: folder of pictures of the kind that the model will see; about a hundred are enough.
        dataset:   adds AP before and after.
        max_loss:  of AP on `dataset` that is accepted [1].
        max_size, num_dets, inline: as in `export_onnx`.
        step: told what is being done.

    Raises ExportError: no usable picture, boxes that are not found again, AP lost, or what `export_onnx` raises.
    """
    started = time.perf_counter()
    output = Path(output)
    pictures = find_pictures(calibrate)
    card = deployed_card(network, card, max_size=max_size, num_dets=num_dets)
    pictures, canvases = calibration_canvases(pictures, card)
    step("exporting, then comparing with torch")
    model = build_model(network, card)
    parity = check_parity(network, card, model)
    step(f"calibrating on {len(pictures)} pictures")
    if card.saccade is not None:
        canvases = seen_by_saccade(model, pictures)
    found = search_float_blocks(model, quantise(model, canvases), pictures, step)
    ap = None
    if dataset is not None:
        step(f"measuring AP on {len(dataset)} pictures")
        before, after = ap = (average_precision(model, dataset), average_precision(found.model, dataset))
        if before - after > max_loss:
            raise ExportError(
                f"int8 loses {before - after:.3f} AP on {dataset.annotation_file} ({before:.3f} to {after:.3f}); "
                f"accepted are {max_loss:g}. No file was written. Calibrate on more pictures, or raise --max-loss."
            )
    result = inline_functions(found.model) if inline else found.model
    try:
        write_quantised(result, output)
    except OSError as error:
        raise ExportError(f"cannot write {output}: {error}. Free some disk space or choose another folder.") from error
    return Int8Report(
        path=output,
        card=card.model_copy(update={"precision": "int8"}),
        bytes=output.stat().st_size,
        nodes=len(result.graph.node),
        seconds=time.perf_counter() - started,
        parity=parity,
        pictures=len(pictures),
        agreement=found.agreement,
        float_blocks=found.blocks,
        ap=ap,
    )
