"""The repository that `cornernet triton` writes: its configuration by Triton's own schema, and what it refuses."""

import json
import re
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import onnxruntime
import pytest
from fake_backends import BRIGHT_BOX_GRAPH, make_card, write_onnx
from fake_triton import import_model
from typer.testing import CliRunner

from cornernet.cli import app
from cornernet.engine.backends.engine_card import EngineCard, FileFacts, Profile, write_engine_card
from cornernet.engine.errors import ExportError, ModelError
from cornernet.engine.model_card import ATTENTION_OUTPUTS, OUTPUTS, ModelCard, Saccade
from cornernet.export.triton.triton_repository import write_repository

CARD = make_card(train_size=(128, 128), class_names=("bright", "two\nlines"))
TYPES = {"float": "TYPE_FP32", "int32": "TYPE_INT32", "uint8": "TYPE_UINT8"}


def config(folder):
    """The file as Triton reads it."""
    if find_spec("tritonclient") is None:
        pytest.skip("needs tritonclient (extra `triton`): Triton's schema comes with it")
    from google.protobuf import text_format
    from tritonclient.grpc import model_config_pb2

    text = (folder / "config.pbtxt").read_text(encoding="utf-8")
    return text_format.Parse(text, model_config_pb2.ModelConfig())


def name_of_type(tensor):
    from tritonclient.grpc import model_config_pb2

    return model_config_pb2.DataType.Name(tensor.data_type)


@pytest.fixture
def model(tmp_path):
    return write_onnx(tmp_path / "model.onnx", CARD)


@dataclass
class Engine:
    path: object

    def write(self, *profiles, card=CARD, **changes):
        self.path.write_bytes(b"a plan, which nothing here opens")
        facts = FileFacts.of(self.path)
        given = {"embeds_plugins": True, "plugins": facts, "flavour": "tensorrt", **changes}
        sidecar = EngineCard(
            card=card,
            engine=facts,
            onnx=facts,
            version="10.13.0",
            profiles=tuple(map(Profile.parse, profiles or ("1x128x128,4x128x128,16x128x128",))),
            opt_level=3,
            inspected="network",
            **given,
        )
        write_engine_card(self.path, sidecar)
        return self.path


@pytest.fixture
def engine(tmp_path):
    return Engine(tmp_path / "model.engine")


def test_tensors_of_the_network_are_those_of_the_file(model, tmp_path):
    report = write_repository(model, tmp_path / "repository")
    network = config(tmp_path / "repository/cornernet_network")
    assert (network.name, network.backend, network.max_batch_size) == ("cornernet_network", "onnxruntime", 8)
    session = onnxruntime.InferenceSession(tmp_path / "repository/cornernet_network/1/model.onnx")
    assert [tensor.name for tensor in network.output] == list(OUTPUTS)
    for said, real in zip(
        [*network.input, *network.output], [*session.get_inputs(), *session.get_outputs()], strict=True
    ):
        shape = [length if isinstance(length, int) else -1 for length in real.shape[1:]]
        described = list(said.reshape.shape) if said.HasField("reshape") else list(said.dims)
        assert (said.name, described, name_of_type(said)) == (real.name, shape, TYPES[real.type[7:-1]])
    assert report.max_batch == 8 and report.options == ()


def test_batching_instances_and_warm_up_are_set(model, tmp_path):
    write_repository(model, tmp_path, name="cells", max_batch=4, instances=2, workers=3, delay_us=2500)
    network, boxes = config(tmp_path / "cells_network"), config(tmp_path / "cells")
    assert network.dynamic_batching.max_queue_delay_microseconds == 2500
    assert [(group.count, group.kind) for group in network.instance_group] == [(2, 0)]  # KIND_AUTO
    assert [(group.count, group.kind) for group in boxes.instance_group] == [(3, 2)]  # KIND_CPU
    assert boxes.HasField("dynamic_batching") and boxes.max_batch_size == network.max_batch_size == 4
    warm = [
        (one.batch_size, list(one.inputs["images"].dims), one.inputs["images"].zero_data)
        for one in network.model_warmup
    ]
    assert warm == [(1, [128, 128, 3], True), (4, [128, 128, 3], True)]


