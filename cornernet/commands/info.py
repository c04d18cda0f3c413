"""Show what a model file is: its card, operators and cost."""

import json as json_module
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from cornernet.engine.model_card import ModelCard, Saccade

EXAMPLES = """
cornernet info model.onnx
cornernet info best.safetensors
cornernet info model.engine --json
"""

SHOWN_NAMES = 12


def run(
    model: Annotated[Path, typer.Argument(help=".onnx, .safetensors, or .engine with its .engine.json beside it.")],
    json: Annotated[bool, typer.Option("--json", help="Everything, as JSON.")] = False,
) -> None:
    """Print the model card, the operators (custom and standard), parameters, multiply-accumulates and size."""
    from cornernet.engine.backends.open import weights_beside
    from cornernet.engine.errors import ModelError

    if beside := weights_beside(model):
        raise ModelError(beside)
    readers = {".onnx": _onnx_facts, ".safetensors": _checkpoint_facts}
    reader = readers.get(model.suffix.lower(), _engine_facts)
    if not model.is_file():
        raise ModelError(f"{model}: no such file; expected a .onnx, .safetensors or .engine file")
    card, facts = reader(model)
    facts = {"file": str(model), "bytes": model.stat().st_size, **facts, "card": card.model_dump(mode="json")}
    if json:
        typer.echo(json_module.dumps(facts, indent=1))
        return
    from rich.console import Console
    from rich.table import Table

    table = Table(show_header=False, box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in _lines(card, facts):
        table.add_row(name, value)
    Console(highlight=False, markup=False).print(table)


def _lines(card: "ModelCard", facts: dict[str, Any]) -> list[tuple[str, str]]:
    names = ", ".join(card.class_names[:SHOWN_NAMES]) + (", ..." if len(card.class_names) > SHOWN_NAMES else "")
    decoder = card.decoder
    parameters = facts.get("parameters") or card.parameters
    sides = f"sides a multiple of {card.size_multiple} up to {card.max_size} px"
    lines = [
        ("file", f"{facts['file']}, {facts['bytes'] / 1e6:.1f} MB, {facts['kind']}"),
        ("network", f"{card.name}, {card.precision}, gives {card.outputs}"),
        ("classes", f"{len(card.class_names)}: {names}"),
        ("input", f"{card.channel_order} {facts.get('canvases', 'uint8')}; {sides}"),
        ("trained at", "unknown" if card.train_size is None else "{}x{} (height x width)".format(*card.train_size)),
        ("thresholds", _thresholds(card)),
        ("decoder", f"{decoder.top_k} corners per branch, {decoder.num_dets} rows, distance {decoder.max_distance:g}"),
        *([] if card.saccade is None else [("saccade", _saccade(card.saccade))]),
        ("parameters", "unknown" if parameters is None else f"{parameters:,}"),
        ("cost", ", ".join(f"{gmacs:.1f} GMAC at {size}" for size, gmacs in card.gmacs.items()) or "unknown"),
        ("operators", _operators(facts)),
        *((key, facts[key]) for key in ("opset", "profiles", "built for") if key in facts),
        ("made by", ", ".join(f"{name} {number}" for name, number in card.versions.items()) or "unknown"),
        ("source", card.source or "unknown"),
    ]
    return lines


def _saccade(saccade: "Saccade") -> str:
    views = " and ".join(map(str, saccade.view_sizes))
    return f"views of {views} px, up to {saccade.max_crops} crops at {', '.join(f'{z:g}' for z in saccade.zooms)} times"


def _thresholds(card: "ModelCard") -> str:
    if card.score_thresholds is None:
        return "not measured, 0.3; `cornernet evaluate --write-threshold` measures them"
    named = [f"{name}={value:.2f}" for name, value in zip(card.class_names, card.score_thresholds)]
    return ", ".join(named[:10]) + (f" and {len(named) - 10} more" if len(named) > 10 else "")


def _operators(facts: dict[str, Any]) -> str:
    custom, standard = facts.get("custom_operators", {}), facts.get("standard_operators", {})
    parts = [f"{count} {name}" for name, count in custom.items()]
    if standard:
        commonest = sorted(standard.items(), key=lambda item: (-item[1], item[0]))[:8]
        parts.append(f"{sum(standard.values())} standard ({', '.join(f'{count} {name}' for name, count in commonest)})")
    return "; ".join(parts) or "none of ours"


def _onnx_facts(path: Path) -> tuple["ModelCard", dict[str, Any]]:
    import math

    from cornernet.export.parse_network import read_onnx

    content, card = read_onnx(path)
    # protobuf gives names that are not UTF-8, in damaged files, as bytes.
    main = Counter((str(node.domain), str(node.op_type)) for node in content.graph.node)
    floats = (1, 10, 16, 11)  # FLOAT, FLOAT16, BFLOAT16, DOUBLE
    opsets = {str(entry.domain or "ai.onnx"): entry.version for entry in content.opset_import}
    return card, {
        "kind": "ONNX",
        "parameters": sum(math.prod(value.dims) for value in content.graph.initializer if value.data_type in floats),
        "custom_operators": {name: count for (domain, name), count in sorted(main.items()) if domain},
        "standard_operators": {name: count for (domain, name), count in sorted(main.items()) if not domain},
        "functions": len(content.functions),
        "opset": ", ".join(f"{name} {version}" for name, version in opsets.items()) + f"; IR {content.ir_version}",
    }


def _checkpoint_facts(path: Path) -> tuple["ModelCard", dict[str, Any]]:
    from safetensors import safe_open

    from cornernet.engine.errors import ModelError
    from cornernet.engine.model_card import METADATA_KEY, ModelCard

    try:
        with safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            entries = len(file.keys())
    except Exception as error:  # the library raises many types for a damaged file
        raise ModelError(f"{path}: not a readable safetensors file: {error}") from error
    if METADATA_KEY not in metadata:
        raise ModelError(f"{path}: no model card in it; expected a file of `cornernet train` or `cornernet import`")
    card = ModelCard.from_json(metadata[METADATA_KEY], origin=str(path))
    return card, {"kind": f"checkpoint of {entries} tensors"}


def _engine_facts(path: Path) -> tuple["ModelCard", dict[str, Any]]:
    from cornernet.engine.backends.engine_card import read_engine_card

    engine = read_engine_card(path)
    return engine.card, {
        "kind": f"engine of {engine.flavour} {engine.version}",
        "custom_operators": engine.operators,
        "standard_operators": {},
        "layers": engine.layers,
        "canvases": "float32" if engine.float_canvases else "uint8",
        "profiles": "; ".join(map(str, engine.profiles)),
        "built for": engine.gpu.name if engine.gpu else ", ".join(engine.targets) or "any GPU of this flavour",
    }
