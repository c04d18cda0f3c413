"""The attack in seconds, and that it sees what it is there to see; `make attack` runs thousands of cases."""

import json

import pytest

from attack.__main__ import main, plan, table
from attack.children import Outcome, run_cases
from attack.families import SHARES, case_of
from attack.planted_faults import FAULTS


def test_a_short_attack_finds_nothing(tmp_path, capsys):
    code = main(["--seed", "7", "--cases", "80", "--lanes", "1", "--output", str(tmp_path)])
    shown = capsys.readouterr().out
    assert code == 0, shown
    report = json.loads((tmp_path / "attack.json").read_text())
    assert report["cases"] == 80 and report["findings"] == []
    assert all(name in shown for name in SHARES)
    assert report["families"].keys() == SHARES.keys()
    assert all(0 < counts["refused"] < counts["cases"] for counts in report["families"].values())


@pytest.mark.slow
def test_every_broken_promise_is_found(tmp_path):
    cases = [("faults", number) for number in FAULTS]
    outcomes = list(run_cases(0, cases, lanes=2, kept=tmp_path, patience=20.0))
    assert {outcome.number: outcome.finding for outcome in outcomes} == FAULTS


def test_a_finding_makes_the_exit_code_1_and_tells_how_to_see_it_again(tmp_path, capsys, monkeypatch):
    finding = Outcome("images", 3, "png", finding="crash", details="exit code -11")
    monkeypatch.setattr("attack.__main__.run_cases", lambda *_: [finding, Outcome("images", 4, answer="used")])
    assert main(["--seed", "5", "--output", str(tmp_path)]) == 1
    assert "crash: --seed 5 --only images:3 (png)\nexit code -11" in capsys.readouterr().out
    assert "images" in table([finding])


@pytest.mark.parametrize("family", SHARES)
def test_a_case_is_the_same_for_the_same_seed(family, tmp_path):
    contents = []
    for name in ("one", "two"):
        folder = tmp_path / name
        folder.mkdir()
        case = case_of(3, family, 5, folder)
        made = [path for path in folder.rglob("*") if path.is_file()]
        names = {path: path.relative_to(folder) for path in made if path.relative_to(folder).parts[0][:4] == "case"}
        contents.append([case.kind, {str(name): path.read_bytes() for path, name in names.items()}])
    assert contents[0] == contents[1]
    assert len(plan(1000)) == 1000


def test_one_case_can_be_asked_for_alone():
    assert plan(10, "images:17") == [("images", 17)]
    assert len(plan(10, "weights")) == 10
    with pytest.raises(SystemExit, match="expected one of images"):
        plan(10, "pictures")