def test_the_model_in_front_is_the_installed_one_with_the_files_card(model, tmp_path, monkeypatch):
    write_repository(model, tmp_path, settings={"score_threshold": 0.25, "mirror": None, "size": (256, 128)})
    boxes = config(tmp_path / "cornernet")
    assert boxes.backend == "python"
    assert boxes.parameters["network"].string_value == "cornernet_network"
    assert json.loads(boxes.parameters["settings"].string_value) == {"score_threshold": 0.25, "size": [256, 128]}
    assert ModelCard.from_json((tmp_path / "cornernet/1/card.json").read_text(encoding="utf-8"), origin="") == CARD
    assert (tmp_path / "cornernet/labels.txt").read_text(encoding="utf-8") == "bright\ntwo lines\n"
    module = import_model(monkeypatch, {})
    names = {}
    exec((tmp_path / "cornernet/1/model.py").read_text(encoding="utf-8"), names)
    assert names["TritonPythonModel"] is module.TritonPythonModel
    found = [name for name, _ in module.to_tensors([])]
    assert [tensor.name for tensor in boxes.output] == found
    assert {tensor.name: tensor.optional for tensor in boxes.input} == {"encoded": True, "pixels": True}
    # What the server hands over is the configuration as JSON; the model reads its own settings back from it.
    arguments = {
        "model_config": json.dumps(
            {
                "max_batch_size": boxes.max_batch_size,
                "parameters": {key: {"string_value": value.string_value} for key, value in boxes.parameters.items()},
            }
        ),
        "model_repository": str(tmp_path / "cornernet"),
        "model_version": "1",
    }
    started = names["TritonPythonModel"]()
    started.initialize(arguments)
    started.finalize()


def test_the_page_describes_each_output_as_it_is_configured(model, tmp_path):
    write_repository(model, tmp_path)
    page = (Path(__file__).parents[3] / "engine/serving/README.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\w+)` \| \(N, ([^)]*)\) \| (\w+) \|", page, re.MULTILINE)
    boxes = config(tmp_path / "cornernet")
    configured = [
        (tensor.name, ", ".join("n" if length == -1 else str(length) for length in tensor.dims), name_of_type(tensor))
        for tensor in boxes.output
    ]
    assert [(name, shape, f"TYPE_{kind}".replace("BYTES", "STRING")) for name, shape, kind in rows] == configured


def test_an_engine_that_carries_its_plugins_is_a_plan_with_the_option_that_lets_it_load(engine, tmp_path):
    path = engine.write()
    report = write_repository(path, tmp_path / "r", settings={"score_threshold": 0.1})
    assert report.options == ("--backend-config=tensorrt,version-compatible=true",)
    assert (tmp_path / "r/cornernet_network/1/model.plan").read_bytes() == path.read_bytes()
    network = config(tmp_path / "r/cornernet_network")
    assert (network.backend, network.max_batch_size, network.instance_group[0].kind) == ("tensorrt", 16, 1)
    assert list(network.input[0].dims) == [128, 128, 3]
    assert [list(tensor.dims) for tensor in network.output] == [[1000, 4], [1000], [1000, 2], [1000], [1]]
    # One canvas: all pictures are scaled to it.
    settings = json.loads(config(tmp_path / "r/cornernet").parameters["settings"].string_value)
    assert settings == {"score_threshold": 0.1, "resize": "fit", "size": [128, 128]}


def test_a_saccades_engine_gives_attention_too(engine, tmp_path):
    saccade = Saccade(view_sizes=(96, 127), locations=64)
    path = engine.write(card=CARD.model_copy(update={"saccade": saccade}))
    write_repository(path, tmp_path / "repository")
    outputs = {value.name: value for value in config(tmp_path / "repository/cornernet_network").output}
    assert tuple(outputs) == OUTPUTS + ATTENTION_OUTPUTS
    described = [(list(outputs[name].dims), name_of_type(outputs[name])) for name in ATTENTION_OUTPUTS]
    assert described == [([3, 64], "TYPE_FP32"), ([3, 64], "TYPE_INT32")]


