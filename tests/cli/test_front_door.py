"""The command itself: verbs and their help, how failures end."""

import shlex
import subprocess
import sys

import pytest
import typer
from typer.testing import CliRunner

from cornernet import options
from cornernet.cli import VERBS, app
from cornernet.commands import doctor
from cornernet.engine import native
from cornernet.engine.errors import ModelError
from cornernet.engine.installation import EXTRA_OF_PACKAGE, install
from cornernet.engine.protocol import PROTOCOLS

GROUP = typer.main.get_command(app)
WIDE = {"COLUMNS": "200", "TERMINAL_WIDTH": "200"}


def run(*words):
    return CliRunner().invoke(app, [str(word) for word in words], env=WIDE)


def command_of(words):
    """The (sub)command that a command line names, and the words left for it."""
    command, words = GROUP, list(words)
    while hasattr(command, "commands"):
        command = command.commands[words.pop(0)]
    return command, words


def example_lines():
    import importlib

    for verb in GROUP.commands:
        lines = importlib.import_module(f"cornernet.commands.{verb}").EXAMPLES.strip().splitlines()
        for line in lines:
            if line.strip() and not line.startswith("#"):
                yield pytest.param(verb, line, id=line)


def test_the_verbs_of_the_first_release_are_there():
    wanted = {"shapes", "train", "export", "predict", "evaluate", "benchmark", "info", "doctor", "build"}
    assert wanted <= set(GROUP.commands) <= set(VERBS)


@pytest.mark.parametrize("verb", sorted(GROUP.commands))
def test_every_verb_has_help_with_examples(verb):
    result = run(verb, "--help")
    assert result.exit_code == 0
    assert "Examples" in result.output
    assert f"cornernet {verb}" in result.output


@pytest.mark.parametrize(("verb", "line"), list(example_lines()))
def test_every_example_can_be_parsed(verb, line):
    assert len(line) <= 120
    words = shlex.split(line.partition(" | ")[0])
    while words[0] != "cornernet":  # torchrun ... -m cornernet
        words.pop(0)
    command, rest = command_of(words[1:])
    assert words[1] == verb
    command.make_context(verb, rest).close()  # raises a usage error for an unknown option, a bad value, a missing one


def test_examples_keep_their_lines_in_the_help():
    shown = run("predict", "--help").output
    lines = [line.strip() for line in shown.splitlines()]
    assert "cornernet predict model.onnx photos/ -o found" in lines
    assert "cornernet predict model.onnx a.jpg b.png 'more/*.jpg' -o found --threshold 0.5" in lines


def test_no_verb_is_a_usage_question():
    assert "Commands" in run().output


@pytest.mark.parametrize("words", [["fly"], ["shapes"], ["predict", "a.onnx", "b.jpg", "--nonsense"]])
def test_wrong_usage_ends_with_2(words):
    result = run(*words)
    assert result.exit_code == 2
    assert "Traceback" not in result.output


def test_version_is_printed():
    result = run("--version")
    assert result.exit_code == 0
    assert result.output.startswith("cornernet 0.")


def failing(monkeypatch, error):
    def examine():
        raise error

    monkeypatch.setattr(doctor, "examine", examine)


@pytest.mark.parametrize("error", [ModelError("the file\nis wrong"), PermissionError(13, "Permission denied", "/x")])
def test_an_expected_error_is_one_line_on_stderr_and_ends_with_1(monkeypatch, error):
    failing(monkeypatch, error)
    result = run("doctor")
    assert result.exit_code == 1
    assert result.stdout == ""
    assert len(result.stderr.strip().splitlines()) == 1
    assert result.stderr.startswith("cornernet: ")


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (OSError(28, "No space left on device"), "cornernet: No space left on device. What was finished before stays"),
        (OSError(28, "No space left on device", "/from", None, "/to"), "cornernet: /to: No space left on device. "),
        (OSError(30, "Read-only file system", b"/caf\xe9"), "cornernet: /caf\\xe9: Read-only file system\n"),
    ],
)
def test_what_the_system_refuses_is_a_sentence_with_the_file(monkeypatch, error, words):
    failing(monkeypatch, error)
    assert run("doctor").stderr.startswith(words)


def test_debug_shows_the_traceback_of_an_expected_error(monkeypatch):
    failing(monkeypatch, ModelError("wrong"))
    assert isinstance(run("--debug", "doctor").exception, ModelError)


def test_a_defect_is_not_hidden(monkeypatch):
    failing(monkeypatch, ZeroDivisionError("a defect"))
    assert isinstance(run("doctor").exception, ZeroDivisionError)


def test_ctrl_c_ends_with_130(monkeypatch):
    failing(monkeypatch, KeyboardInterrupt())
    result = run("doctor")
    assert result.exit_code == 130
    assert "interrupted" in result.stderr


def test_a_missing_optional_package_is_named_with_its_extra(monkeypatch):
    failing(monkeypatch, ModuleNotFoundError("No module named 'torch'", name="torch"))
    result = run("doctor")
    assert result.exit_code == 1
    assert install("train") in result.stderr


