"""The built library in a real TensorRT parser and builder: TensorRT-RTX, which needs no GPU to build an engine."""

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper

pytest.importorskip("tensorrt_rtx", reason="needs tensorrt-rtx: pip install '.[rtx]'")

pytestmark = pytest.mark.tensorrt

FLOAT, HALF, INT32 = TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.INT32
DOMAIN = {"domain": "cornernet", "plugin_namespace": "cornernet", "plugin_version": "1"}
SHAPE = ["n", 8, 32, 32]

# A process of its own: TensorRT keeps one plugin registry, and other tests fill it with other libraries.
BUILD = """
    import sys
    from pathlib import Path
    from cornernet.engine.backends import trt_api

    library, model = map(Path, sys.argv[1:])
    api = trt_api.load("tensorrt_rtx")
    api.load_plugins(library)
    trt = api.module
    builder = trt.Builder(api.logger)
    network = builder.create_network(api.network_flags())
    parser = trt.OnnxParser(network, api.logger)
    with api.logger.collect() as errors:
        if not parser.parse(model.read_bytes()):
            sys.exit("parser: " + "; ".join(errors))
    print(*[network.get_layer(i).type.name for i in range(network.num_layers)])
    config = builder.create_builder_config()
    profile = builder.create_optimization_profile()
    for i in range(network.num_inputs):
        tensor = network.get_input(i)
        rest = tuple(tensor.shape)[1:]
        profile.set_shape(tensor.name, (1, *rest), (2, *rest), (8, *rest))
    config.add_optimization_profile(profile)
    plan = builder.build_serialized_network(network, config)
    print(plan.nbytes if plan else 0)
"""


def corners(side: str, slots: int) -> list[onnx.ValueInfoProto]:
    fields = [("scores", FLOAT), ("labels", INT32), ("embeddings", FLOAT), ("x", FLOAT), ("y", FLOAT)]
    return [helper.make_tensor_value_info(f"{side}_{name}", type, ["n", slots]) for name, type in fields]


def model(operator: str, type: int, **attributes) -> onnx.ModelProto:
    if operator.startswith("CornerPool"):
        inputs = [helper.make_tensor_value_info(name, type, SHAPE) for name in ("first", "second")]
        outputs = [helper.make_tensor_value_info("pooled", type, SHAPE)]
    elif operator == "CornerPeaks":
        inputs = [helper.make_tensor_value_info("logits", type, SHAPE)]
        rows = ["n", attributes["top_k"]]
        outputs = [
            helper.make_tensor_value_info(name, kind, rows)
            for name, kind in [("scores", FLOAT), ("labels", INT32), ("cells", INT32)]
        ]
    elif operator == "CornerWindows":
        inputs = [helper.make_tensor_value_info("features", type, SHAPE)]
        inputs += [helper.make_tensor_value_info("cells", INT32, ["n", 20])]
        windows = ["n", 8 * attributes["size"] ** 2, 20, 1]
        outputs = [helper.make_tensor_value_info("windows", type, windows)]
        outputs += [helper.make_tensor_value_info(name, FLOAT, ["n", 20]) for name in ("columns", "rows")]
    elif operator == "CornerSoftNms":
        rows, kept = ["n", 50], ["n", attributes["limit"]]
        shapes = {"boxes": (FLOAT, [*rows, 4]), "scores": (FLOAT, rows), "labels": (INT32, rows)}
        shapes |= {"counts": (INT32, ["n"]), "placements": (FLOAT, ["n", 9])}
        inputs = [helper.make_tensor_value_info(name, *each) for name, each in shapes.items()]
        finals = {
            "boxes": (FLOAT, [*kept, 4]),
            "scores": (FLOAT, kept),
            "labels": (INT32, kept),
            "counts": (INT32, ["n"]),
        }
        outputs = [helper.make_tensor_value_info(f"final_{name}", *each) for name, each in finals.items()]
    else:
        inputs = corners("top_left", 20) + corners("bottom_right", 20)
        rows = ["n", attributes["num_dets"]]
        outputs = [
            helper.make_tensor_value_info(name, kind, shape)
            for name, kind, shape in [
                ("boxes", FLOAT, [*rows, 4]),
                ("scores", FLOAT, rows),
                ("corner_scores", FLOAT, [*rows, 2]),
                ("labels", INT32, rows),
                ("counts", INT32, ["n"]),
            ]
        ]
    node = helper.make_node(operator, [i.name for i in inputs], [o.name for o in outputs], **DOMAIN, **attributes)
    graph = helper.make_graph([node], operator, inputs, outputs)
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("cornernet", 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=9)