def test_profiles_of_several_sizes_leave_the_canvas_open(engine, tmp_path):
    path = engine.write(
        "1x128x128,2x256x256,4x512x512", "1x512x512,8x512x512,8x512x512", embeds_plugins=False, plugins=None
    )
    report = write_repository(path, tmp_path / "r")
    network = config(tmp_path / "r/cornernet_network")
    assert list(network.input[0].dims) == [-1, -1, 3]
    assert (network.max_batch_size, list(network.instance_group[0].profile), report.options) == (4, ["0", "1"], ())


@pytest.mark.parametrize(
    ("profile", "changes", "why"),
    [
        ("1x128x128", {"flavour": "tensorrt_rtx"}, "TensorRT-RTX"),
        ("1x128x128", {"float_canvases": True}, "build it without --float-canvases"),
        ("1x128x128", {"embeds_plugins": False}, "--embed-plugins"),
        ("2x128x128,4x128x128,4x128x128", {}, "takes 2 canvases at once and no fewer"),
    ],
)
def test_an_engine_that_triton_could_not_run_is_refused_with_what_to_do(engine, tmp_path, profile, changes, why):
    with pytest.raises(ExportError, match=why):
        write_repository(engine.write(profile, **changes), tmp_path / "r")
    assert not (tmp_path / "r").exists()


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({"resize": "original"}, "takes canvases of 128x128 only, asked for was each picture's own"),
        ({"size": (256, 256)}, "takes canvases of 128x128 only, asked for was 256x256"),
    ],
)
def test_a_canvas_that_the_network_does_not_take_is_refused(engine, tmp_path, settings, why):
    with pytest.raises(ExportError, match=why):
        write_repository(engine.write(), tmp_path / "r", settings=settings)


def test_onnx_files_that_triton_could_not_run_are_refused(model, tmp_path):
    with pytest.raises(ExportError, match="multiples of 128"):
        write_repository(model, tmp_path / "r", settings={"size": (100, 100)})
    heads = write_onnx(tmp_path / "heads.onnx", make_card(outputs="heads"))
    with pytest.raises(ModelError, match="raw heads"):
        write_repository(heads, tmp_path / "r")
    three = write_onnx(tmp_path / "three.onnx", CARD, BRIGHT_BOX_GRAPH.replace("uint8[N,", "uint8[3,"))
    with pytest.raises(ExportError, match="takes 3 canvases at once and no fewer"):
        write_repository(three, tmp_path / "r")
    one = write_onnx(tmp_path / "one.onnx", CARD, BRIGHT_BOX_GRAPH.replace("uint8[N,", "uint8[1,"))
    assert write_repository(one, tmp_path / "one").max_batch == 1
    with pytest.raises(ExportError, match="at most 1"):
        write_repository(one, tmp_path / "one", max_batch=2)
    for file in (tmp_path / "nowhere.onnx", tmp_path / "weights.safetensors", tmp_path / "nowhere.engine"):
        with pytest.raises(ModelError):
            write_repository(file, tmp_path / "r")
    for name in ("", "a/b", "../x", ".x", "a b"):
        with pytest.raises(ExportError, match="expected letters"):
            write_repository(model, tmp_path / "r", name=name)


def run(*words):
    return CliRunner().invoke(app, ["triton", *map(str, words)])


def test_the_command_writes_it_again_and_again_but_over_nothing_of_others(model, tmp_path):
    folder = tmp_path / "repository"
    for _ in range(2):
        result = run(model, "-o", folder, "--threshold", 0.3)
        assert result.exit_code == 0, result.output
        assert f"tritonserver --model-repository={folder}" in result.stdout
    (folder / "cornernet/config.pbtxt").write_text('name: "somebody\'s"', encoding="utf-8")
    result = run(model, "-o", folder)
    assert result.exit_code == 1 and "was left alone" in result.stderr
    result = run(folder / "cornernet_network/1/model.onnx", "-o", folder)
    assert result.exit_code == 1 and "is an input" in result.stderr


def test_a_served_model_has_its_own_thresholds_unless_others_are_asked_for(model, tmp_path):
    for words, asked in (((), None), (("--threshold", 0), 0), (("--threshold", "bright=.4"), {"bright": 0.4})):
        result = run(model, "-o", tmp_path / "repository", *words)
        assert result.exit_code == 0, result.output
        settings = json.loads(config(tmp_path / "repository/cornernet").parameters["settings"].string_value)
        assert settings.get("score_threshold") == asked