def test_extras_named_in_messages_exist(root):
    import tomllib

    extras = tomllib.loads((root / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert set(EXTRA_OF_PACKAGE.values()) <= set(extras)


def test_what_is_advised_can_be_typed_in_a_checkout(root):
    # The package is in no registry: only a path can be installed, and only with an extra that exists.
    import re
    import tomllib

    extras = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    folders = ("cornernet/commands", "engine", "trainer", "export", "plugins", "benchmarks", "tests")
    files = [
        *(file for folder in folders for file in (root / folder).rglob("*.py")),
        *(root / "cornernet").glob("*.py"),
    ]
    wrong, named = [], set()
    for file in files:
        text = file.read_text(encoding="utf-8")
        wrong += [f"{file}: {line}" for line in re.findall(r"pip install[^\n]*?['\"]cornernet[\['].*", text)]
        named |= set(re.findall(r"\binstall\(['\"](\w+)['\"]\)", text))
    assert wrong == []
    assert {"cpu", "gpu"} <= named <= set(extras)
    assert install("cpu") == "pip install '.[cpu]' in the checkout"


def test_doctors_graph_is_what_onnx_makes_of_its_source():
    from onnx import parser

    source = '<ir_version: 8, opset_import: ["" : 17]> g (float[2] x) => (float[2] y) {y = Neg(x)}'
    assert parser.parse_model(source).SerializeToString() == doctor.NEGATE


def test_doctor_needs_neither_onnx_nor_matplotlib_nor_pycocotools(monkeypatch):
    import json

    for name in ("onnx", "onnx.parser", "matplotlib", "pycocotools"):
        monkeypatch.setitem(sys.modules, name, None)
    found = {entry["name"]: entry for entry in json.loads(run("doctor", "--json").stdout)}
    assert found["ONNX Runtime"]["state"] == "works"
    assert found["onnx"]["state"] == "missing"
    assert found["onnx"]["advice"] == install("inspect")


def test_a_reader_that_goes_away_is_no_error_message(tmp_path):
    command = f"{shlex.quote(sys.executable)} -m cornernet --help | head -1"
    done = subprocess.run(
        ["bash", "-c", command], capture_output=True, text=True, timeout=60, cwd=tmp_path, check=False
    )
    assert "Traceback" not in done.stderr
    assert "Exception" not in done.stderr


def test_protocol_names_are_those_of_the_engine():
    assert set(options.PROTOCOLS) == set(PROTOCOLS)


@pytest.mark.parametrize("text", ["12y", "0", "12x", "x12", "0x8", "-1x8", "12.5x8", "axb"])
def test_a_size_that_is_none_is_a_usage_error(text):
    with pytest.raises(typer.BadParameter, match="HEIGHTxWIDTH"):
        options.parse_size(text)


def test_sizes_are_height_by_width():
    assert options.parse_size("128x256") == (128, 256)
    assert options.parse_size("640") == (640, 640)
    assert options.parse_size(None) is None


@pytest.mark.parametrize("text", ["", "1,,2", "a", "0", "1,-2", "inf", "nan"])
def test_a_list_of_numbers_that_is_none_is_a_usage_error(text):
    with pytest.raises(typer.BadParameter, match="scales"):
        options.parse_numbers(text, float, "scales")


def test_doctor_tries_every_runtime_on_this_machine():
    result = run("doctor", "--json")
    import json

    found = {entry["name"]: entry for entry in json.loads(result.stdout)}
    assert found["ONNX Runtime"]["state"] == "works"
    assert "CPU" in found["ONNX Runtime"]["detail"]
    assert found["OpenCV"]["state"] == "works"
    assert all(entry["advice"] for entry in found.values() if entry["state"] == "missing" and entry["name"] != "GPU")
    assert result.exit_code == 0


def test_doctor_says_whether_post_processing_is_compiled(monkeypatch):
    monkeypatch.setattr(native, "load", lambda: None)
    assert doctor._native().state == "missing" and "compiler" in doctor._native().advice
    monkeypatch.setattr(native, "load", lambda: object())
    assert doctor._native().state == "works"


def test_doctor_prints_advice_for_what_is_missing(monkeypatch):
    findings = [doctor.Finding("ONNX Runtime", "missing", "runs .onnx files", install("cpu"))]
    monkeypatch.setattr(doctor, "examine", lambda: findings)
    result = run("doctor")
    assert result.exit_code == 1
    assert install("cpu") in result.output
    assert "Nothing here can run a model" in result.output


@pytest.mark.parametrize(
    ("working", "expected"),
    [({"ONNX Runtime"}, True), ({"tensorrt"}, False), ({"tensorrt", "GPU"}, True), ({"GPU", "OpenCV"}, False)],
)
def test_a_model_runs_with_onnx_runtime_or_with_tensorrt_and_a_gpu(working, expected):
    names = ("ONNX Runtime", "tensorrt", "tensorrt_rtx", "GPU", "OpenCV")
    findings = [doctor.Finding(name, "works" if name in working else "missing", "") for name in names]
    assert doctor.can_run(findings) is expected


def test_a_broken_onnx_runtime_is_seen_by_running_it(monkeypatch):
    import onnxruntime

    def refuse(*arguments, **options):
        raise RuntimeError("libcudart.so: cannot open shared object file")

    monkeypatch.setattr(onnxruntime, "InferenceSession", refuse)
    finding = next(entry for entry in doctor.examine() if entry.name == "ONNX Runtime")
    assert finding.state == "broken"
    assert "libcudart" in finding.detail
    assert "pip install" in finding.advice
