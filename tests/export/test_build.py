"""The builder with a real TensorRT: tensorrt-rtx parses and builds without a GPU (but cannot run there)."""

from __future__ import annotations

import hashlib
import os
import signal
import time
from pathlib import Path

import onnx
import pytest
from operators_onnx import write_operators
from toy_onnx import toy_card, write_toy
from typer.testing import CliRunner

from cornernet.engine.backends import trt_api
from cornernet.engine.backends.engine_card import Profile, read_engine_card
from cornernet.engine.errors import BackendError, ModelError
from cornernet.engine.model_card import Saccade
from cornernet.export import build_cache
from cornernet.export.build import build_engine
from cornernet.export.parse_network import declare_float, parse, read_onnx

pytestmark = pytest.mark.skipif(
    "tensorrt_rtx" not in trt_api.available_flavours(), reason="needs tensorrt-rtx: pip install '.[rtx]'"
)


@pytest.fixture
def toy(tmp_path) -> Path:
    return write_toy(tmp_path / "toy.onnx")


def build(source: Path, output: Path, **options):
    options = dict(targets=["sm_89"], plugins=None, cache=None) | options
    return build_engine(source, output, **options)


@pytest.mark.parametrize("half", [False, True], ids=["fp32", "fp16"])
@pytest.mark.parametrize("targets", [("sm_75",), ("sm_86",), ("sm_89", "sm_120"), ()], ids="+".join)
def test_an_engine_is_built_without_a_gpu_and_its_card_tells_what_it_is(tmp_path, targets, half):
    source = write_toy(tmp_path / "toy.onnx", half=half)
    report = build(source, tmp_path / "toy.engine", targets=targets, flavour="tensorrt_rtx")
    card = read_engine_card(report.path)
    assert card == report.card
    assert card.engine.sha256 == hashlib.sha256(report.path.read_bytes()).hexdigest()
    assert card.onnx.sha256 == hashlib.sha256(source.read_bytes()).hexdigest()
    assert (card.flavour, card.targets, card.plugins, card.operators) == ("tensorrt_rtx", targets, None, {})
    assert card.profiles == (Profile(min=(1, 13, 13), opt=(4, 32, 48), max=(8, 64, 64)),)
    assert card.layers["CONVOLUTION"] == 1 and "PLUGIN_V3" not in card.layers
    assert ("HALF" in card.precisions) == half
    assert "TF32" not in card.flags
    if card.gpu is None:
        assert card.inspected == "network"
        assert any("has not been run" in note for note in report.notes)


def test_the_input_of_a_saccades_engine_is_float32_where_that_is_asked_for(tmp_path):
    card = toy_card(train_size=(32, 32), saccade=Saccade(view_sizes=(32,)))
    source = write_toy(tmp_path / "toy.onnx", card=card)
    network_inputs = {}
    for floats in (False, True):
        model, _ = read_onnx(source)
        if floats:
            declare_float(model, card, source)
        parsed = parse(trt_api.load("tensorrt_rtx"), model, source, ())
        network_inputs[floats] = parsed.network.get_input(0).dtype.name
    assert network_inputs == {False: "UINT8", True: "FLOAT"}
    cache = tmp_path / "cache"
    plain, floats = (
        build(source, tmp_path / f"{floats}.engine", float_canvases=floats, cache=cache) for floats in (False, True)
    )
    assert not floats.cached and (plain.card.float_canvases, floats.card.float_canvases) == (False, True)


@pytest.mark.parametrize("half", [False, True], ids=["fp32", "fp16"])
def test_the_operators_own_definitions_are_built_without_plugins(tmp_path, half):
    source = write_operators(tmp_path / "operators.onnx", half=half)
    card = build(source, tmp_path / "operators.engine", targets=["sm_75"]).card
    assert (card.layers["POOLING"], card.layers["TOPK"]) == (14, 3)
    assert str(card.profiles[0]) == "1x29x29,4x64x96,8x128x128"


def test_several_profiles_are_kept_in_order(toy, tmp_path):
    texts = ["1x16x16,2x32x32,4x32x32", "1x64x64"]
    card = build(toy, tmp_path / "toy.engine", profiles=texts).card
    assert [str(profile) for profile in card.profiles] == [texts[0], "1x64x64,1x64x64,1x64x64"]
    words = " ".join(f"--profile {profile}" for profile in card.profiles)
    command = f"cornernet build toy.onnx -o new.engine {words} --plugins none --target sm_89"
    command += " --opt-level 3 --flavour tensorrt_rtx"
    assert card.rebuild_command(Path("new.engine")) == command


