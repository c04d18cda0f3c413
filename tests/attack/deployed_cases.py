"""Files that are deployed, ONNX graphs and engines with their sidecars: opened, described, and predicted with."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import onnx
import onnx.helper
import onnx.parser
from fake_backends import make_card, picture, write_onnx
from tensorrt_rig import write_engine
from toy_onnx import write_toy
from typer.testing import CliRunner

from attack.families import Case
from attack.mutations import extreme, mutate, mutate_json
from cornernet import Detector
from cornernet.cli import app
from cornernet.engine.model_card import METADATA_KEY

_GOOD = picture(100, 150, (20, 30, 60, 70))
_STRANGE_OPERATORS = ("Loop", "If", "Scan", "Greater", "Reshape", "ConstantOfShape", "Expand", "NonZero", "Tile", "")


@cache
def good_files(folder: Path) -> tuple[bytes, ...]:
    """A file with one output a line of standard operators, and one with a function of ours and weights."""
    home = folder / "good"
    home.mkdir(exist_ok=True)
    plain = write_onnx(home / "plain.onnx", make_card(train_size=(128, 128)))
    return plain.read_bytes(), write_toy(home / "toy.onnx").read_bytes()


@cache
def good_engine(folder: Path) -> tuple[Path, bytes, bytes]:
    """(path, plan, sidecar)."""
    path = write_engine(folder)
    return path, path.read_bytes(), path.with_name(f"{path.name}.json").read_bytes()


def make(chance: Random, folder: Path, number: int) -> Case:
    kind = chance.choice(("bytes", "bytes", "card", "card", "graph", "graph", "graph", "external", "engine", "loop"))
    if kind == "engine":
        return _engine_case(chance, folder)
    content = chance.choice(good_files(folder))
    if kind == "bytes":
        content = mutate(chance, content)
    else:
        model = onnx.load_from_string(content)
        _EDITS[kind](chance, model)
        content = model.SerializeToString()
    path = folder / "case.onnx"
    path.write_bytes(content)
    return Case(f"onnx {kind}", lambda: _drive(path, threads=1), most_seconds=60.0 if kind == "loop" else None)


def _drive(path: Path, **options: Any) -> str:
    _info(path)
    with Detector(path, **options) as detector:
        found = detector.predict([_GOOD, _GOOD[:, :90]], batch_size=2)
        assert len(found) == 2
        for result in found:
            result.to_json().encode()
        detector.card.to_json().encode()
    return "refused" if all(result.error for result in found) else "used"


def _info(path: Path) -> None:
    """`cornernet info` prints, or says in one line why not."""
    for options in ([], ["--json"]):
        done = CliRunner().invoke(app, ["info", str(path), *options])
        if done.exception is not None and not isinstance(done.exception, SystemExit):
            raise done.exception
        assert done.exit_code in (0, 1)


def _engine_case(chance: Random, folder: Path) -> Case:
    path, plan, card = good_engine(folder)
    if chance.random() < 0.6:
        card = json.dumps(mutate_json(chance, json.loads(card))).encode()
    if chance.random() < 0.4:
        card = mutate(chance, card)
    if chance.random() < 0.3:
        plan = mutate(chance, plan)
    path.write_bytes(plan)
    path.with_name(f"{path.name}.json").write_bytes(card)
    return Case("engine", lambda: _drive(path))


def _card(chance: Random, model: onnx.ModelProto) -> None:
    card = json.loads(next(entry.value for entry in model.metadata_props if entry.key == METADATA_KEY))
    text = json.dumps(mutate_json(chance, card))
    del model.metadata_props[:]
    onnx.helper.set_model_props(model, {METADATA_KEY: text})


def _graph(chance: Random, model: onnx.ModelProto) -> None:
    for _ in range(chance.choice((1, 1, 2, 5))):
        chance.choice(_GRAPH_EDITS)(chance, model.graph)
    if model.functions and chance.random() < 0.3:
        chance.choice(_GRAPH_EDITS[:5])(chance, chance.choice(model.functions))


def _remove_node(chance: Random, graph: Any) -> None:
    if graph.node:
        del graph.node[chance.randrange(len(graph.node))]


def _other_operator(chance: Random, graph: Any) -> None:
    if graph.node:
        node = chance.choice(graph.node)
        node.op_type = chance.choice((*_STRANGE_OPERATORS, chance.choice(graph.node).op_type))
        node.domain = chance.choice((node.domain, "", "cornernet", "com.microsoft", "x"))


def _other_inputs(chance: Random, graph: Any) -> None:
    names = [name for node in graph.node for name in (*node.input, *node.output)] or [""]
    for node in chance.sample(list(graph.node), min(2, len(graph.node))):
        side = chance.choice((node.input, node.output))
        if side:
            side[chance.randrange(len(side))] = chance.choice((*names, "", "nowhere"))


def _other_constants(chance: Random, graph: Any) -> None:
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("t") and chance.random() < 0.4:
                _spoil(chance, attribute.t)
            elif chance.random() < 0.2:
                attribute.i = chance.choice((-1, 0, 1, 7, 99, 2**31, -(2**63), 2**63 - 1))
                if attribute.ints:
                    attribute.ints[chance.randrange(len(attribute.ints))] = extreme(chance)


def _repeat_node(chance: Random, graph: Any) -> None:
    if graph.node:
        graph.node.append(chance.choice(graph.node))


def _other_weights(chance: Random, graph: Any) -> None:
    for tensor in graph.initializer:
        _spoil(chance, tensor)


def _other_sizes(chance: Random, graph: Any) -> None:
    value = chance.choice([*graph.input, *graph.output])
    if chance.random() < 0.3:
        value.type.tensor_type.elem_type = chance.choice((0, 1, 2, 6, 7, 8, 9, 10, 16, 23, 99))
    for dim in value.type.tensor_type.shape.dim:
        if chance.random() < 0.5:
            dim.dim_value = chance.choice((-1, 0, 1, 3, 4, 64, 10**6, 2**31, 2**62))


def _other_outputs(chance: Random, graph: Any) -> None:
    if chance.random() < 0.5 and graph.output:
        graph.output[0].name, graph.output[-1].name = graph.output[-1].name, graph.output[0].name
    else:
        del graph.output[chance.randrange(len(graph.output))]


def _spoil(chance: Random, tensor: Any) -> None:
    """Another shape, type or content of a stored tensor."""
    act = chance.randrange(4)
    if act == 0 and tensor.dims:
        tensor.dims[chance.randrange(len(tensor.dims))] = chance.choice((-1, 0, 2**31, 2**62, 5))
    elif act == 1:
        tensor.data_type = chance.choice((0, 1, 2, 6, 7, 8, 10, 11, 99))
    elif act == 2 and tensor.raw_data:
        tensor.raw_data = mutate(chance, tensor.raw_data)
    else:
        for field in (tensor.int64_data, tensor.float_data):
            for place in range(len(field)):
                field[place] = chance.choice((-1, 0, 1, 10**5, 2**31, 2**40))


def _loop(chance: Random, model: onnx.ModelProto) -> None:
    """A loop that would run for as long as it says."""
    body = onnx.parser.parse_graph(
        "body (int64 i, bool go, int64[1] a) => (bool on, int64[1] b) { on = Identity(go)\n b = Add(a, a) }"
    )
    times = chance.choice((0, 1, 10, 1000, -1)) if chance.random() < 0.95 else 2**62  # the last takes half a minute
    nodes = [
        onnx.helper.make_node("Constant", [], ["times"], value_int=times),
        onnx.helper.make_node("Constant", [], ["go"], value=onnx.numpy_helper.from_array(np.array(True))),
        onnx.helper.make_node("Shape", ["images"], ["start"], start=0, end=1),
        onnx.helper.make_node("Loop", ["times", "go", "start"], ["end"], body=body),
        onnx.helper.make_node("Cast", ["end"], ["counts"], to=6),
    ]
    for node in model.graph.node:
        for place, name in enumerate(node.output):
            node.output[place] = "old_counts" if name == "counts" else name
    model.graph.node.extend(nodes)


def _external(chance: Random, model: onnx.ModelProto) -> None:
    """A weight that is said to lie in another file."""
    tensor = onnx.TensorProto(name="stray", data_type=1, dims=[chance.choice((1, 4, 2**31))])
    tensor.data_location = onnx.TensorProto.EXTERNAL
    location = chance.choice(
        ("../../../../etc/passwd", "/dev/zero", "/etc/passwd", "nothing.bin", "case.onnx", ".", "", "a\0b")
    )
    for key, value in (("location", location), ("offset", str(extreme(chance))), ("length", str(extreme(chance)))):
        tensor.external_data.add(key=key, value=value)
    model.graph.initializer.append(tensor)
    model.graph.node.append(onnx.helper.make_node("Identity", ["stray"], ["stray_out"]))


_GRAPH_EDITS = (
    _remove_node,
    _other_operator,
    _other_inputs,
    _other_constants,
    _repeat_node,
    _other_weights,
    _other_sizes,
    _other_outputs,
)
_EDITS = {"card": _card, "graph": _graph, "loop": _loop, "external": _external}
