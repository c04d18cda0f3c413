"""Weights -> the ONNX contract: uint8 images in, final boxes out, any batch and legal size, the model card inside.

    network --DeployedNetwork--> torch.export --torch.onnx--> graph --tidy, functions, card--> model --parity--> file

opset 18 and IR 10 are what TensorRT 10.12 to 11, tensorrt_rtx and ONNX Runtime since 1.20 all read.
"""

from __future__ import annotations

import logging
import math
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Literal, NamedTuple

import onnx
import torch

from cornernet.engine.arguments import choice, integer
from cornernet.engine.backends.onnx_inline import inline_functions
from cornernet.engine.errors import ExportError
from cornernet.engine.model_card import INPUT, LONGEST_SIDE, METADATA_KEY, ModelCard
from cornernet.engine.whole_file import write_whole
from cornernet.export.functions import (
    DOMAIN,
    OPSET,
    corner_group_function,
    corner_peaks_function,
    corner_pool_functions,
    corner_windows_function,
)
from cornernet.export.parity import Parity, check_parity
from cornernet.export.tidy_graph import tidy
from cornernet.export.translate import TRANSLATIONS
from cornernet.trainer.deploy.deployed import DeployedHeads, DeployedNetwork
from cornernet.trainer.network.corner_net import CornerNet
from cornernet.trainer.network.cost import count_macs, count_parameters

IR_VERSION = 10
_LARGEST_FILE = 2**31 - 1  # bytes; a protobuf message cannot be longer


class ExportReport(NamedTuple):
    """What was written. nodes: of the main graph; seconds: with the parity check."""

    path: Path
    card: ModelCard
    bytes: int
    nodes: int
    seconds: float
    parity: Parity


def export_onnx(
    network: CornerNet,
    card: ModelCard,
    output: Path | str,
    *,
    precision: Literal["fp32", "fp16"] = "fp32",
    max_size: int | None = None,
    num_dets: int | None = None,
    outputs: Literal["detections", "heads"] = "detections",
    inline: bool = False,
) -> ExportReport:
    """Write `network` as one self-contained ONNX file, after comparing it with torch in ONNX Runtime.

    Args:
        max_size: longest canvas side the file accepts [px]; default: the card's.
        num_dets: rows of the output; default: the card's.
        outputs:  "heads" writes the raw maps (`ModelCard.map_outputs`) instead of boxes.
        inline:   standard operators only (OpenVINO); TensorRT cannot put our plugins into such a file.

    Raises ExportError: impossible settings, more than 2 GB, a difference above the tolerance, or a disk that is full;
    an older file of that name stays as it was.
    """
    started = time.perf_counter()
    output = Path(output)
    card = deployed_card(network, card, precision=precision, max_size=max_size, num_dets=num_dets, outputs=outputs)
    model = build_model(network, card)
    if inline:
        model = inline_functions(model)
    parity = check_parity(network, card, model)
    try:
        write_whole(output, lambda partial: partial.write_bytes(model.SerializeToString()))
    except OSError as error:
        raise ExportError(f"cannot write {output}: {error}. Free some disk space or choose another folder.") from error
    nodes = len(model.graph.node)
    return ExportReport(output, card, output.stat().st_size, nodes, time.perf_counter() - started, parity)