@pytest.mark.parametrize(
    ("profile", "words"),
    [
        ("1x16x16,2x32x32", r"2 shape\(s\), with 3, 3 sizes"),
        ("1x16,2x32,4x32", r"with 2, 2, 2 sizes"),
        ("1x16x16,axbxc,4x32x32", "invalid literal"),
        ("4x16x16,2x32x32,4x32x32", "not ordered"),
        ("0x16x16,2x32x32,4x32x32", "not ordered"),
        ("1x16x16,2x20x32,4x64x64", "side of 20 px.*multiple of 16 may add at most 3 px. Next legal side: 32"),
        ("1x16x16,2x32x32,4x128x64", "up to 64 px"),
    ],
)
def test_profiles_that_cannot_be_run_are_refused(toy, tmp_path, profile, words):
    with pytest.raises(ModelError, match=words):
        build(toy, tmp_path / "toy.engine", profiles=[profile])
    assert not (tmp_path / "toy.engine").exists()


def test_sizes_that_the_file_fixes_are_kept(toy, tmp_path):
    model = onnx.load(toy)
    for axis, size in enumerate((2, 32, 48)):
        model.graph.input[0].type.tensor_type.shape.dim[axis].dim_value = size
    onnx.save(model, toy)
    card = build(toy, tmp_path / "toy.engine").card
    assert str(card.profiles[0]) == "2x32x48,2x32x48,2x32x48"
    with pytest.raises(ModelError, match=r"this file has fixed sizes \(2, 32, 48\)"):
        build(toy, tmp_path / "toy.engine", profiles=["1x32x48,2x32x48,4x32x48"])


def test_a_file_that_would_run_in_another_precision_than_it_says_is_refused(tmp_path):
    source = write_toy(tmp_path / "toy.onnx", half=False, card=toy_card(precision="fp16"))
    with pytest.raises(ModelError, match="the card says fp16, but 1 of 1 convolutions are not half precision"):
        build(source, tmp_path / "toy.engine")
    source = write_toy(tmp_path / "toy.onnx", half=True, card=toy_card(precision="fp32"))
    with pytest.raises(ModelError, match="the card says fp32, but 1 convolutions are half precision"):
        build(source, tmp_path / "toy.engine")
    source = write_toy(tmp_path / "toy.onnx", card=toy_card(precision="int8"))
    with pytest.raises(ModelError, match="holds no Q/DQ pairs"):
        build(source, tmp_path / "toy.engine")


def test_a_node_the_parser_refuses_is_named(tmp_path):
    source = write_toy(tmp_path / "toy.onnx", operator="CornerDance")
    with pytest.raises(ModelError, match=r"refuses .*toy.onnx: node /pooled \(CornerDance\): .*Plugin not found"):
        build(source, tmp_path / "toy.engine")


def test_files_that_are_no_exported_model_are_refused(toy, tmp_path):
    with pytest.raises(ModelError, match="no ONNX file at"):
        build(tmp_path / "gone.onnx", tmp_path / "toy.engine")
    truncated = tmp_path / "truncated.onnx"
    truncated.write_bytes(toy.read_bytes()[:300])
    with pytest.raises(ModelError, match="not an ONNX file, or is truncated"):
        build(truncated, tmp_path / "toy.engine")
    model = onnx.load(toy)
    del model.metadata_props[:]
    onnx.save(model, toy)
    with pytest.raises(ModelError, match="has no model card"):
        build(toy, tmp_path / "toy.engine")


def test_targets_that_are_unknown_or_of_another_flavour_are_refused(toy, tmp_path):
    with pytest.raises(BackendError, match="cannot build for sm_90; it knows sm_75, sm_80"):
        build(toy, tmp_path / "toy.engine", targets=["sm_90"])
    with pytest.raises(BackendError, match="opt-level 9"):
        build(toy, tmp_path / "toy.engine", opt_level=9)


