"""The card of any model file, as those read it who run the file; and what is said of a file without one."""

import json

import pytest
from fake_backends import make_card, write_onnx

from cornernet.engine.errors import ModelError
from cornernet.engine.model_card import METADATA_KEY
from cornernet.export.read_card import read_card


def weights(path, header: bytes, length: int | None = None):
    path.write_bytes((len(header) if length is None else length).to_bytes(8, "little") + header)
    return path


def test_the_card_of_an_onnx_file_and_of_weights_is_the_one_that_was_written(tmp_path):
    torch = pytest.importorskip("torch", reason="extra `train` is not installed")
    from cornernet.trainer.network.safetensors_file import write_safetensors

    card = make_card(score_thresholds=(0.25, 0.5))
    write_safetensors(tmp_path / "a.safetensors", {"a": torch.zeros(3)}, {METADATA_KEY: card.to_json()})
    assert read_card(tmp_path / "a.safetensors") == read_card(write_onnx(tmp_path / "a.onnx", card)) == card


@pytest.mark.parametrize(
    ("header", "length"),
    [
        (b"", None),
        (b"{}", None),
        (b"[]", None),
        (b"{}", 2**63),
        (b"{}", 50),
        (b"[" * 100_000, None),
        (json.dumps({"__metadata__": {METADATA_KEY: 3}}).encode(), None),
        (json.dumps({"__metadata__": {METADATA_KEY: "{}"}}).encode(), None),
        (json.dumps({"__metadata__": {"other": "x"}}).encode(), None),
        (b"\xff\xfe", None),
    ],
)
def test_weights_without_a_card_are_one_error(tmp_path, header, length):
    with pytest.raises(ModelError, match=r"a\.safetensors"):
        read_card(weights(tmp_path / "a.safetensors", header, length))


@pytest.mark.parametrize("name", ["a.safetensors", "a.onnx", "a.engine", "a.plan"])
def test_a_file_that_is_not_there_or_empty_is_one_error(tmp_path, name):
    with pytest.raises(ModelError):
        read_card(tmp_path / name)
    (tmp_path / name).write_bytes(b"")
    with pytest.raises(ModelError):
        read_card(tmp_path / name)


def test_a_resume_file_names_its_weights(tmp_path):
    (tmp_path / "last.pt").write_bytes(b"x")
    (tmp_path / "last.safetensors").write_bytes(b"x")
    with pytest.raises(ModelError, match=r"last\.safetensors"):
        read_card(tmp_path / "last.pt")
