"""What only the full TensorRT has (its GPU, timing caches, inspector, plugins), on a fake builder."""

from __future__ import annotations

import json
from pathlib import Path

import onnx
import onnx.inliner
import pytest
from fake_builder import fake_builder
from toy_onnx import write_toy

from cornernet.engine.backends.engine_card import read_engine_card
from cornernet.engine.backends.gpu_facts import GpuFacts
from cornernet.engine.errors import BackendError, ModelError
from cornernet.export import build as build_module
from cornernet.export.build import build_engine
from cornernet.export.inspect_engine import (
    LayerFacts,
    check_plan_names,
    check_precision,
    doubts_about,
    facts_from_inspector,
)
from cornernet.export.parse_network import prepare

GPU = GpuFacts(name="Fake GPU", compute_capability="8.9", multiprocessors=76)


@pytest.fixture
def toy(tmp_path) -> Path:
    return write_toy(tmp_path / "toy.onnx")


def build(monkeypatch, source: Path, *, gpu: GpuFacts | None = GPU, options=None, **behaviour):
    api = fake_builder(**behaviour)
    monkeypatch.setattr(build_module.trt_api, "load", lambda flavour: api)
    monkeypatch.setattr(build_module, "gpu_facts", lambda: gpu)
    settings = {"plugins": None, "cache": None} | (options or {})
    return build_engine(source, source.with_suffix(".engine"), **settings)


@pytest.fixture
def library(tmp_path) -> Path:
    path = tmp_path / "libcornernet_plugins.so"
    path.write_bytes(b"ELF")
    return path


def test_the_full_tensorrt_needs_its_gpu_and_says_what_to_do(monkeypatch, toy):
    with pytest.raises(BackendError, match=r"builds on the GPU that will run the engine.*--target sm_89"):
        build(monkeypatch, toy, gpu=None)
    with pytest.raises(BackendError, match=r"--target is for TensorRT-RTX"):
        build(monkeypatch, toy, options={"targets": ["sm_89"]})


def test_the_card_of_an_engine_read_on_its_gpu_holds_the_engines_own_layers(monkeypatch, toy):
    card = build(monkeypatch, toy).card
    assert (card.inspected, card.gpu) == ("engine", GPU)
    assert card.layers["Convolution"] == 1 and card.precisions == {"FLOAT": sum(card.layers.values())}


def test_plugins_replace_their_functions_and_are_recorded(monkeypatch, toy, library):
    report = build(monkeypatch, toy, operators=("CornerPoolTopLeft", "CornerPeaks"), options={"plugins": library})
    card = read_engine_card(report.path)
    assert card.operators == {"CornerPoolTopLeft": 1}
    assert card.plugins is not None and card.plugins.name == library.name
    assert card.layers["Plugin_V3"] == 1
    assert "--plugins none" not in card.rebuild_command(report.path)


def test_a_plugin_missing_from_the_finished_engine_is_an_error(monkeypatch, toy, library):
    options = {"plugins": library}
    with pytest.raises(BackendError, match="does not hold the plugins CornerPoolTopLeft"):
        build(monkeypatch, toy, operators=("CornerPoolTopLeft",), lost_plugin="CornerPoolTopLeft", options=options)
    assert not toy.with_suffix(".engine").exists()


def test_words_of_the_inspector_that_nobody_knows_are_a_note_and_the_engine_is_kept(monkeypatch, toy, library):
    """They are documented nowhere, and the build took minutes."""
    layers = [{"LayerType": "Myelin", "Outputs": [{"Format/Datatype": "Float"}]}]
    report = build(
        monkeypatch, toy, operators=("CornerPoolTopLeft",), engine_layers=layers, options={"plugins": library}
    )
    assert report.path.is_file()
    assert any("names 0 plugin layers, the network has 1" in note for note in report.notes)


def test_choices_reach_the_builder_and_the_command_that_makes_the_engine_again(monkeypatch, toy, library):
    options = dict(workspace_mb=512, aux_streams=2, hardware="ampere_plus", embed_plugins=True, plugins=library)
    api = fake_builder(operators=("CornerPoolTopLeft",))
    monkeypatch.setattr(build_module.trt_api, "load", lambda flavour: api)
    monkeypatch.setattr(build_module, "gpu_facts", lambda: GPU)
    report = build_engine(toy, toy.with_suffix(".engine"), cache=None, batches=(8, 1), **options)
    config = api.module.behaviour.config
    assert (config.limits, config.max_aux_streams) == ({"workspace": 512 << 20}, 2)
    assert config.hardware_compatibility_level.name == "AMPERE_PLUS"
    assert config.plugins_to_serialize == [str(library)]
    card = read_engine_card(report.path)
    assert "VERSION_COMPATIBLE" in card.flags and card.embeds_plugins
    assert card.scratch_bytes == (1000, 1001)
    assert [(profile.min[0], profile.opt[0], profile.max[0]) for profile in card.profiles] == [(1, 1, 1), (2, 8, 8)]
    command = card.rebuild_command(report.path)
    for words in ("--workspace 512", "--aux-streams 2", "--hardware ampere_plus", "--embed-plugins"):
        assert words in command


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"workspace_mb": 0}, r"--workspace 0: expected 1 to"),
        ({"aux_streams": 17}, r"--aux-streams 17: expected 0 to 16"),
        ({"hardware": "any"}, "--hardware any: expected one of none, ampere_plus"),
        ({"embed_plugins": True}, "no plugin library to embed"),
        ({"opt_level": 6}, "--opt-level 6: expected 0 to 5"),
    ],
)
def test_choices_out_of_range_are_refused(monkeypatch, toy, options, words):
    with pytest.raises(BackendError, match=words):
        build(monkeypatch, toy, options=options)


