"""`cornernet import NAME` and `--url`: from an address to a checkpoint, with servers of this machine."""

import hashlib
import json
import re

import pytest
import torch
from file_server import serving
from typer.testing import CliRunner

from cornernet.cli import app
from cornernet.engine.errors import ModelError
from cornernet.trainer import import_weights
from cornernet.trainer.import_weights.published import PUBLISHED, Published
from cornernet.trainer.network.checkpoint import load_checkpoint


@pytest.fixture(scope="module")
def squeeze_file(golden, tmp_path_factory):
    """A file of CornerNet-Squeeze as CornerNet-Lite writes it; each tensor repeats one stored number."""
    keys = json.loads((golden / "f_network" / "squeeze_state_dict_keys.json").read_text())["keys"]
    state = {
        name: torch.full((1,), 0.5).to(getattr(torch, dtype)).expand(shape) if shape else torch.zeros(())
        for name, shape, dtype in keys
    }
    path = tmp_path_factory.mktemp("squeeze") / "weights.pth"
    torch.save(state, path)
    return path.read_bytes()


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    return lambda *words: CliRunner().invoke(app, ["import", *map(str, words)], env={"COLUMNS": "400"})


@pytest.fixture
def reached(monkeypatch):
    """The files that are handed over to be recognised; none of them is."""
    files = []

    def refuse(path):
        files.append(path)
        raise ModelError("recognised")

    monkeypatch.setattr(import_weights, "import_checkpoint", refuse)
    return files


def publish(monkeypatch, server):
    digest = hashlib.sha256(server.content).hexdigest()
    entry = Published(server.url, digest, len(server.content), 34.4, "BSD-3", "a list")
    monkeypatch.setitem(PUBLISHED, "some/squeeze", entry)


def test_published_weights_become_a_checkpoint_with_one_command(run, squeeze_file, monkeypatch):
    with serving(squeeze_file) as server:
        publish(monkeypatch, server)
        result = run("some/squeeze", "-o", "squeeze.safetensors")
    assert result.exit_code == 0, result.output
    assert "imported from weights.pth: squeeze, 80 classes -> squeeze.safetensors" in result.stdout
    assert load_checkpoint("squeeze.safetensors")[1].class_names[0] == "person"


def test_the_second_time_they_come_from_the_cache(run, reached, monkeypatch, tmp_path):
    with serving(b"weights") as server:
        publish(monkeypatch, server)
        for _ in range(2):
            assert "recognised" in run("some/squeeze", "-o", "squeeze.safetensors").stderr
        assert len(server.asked) == 1
    assert reached[0] == reached[1] and reached[0].is_relative_to(tmp_path / "cache/cornernet/weights")


def test_an_address_of_ones_own_with_its_hash_or_without(run, reached):
    digest = hashlib.sha256(b"weights").hexdigest()
    with serving(b"weights") as server:
        result = run("--url", server.url, "-o", "a.safetensors")
        assert f"SHA-256 {digest}" in result.stderr  # to be given the next time
        assert digest not in run("--url", server.url, "--sha256", digest, "-o", "a.safetensors").stderr
    assert [path.read_bytes() for path in reached] == [b"weights"] * 2


def test_another_file_than_the_expected_one_is_never_opened(run, tmp_path):
    with serving(b"<html>log in first</html>") as server:
        result = run("--url", server.url, "--sha256", "0" * 64, "-o", "a.safetensors")
    assert result.exit_code == 1
    assert "deleted unopened" in result.stderr
    assert not (tmp_path / "a.safetensors").exists()


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        ((), 2, "expected one of"),
        (("mmdetection/hourglass-104",), 2, "which file to write"),
        (("x.pkl", "--url", "http://x/y", "-o", "a"), 2, "expected one of"),
        (("x.pkl", "--sha256", "0" * 64, "-o", "a"), 2, "belongs to --url"),
        (("mmdetection/hourglass-105", "-o", "a"), 1, "mmdetection/hourglass-104-10x5"),
        (("nowhere.pkl", "-o", "a"), 1, "nowhere.pkl: no such file"),
        (("--url", "file:///etc/passwd", "-o", "a"), 1, "is no address"),
    ],
)
def test_what_cannot_be_meant_is_refused_in_words(run, words, code, said):
    result = run(*words)
    assert (result.exit_code, said in result.output) == (code, True), result.output


def test_the_list_names_each_file_its_hash_and_where_its_ap_is_stated(run):
    result = run("--list")
    assert result.exit_code == 0
    for name, known in PUBLISHED.items():
        (line,) = [line for line in result.stdout.splitlines() if f" {name} " in f" {line} "]
        assert known.sha256 in line and known.url in line and f"{known.ap:.1f}" in line
        assert known.whole_hash or "no more is published" in line
    assert PUBLISHED["mmdetection/hourglass-104"].source in result.stdout


def test_a_name_of_the_list_repeats_what_its_address_says():
    for known in PUBLISHED.values():
        folder, file = known.url.rsplit("/", 2)[1:]
        assert re.fullmatch(rf"{folder}_\d{{8}}_\d{{6}}-{known.sha256[:8]}\.pth", file)
        assert len(known.sha256) in (8, 64)


def test_the_readme_says_of_its_example_what_the_list_says(root):
    text = (root / "README.md").read_text(encoding="utf-8")
    name = re.search(r"cornernet import (\S+) -o hg104\.safetensors", text)[1]
    known = PUBLISHED[name]
    assert f"({known.bytes / 1e6:.0f} MB, COCO AP {known.ap:g} by its own measurement)" in text