def test_the_same_contents_and_settings_are_built_once(toy, tmp_path):
    cache = tmp_path / "cache"
    first = build(toy, tmp_path / "first.engine", cache=cache)
    copy = tmp_path / "copy.onnx"
    copy.write_bytes(toy.read_bytes())
    second = build(copy, tmp_path / "deep" / "second.engine", cache=cache)
    assert (first.cached, second.cached) == (False, True)
    assert second.path.read_bytes() == first.path.read_bytes()
    card = read_engine_card(second.path)
    assert (card.engine.name, card.onnx.name) == ("second.engine", "copy.onnx")
    for change in ({"opt_level": 1}, {"targets": ["sm_86"]}, {"profiles": ["1x16x16"]}):
        assert not build(toy, tmp_path / "other.engine", cache=cache, **change).cached


def test_a_damaged_cache_entry_is_built_again_and_old_ones_go(toy, tmp_path, monkeypatch):
    cache = tmp_path / "cache"
    build(toy, tmp_path / "toy.engine", cache=cache)
    (entry,) = cache.glob("*.engine")
    entry.write_bytes(entry.read_bytes()[:1000])
    assert not build(toy, tmp_path / "toy.engine", cache=cache).cached
    assert build(toy, tmp_path / "toy.engine", cache=cache).cached
    monkeypatch.setattr(build_cache, "KEPT", 1)
    build(toy, tmp_path / "toy.engine", cache=cache, opt_level=1)
    assert len(list(cache.iterdir())) == 2  # one engine and its card


def test_a_cache_that_cannot_be_written_costs_only_the_copy(toy, tmp_path):
    (tmp_path / "cache").write_text("a file, not a folder")
    report = build(toy, tmp_path / "toy.engine", cache=tmp_path / "cache" / "engines")
    assert read_engine_card(report.path) == report.card
    assert any("not kept in the cache" in note for note in report.notes)


class Recorder:
    def __init__(self, during: object = None) -> None:
        self.events: list[tuple] = []
        self.during = during

    def start(self, phase, parent, steps):
        self.events.append(("start", phase, parent))

    def step(self, phase, step):
        if callable(self.during):
            self.during()

    def finish(self, phase):
        self.events.append(("finish", phase))


def test_progress_is_told_of_nested_phases(toy, tmp_path):
    recorder = Recorder()
    build(toy, tmp_path / "toy.engine", progress=recorder)
    assert recorder.events[0][0] == "start" and recorder.events[0][2] is None
    started = [event[1] for event in recorder.events if event[0] == "start"]
    assert sorted(started) == sorted(event[1] for event in recorder.events if event[0] == "finish")


def test_an_error_in_the_progress_display_stops_the_build_and_is_raised(toy, tmp_path):
    def fail() -> None:
        raise ZeroDivisionError("display")

    with pytest.raises(ZeroDivisionError, match="display"):
        build(toy, tmp_path / "toy.engine", progress=Recorder(fail))
    assert [path.name for path in tmp_path.iterdir()] == ["toy.onnx"]


@pytest.fixture
def ctrl_c_interrupts():
    """As in a terminal: a shell starts what runs in its background with Ctrl-C ignored, and Python leaves it so."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_ctrl_c_during_a_build_stops_it_and_leaves_nothing(toy, tmp_path, ctrl_c_interrupts):
    presses = iter([signal.SIGINT])  # once: a second one could arrive after the test

    def press() -> None:
        for key in presses:
            os.kill(os.getpid(), key)  # to the process, as a terminal sends it, not to the builder's thread
            time.sleep(0.2)

    with pytest.raises(KeyboardInterrupt):
        build(toy, tmp_path / "toy.engine", progress=Recorder(press))
    assert [path.name for path in tmp_path.iterdir()] == ["toy.onnx"]


def test_the_timing_cache_is_named_as_useless_where_it_is(toy, tmp_path):
    report = build(toy, tmp_path / "toy.engine", timing_cache=tmp_path / "timings")
    assert any("--timing-cache has no effect" in note for note in report.notes)


def test_the_command_builds_and_reports_and_says_errors_in_one_line(toy, tmp_path, monkeypatch):
    from cornernet.cli import app

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv(trt_api.LIBRARY_VARIABLE, raising=False)
    runner = CliRunner()
    words = ["build", str(toy), "--target", "sm_89", "--plugins", "none"]
    done = runner.invoke(app, words)
    assert done.exit_code == 0, done.output
    assert "precision  fp32" in done.output and "none: standard operators" in done.output
    assert read_engine_card(tmp_path / "toy.engine").targets == ("sm_89",)
    assert "taken from the cache" in runner.invoke(app, words).output
    wrong = runner.invoke(app, [*words, "--profile", "1x20x20"])
    assert wrong.exit_code == 1 and "Next legal side: 32" in wrong.output