def test_batch_sizes_that_make_no_profile_are_refused(monkeypatch, toy):
    with pytest.raises(ModelError, match="batch sizes 0, 4: expected positive"):
        build(monkeypatch, toy, options={"batches": (4, 0)})


def test_without_a_library_auto_builds_from_functions_and_notes_it(monkeypatch, toy):
    monkeypatch.setattr(build_module.trt_api, "find_plugin_library", lambda: None)
    report = build(monkeypatch, toy, options={"plugins": "auto"})
    assert report.card.plugins is None
    assert any("no plugin library found" in note for note in report.notes)


def test_a_file_without_our_operators_needs_no_library(monkeypatch, toy, library):
    model = onnx.inliner.inline_local_functions(onnx.load(toy))
    onnx.save(model, toy)
    report = build(monkeypatch, toy, operators=("CornerPoolTopLeft",), options={"plugins": library})
    assert report.card.plugins is None and report.card.operators == {}
    assert any("holds none of the library's operators" in note for note in report.notes)


def test_timings_are_kept_and_those_of_another_machine_dropped(monkeypatch, toy, tmp_path):
    timings = tmp_path / "timings.bin"
    build(monkeypatch, toy, options={"timing_cache": timings})
    assert timings.read_bytes() == b"+timed"
    build(monkeypatch, toy, options={"timing_cache": timings})
    assert timings.read_bytes() == b"+timed+timed"
    timings.write_bytes(b"other machine")
    report = build(monkeypatch, toy, options={"timing_cache": timings})
    assert any("written by another TensorRT or GPU" in note for note in report.notes)
    assert timings.read_bytes() == b"+timed"


def test_a_build_that_fails_reports_tensorrts_own_words(monkeypatch, toy):
    with pytest.raises(BackendError, match=r"could not find any implementation for node.*smaller --profile"):
        build(monkeypatch, toy, fails=True)
    with pytest.raises(BackendError, match="refuses the profile 1x13x13"):
        build(monkeypatch, toy, refuse_profile=True)
    assert [path.name for path in toy.parent.iterdir()] == ["toy.onnx"]


def test_the_cache_tells_gpus_apart(monkeypatch, toy, tmp_path):
    options = {"cache": tmp_path / "cache"}
    assert not build(monkeypatch, toy, options=options).cached
    assert build(monkeypatch, toy, options=options).cached
    other = GPU.model_copy(update={"name": "Other GPU"})
    assert not build(monkeypatch, toy, gpu=other, options=options).cached


# ---- preparing the graph


def test_exactly_the_loaded_operators_lose_their_function_and_the_others_their_plugin_attributes(toy):
    kept = onnx.load(toy)
    assert prepare(kept, ("CornerPeaks",)) == {}
    (node,) = [node for node in kept.graph.node if node.domain == "cornernet"]
    assert not node.attribute and [function.name for function in kept.functions] == ["CornerPoolTopLeft"]
    replaced = onnx.load(toy)
    assert prepare(replaced, ("CornerPoolTopLeft",)) == {"CornerPoolTopLeft": 1}
    (node,) = [node for node in replaced.graph.node if node.domain == "cornernet"]
    assert {attribute.name for attribute in node.attribute} == {"plugin_namespace", "plugin_version"}
    assert not replaced.functions


# ---- reading the inspector


@pytest.mark.parametrize(
    ("record", "precision"),
    [
        ({"Format/Datatype": "Half"}, "HALF"),
        ({"Format/Datatype": "Row major linear FP16 format"}, "HALF"),
        ({"Format/Datatype": "Channel major FP16 format where channel % 8 == 0"}, "HALF"),
        ({"Format/Datatype": "Row major linear FP32"}, "FLOAT"),
        ({"Format": "Row major linear", "DataType": "Half"}, "HALF"),
        ({"Format": "Row major linear", "Datatype": "Float"}, "FLOAT"),
        ({"Format/Datatype": "Int32"}, "INT32"),
        ({"Format/Datatype": "BFloat16"}, "BF16"),
        ({"Location": "Device"}, "UNKNOWN"),
    ],
)
def test_precisions_are_read_in_the_words_of_every_version(record, precision):
    text = json.dumps({"Layers": [{"LayerType": "CaskConvolution", "Outputs": [record]}], "Bindings": []})
    assert facts_from_inspector(text) == LayerFacts({"CaskConvolution": 1}, {precision: 1}, {})


@pytest.mark.parametrize("text", [json.dumps({"Layers": ["conv + relu", "pool"]}), "[]", "{}", "no JSON", "[[["])
def test_an_engine_that_lists_only_names_or_nothing_known_is_not_judged(text):
    facts = facts_from_inspector(text)
    assert facts == LayerFacts({}, {}, {})
    assert doubts_about(facts, "fp16", {"CornerPeaks": 2}) == []


def test_an_engine_without_half_layers_is_doubted():
    facts = LayerFacts({"CaskConvolution": 3, "PluginV3": 2}, {"FLOAT": 5}, {})
    (doubt,) = doubts_about(facts, "fp16", {"CornerPeaks": 2})
    assert "no half-precision layer" in doubt
    assert doubts_about(facts, "fp32", {"CornerPeaks": 2}) == []


def test_islands_of_float_in_a_half_network_are_allowed():
    check_precision(LayerFacts({}, {}, {"HALF": 6, "FLOAT": 5}), "fp16", "x.onnx")


def test_a_plan_must_name_its_plugins():
    check_plan_names(memoryview(b"..CornerPeaks..CornerGroup.."), {"CornerPeaks": 2, "CornerGroup": 1})
    with pytest.raises(BackendError, match="does not hold the plugins CornerGroup"):
        check_plan_names(memoryview(b"..CornerPeaks.."), {"CornerPeaks": 2, "CornerGroup": 1})
