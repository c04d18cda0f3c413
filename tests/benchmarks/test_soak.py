"""The soak in seconds, and that it sees what grows."""

import pytest

from cornernet.benchmarks import soak as module
from cornernet.benchmarks.soak import Soaked, main, soak, table


def steady(**changes) -> Soaked:
    facts = {"memory": [100.0, 150.0, 150.0, 151.0, 150.0, 151.0], "descriptors": [9] * 6, "threads": [2] * 6}
    return Soaked("fake", **{**facts, **changes})


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, None),
        ({"memory": [100.0 + 20 * step for step in range(6)]}, "resident memory grew by 40 MB"),
        ({"descriptors": [9, 9, 10, 11, 12, 13]}, "descriptors grew from 10 to 13"),
        ({"threads": [2, 2, 2, 2, 2, 3]}, "threads grew from 2 to 3"),
        ({"unchanged": False}, "other boxes"),
    ],
)
def test_what_grows_or_changes_is_said(changes, words):
    said = steady(**changes).complaints()
    assert (said == []) == (words is None)
    assert words is None or words in said[0]
    assert "fake" in table([steady(**changes)])


def test_a_model_is_soaked_and_the_table_shown(bright_model, capsys):
    code = main([str(bright_model), "--minutes", "0"])
    shown = capsys.readouterr().out
    assert code == 0, shown
    assert "ONNX Runtime CPU" in shown and "nothing grew, nothing changed" in shown


def test_a_leak_of_descriptors_makes_the_exit_code_1(bright_model, capsys, monkeypatch):
    kept, one_round = [], module._round

    def leaking(*arguments):
        kept.append(bright_model.open("rb"))
        return one_round(*arguments)

    monkeypatch.setattr(module, "_round", leaking)
    assert main([str(bright_model), "--minutes", "0"]) == 1
    assert "descriptors grew" in capsys.readouterr().out
    for file in kept:
        file.close()


@pytest.mark.slow
def test_the_tiny_network_is_soaked_in_torch_too(tmp_path):
    results = soak(module._tiny(tmp_path), minutes=0.1)
    assert {result.name.partition(" ")[0] for result in results} >= {"ONNX", "PyTorch"}
    assert [line for result in results for line in result.complaints()] == []