def deployed_card(
    network: CornerNet,
    card: ModelCard,
    *,
    precision: Literal["fp32", "fp16"] = "fp32",
    max_size: int | None = None,
    num_dets: int | None = None,
    outputs: Literal["detections", "heads"] = "detections",
) -> ModelCard:
    """The card of the file. Raises ExportError if it does not describe `network` or no canvas would be legal."""
    config = network.config
    if contradiction := config.contradiction(card):
        raise ExportError(f"{contradiction}. Give the card of this network's checkpoint.")
    choice("precision", precision, ("fp32", "fp16"))
    choice("outputs", outputs, ("detections", "heads"))
    longest = card.max_size if max_size is None else integer("max_size", max_size, least=-(2**31), most=10**15)
    smallest = config.size_multiple - config.stride + 1
    if not config.size_multiple <= longest <= LONGEST_SIDE:
        raise ExportError(
            f"max_size={longest} px; {config.name} takes sides of {smallest} to {config.size_multiple} px, or that "
            f"plus a multiple of {config.size_multiple}, up to {LONGEST_SIDE}. Give such a multiple."
        )
    decoder = card.decoder
    if num_dets is not None:
        num_dets = integer("num_dets", num_dets, least=-(2**31), most=2**31)
        if not 1 <= num_dets <= 3840:
            raise ExportError(f"num_dets={num_dets}; expected 1 to 3840 (the limit of TensorRT's TopK).")
        decoder = decoder.model_copy(update={"num_dets": num_dets})
    canvas = card.usual_canvas
    libraries = {name: version(name) for name in ("cornernet", "torch", "onnx", "onnxscript")}
    return card.model_copy(
        update={
            "precision": precision,
            "outputs": outputs,
            "max_size": longest,
            "decoder": decoder,
            "parameters": count_parameters(network).inference,
            "gmacs": card.gmacs or {f"{canvas[0]}x{canvas[1]}": round(count_macs(config, *canvas) / 1e9, 3)},
            "versions": card.versions | libraries | {"opset": str(OPSET)},
        }
    )


def build_model(network: CornerNet, card: ModelCard) -> onnx.ModelProto:
    """The graph that `card` describes, functions attached; in memory, not compared with anything yet."""
    heads = card.outputs == "heads"
    dtype = torch.float16 if card.precision == "fp16" else torch.float32
    deployed = (DeployedHeads if heads else DeployedNetwork)(network, card, dtype=dtype)
    model = _trace(deployed, card)
    if model.ByteSize() > _LARGEST_FILE:
        raise ExportError(f"the file would have {model.ByteSize() / 1e9:.1f} GB; ONNX ends at 2. Use precision='fp16'.")
    tidy(model)
    model.ir_version = IR_VERSION
    used = {node.op_type: node for node in model.graph.node if node.domain == DOMAIN}
    model.functions.extend(function for function in _functions(card, used) if function.name in used)
    model.metadata_props.append(onnx.StringStringEntryProto(key=METADATA_KEY, value=card.to_json()))
    return model


def _functions(card: ModelCard, used: dict[str, onnx.NodeProto]) -> Iterator[onnx.FunctionProto]:
    decoder = card.decoder
    sides = card.size_multiple // card.stride  # of every legal map are multiples of this [cell]
    smallest_map = len(card.class_names) * sides**2
    yield from corner_pool_functions(reach=-(-card.max_size // card.stride), block=math.gcd(sides, 8))
    yield corner_peaks_function(decoder.top_k, smallest_map)
    if "CornerWindows" in used:
        yield corner_windows_function(*(a.i for a in used["CornerWindows"].attribute if a.name == "size"))
    yield corner_group_function(decoder.top_k, decoder.num_dets, decoder.max_distance, decoder.reject_zero_size)


def _trace(deployed: torch.nn.Module, card: ModelCard) -> onnx.ModelProto:
    """torch.export with symbolic batch and sides (multiples of the size rule), then torch.onnx with our operators.

    The traced size is only a witness: fake tensors run, no arithmetic is done.
    """
    multiple = card.size_multiple
    images = torch.zeros((2, 2 * multiple, 3 * multiple, 3), dtype=torch.uint8)
    height, width = (multiple * torch.export.Dim(name, min=1, max=4096) for name in ("height", "width"))
    sizes = {"images": {0: torch.export.Dim("batch", min=1, max=4096), 1: height, 2: width}}
    names = card.map_outputs if card.outputs == "heads" else card.detection_outputs
    with _quiet(), torch.no_grad():
        graph = torch.export.export(deployed, (images,), dynamic_shapes=sizes)
        program = torch.onnx.export(
            graph,
            dynamo=True,
            opset_version=OPSET,
            input_names=[INPUT],
            output_names=list(names),
            custom_translation_table=TRANSLATIONS,
            verbose=False,
        )
    assert program is not None
    return program.model_proto


@contextmanager
def _quiet() -> Iterator[None]:
    """Without torch.onnx's remarks on packages that are not installed and its own deprecated calls."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