@pytest.fixture(scope="module")
def library() -> Path:
    from cornernet import plugins

    root = Path(__file__).resolve().parents[2]
    candidates = [root / "build" / "plugins-90-headers" / plugins.LIBRARY_NAME, plugins.library_path()]
    for candidate in candidates:
        if candidate is not None and candidate.is_file() and b"setLoggerFinder" in candidate.read_bytes():
            return candidate
    pytest.skip("needs the plugin library with TensorRT adapters: set TENSORRT_ROOT, then run test_library.py or cmake")


def build(library: Path, folder: Path, proto: onnx.ModelProto) -> subprocess.CompletedProcess:
    path = folder / "model.onnx"
    onnx.save(proto, path)
    command = [sys.executable, "-c", textwrap.dedent(BUILD), library, path]
    return subprocess.run(command, capture_output=True, text=True, env={**os.environ, "PYTHONFAULTHANDLER": "1"})


@pytest.mark.parametrize("type", [FLOAT, HALF], ids=["float32", "float16"])
@pytest.mark.parametrize(
    ("operator", "attributes"),
    [
        ("CornerPoolTopLeft", {}),
        ("CornerPoolBottomRight", {}),
        ("CornerPeaks", {"top_k": 20}),
        ("CornerWindows", {"size": 3}),
        ("CornerSoftNms", {"limit": 20, "method": 1, "sigma": 0.5}),
        ("CornerGroup", {"num_dets": 50, "max_distance": 0.25, "reject_zero_size": 1}),
    ],
)
def test_every_operator_parses_to_a_plugin_layer_and_builds_an_engine(library, tmp_path, operator, attributes, type):
    built = build(library, tmp_path, model(operator, type, **attributes))
    assert built.returncode == 0, built.stderr
    layers, plan_bytes = built.stdout.splitlines()[-2:]
    assert layers.split() == ["PLUGIN_V3"]
    assert int(plan_bytes) > 0


def test_a_wrong_attribute_is_an_error_of_the_parser_and_not_the_end_of_the_process(library, tmp_path):
    built = build(library, tmp_path, model("CornerPeaks", FLOAT, top_k=1001))
    assert built.returncode == 1
    assert "top_k is 1001, expected 1 to 1000" in built.stderr


@pytest.mark.parametrize("name", ["libcornernet_register.so", "libcornernet_plugins.so"])
def test_polygraphy_takes_the_registering_library_and_not_the_other(library, tmp_path, name):
    """Polygraphy opens what `--plugins` names, before it imports TensorRT, and calls nothing in it."""
    pytest.importorskip("polygraphy", reason="needs polygraphy: pip install polygraphy")
    import tensorrt_rtx

    if not library.with_name(name).is_file():
        pytest.skip("needs libcornernet_register.so beside the library")
    wheel = Path(tensorrt_rtx.__file__).parents[1] / "tensorrt_rtx_libs"
    (tmp_path / "libtensorrt_rtx.so").symlink_to(wheel / "libtensorrt_rtx.so.1")  # see rtx_loader.py
    onnx.save(model("CornerPeaks", FLOAT, top_k=20), tmp_path / "peaks.onnx")
    command = [Path(sys.executable).with_name("polygraphy"), "convert", "peaks.onnx", "-o", "peaks.engine"]
    for option, images in (("min", 1), ("opt", 2), ("max", 8)):
        command += [f"--trt-{option}-shapes", f"logits:[{images},8,32,32]"]
    environment = os.environ | {"POLYGRAPHY_USE_TENSORRT_RTX": "1", "LD_LIBRARY_PATH": f"{tmp_path}:{wheel}"}
    done = subprocess.run(
        [*command, "--plugins", library.with_name(name)], cwd=tmp_path, capture_output=True, text=True, env=environment
    )
    engine = tmp_path / "peaks.engine"
    if name == "libcornernet_register.so":
        assert done.returncode == 0, done.stdout + done.stderr
        assert b"CornerPeaks" in engine.read_bytes()
    else:
        assert not engine.is_file() and "Plugin not found" in done.stdout + done.stderr
