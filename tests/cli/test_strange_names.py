"""Names that are not UTF-8, that look like markup, and streams that are closed: in processes of their own."""

import json
import os
import subprocess
import sys

import cv2
import pytest
from fake_backends import make_card, picture, write_onnx

NAMES = ("[/x]", "[bold]", "caf\u00e9", "half \ud83d")
"""Class names: a closing tag without opening, a tag, beyond ASCII, half a surrogate pair."""


@pytest.fixture
def desk(tmp_path):
    """A folder with model.onnx, photos/ and annotations/ in which all names are strange."""
    card = make_card(class_names=NAMES[:2], category_ids=(1, 2), train_size=(128, 128))
    write_onnx(tmp_path / "model.onnx", card)
    (tmp_path / "photos").mkdir()
    pixels = cv2.imencode(".png", picture(64, 64, (10, 20, 40, 50)))[1].tobytes()
    for name in (b"caf\xe9.png", b"[bold].png", b"good.png"):
        (tmp_path / "photos" / os.fsdecode(name)).write_bytes(pixels)
    (tmp_path / "annotations").mkdir()
    content = {
        "images": [{"id": 1, "file_name": "good.png", "width": 64, "height": 64}],
        "categories": [{"id": number, "name": name} for number, name in enumerate(NAMES, start=1)],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [10, 20, 30, 30], "area": 900}],
    }
    (tmp_path / "annotations/instances_val.json").write_text(json.dumps(content))
    return tmp_path


def cornernet(desk, line, options="", **environment):
    """The command in a shell, in `desk`."""
    command = f"exec {sys.executable} {options} -m cornernet {line}"
    kept = {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path), **os.environ, **environment}
    return subprocess.run(["bash", "-c", command], cwd=desk, env=kept, capture_output=True, timeout=60, check=False)


def test_a_file_name_that_is_not_utf8_is_a_picture_like_all_others(desk):
    done = cornernet(desk, "predict model.onnx photos -o found")
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in (desk / "found/detections.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [len(line["detections"]) for line in lines] == [1, 1, 1]
    read = {os.fsencode(line["path"]) for line in lines}
    assert read == {b"photos/caf\xe9.png", b"photos/[bold].png", b"photos/good.png"}
    assert (desk / "found" / os.fsdecode(b"caf\xe9.jpg")).is_file()


def test_such_a_name_in_an_error_message_can_be_printed(desk):
    (desk / "photos" / os.fsdecode(b"caf\xe9.png")).write_bytes(b"")
    for environment in ({}, {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONIOENCODING": "ascii:strict"}):
        done = cornernet(desk, "predict model.onnx photos --json -", **environment)
        assert done.returncode == 0, done.stderr
        assert b"2 of 3 pictures" in done.stderr and b"/caf" in done.stderr
        assert len(done.stdout.splitlines()) == 3


def test_class_names_are_never_markup(desk):
    done = cornernet(desk, "evaluate model.onnx . --images photos --json stats.json", COLUMNS="200")
    assert done.returncode == 0, done.stderr
    table = done.stdout.decode()
    assert all(name in table for name in ("[/x]", "[bold]", "caf\u00e9", "half \\ud83d"))


@pytest.mark.parametrize("closed", ["2>&-", ">&-", "<&-", ">&- 2>&-"])
def test_a_closed_stream_is_no_reason_to_fail(desk, closed):
    done = cornernet(desk, f"predict model.onnx photos -o found {closed}")
    assert done.returncode == 0, done.stderr
    assert len((desk / "found/detections.jsonl").read_text().splitlines()) == 3


def test_lines_for_a_closed_stdout_are_an_error_of_one_line(desk):
    done = cornernet(desk, "predict model.onnx photos --json - >&-")
    assert done.returncode == 1
    assert done.stderr.decode().strip() == "cornernet: --json -: the standard output is closed"


@pytest.mark.parametrize("line", ["--help", "predict --help", "predict model.onnx photos -o found", "shapes drawn"])
def test_every_command_works_without_docstrings(desk, line):
    done = cornernet(desk, line, options="-OO")
    assert done.returncode == 0, done.stderr
