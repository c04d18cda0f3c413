"""A repository of `cornernet triton` in a real server, asked by the client that engine/serving/README.md shows.

`make triton-check` makes the environment that this needs, and says where it is.
"""

import os
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import pytest
from fake_backends import make_card, picture, write_onnx
from triton_rig import stand_in, triton_server
from typer.testing import CliRunner

from cornernet.cli import app
from cornernet.engine.detector import Detector

VARIABLE = "CORNERNET_TRITON_PYTHON"
PAGE = Path(__file__).parents[3] / "engine/serving/README.md"
PICTURES = [picture(100, 120, (10, 20, 60, 90)), picture(64, 200, (5, 6, 90, 40)), picture(80, 80)]

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def python():
    if VARIABLE not in os.environ:
        pytest.skip(f"needs the server of nvidia-pytriton: `make triton-check` installs it and sets {VARIABLE}")
    pytest.importorskip("tritonclient.grpc")
    return Path(os.environ[VARIABLE])


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    return tmp_path_factory.mktemp("triton")


@pytest.fixture(scope="module")
def server(python, work):
    model = write_onnx(work / "model.onnx", make_card(train_size=(128, 128)))
    words = ["triton", str(model), "-o", str(work / "repository"), "--max-batch", "4", "--delay", "20"]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 0, result.output
    stand_in(work / "repository/cornernet_network")
    with triton_server(python, work / "repository", work) as address:
        yield address


@pytest.fixture(scope="module")
def expected(work):
    with Detector(work / "model.onnx") as detector:
        return detector.predict(PICTURES)


def ask(address, name, values, kind):
    import tritonclient.grpc as triton

    given = triton.InferInput(name, list(values.shape), kind)
    given.set_data_from_numpy(values)
    return triton.InferenceServerClient(address).infer("cornernet", [given], client_timeout=30)


def canvases_seen(work):
    return (work / "repository/cornernet_network/seen.txt").read_text(encoding="utf-8").splitlines()


def test_it_is_the_server_that_the_page_names(server):
    import tritonclient.grpc as triton

    version = triton.InferenceServerClient(server).get_server_metadata().version
    assert f"the real server ({version.rpartition('.')[0]}, " in PAGE.read_text(encoding="utf-8")


def test_it_is_warmed_up_with_one_canvas_and_with_a_full_batch(server, work):
    assert {"1 128 128 3", "4 128 128 3"} <= set(canvases_seen(work))


def test_a_client_gets_the_boxes_of_a_detector_from_files_and_from_pixels(server, expected):
    files = np.array([[cv2.imencode(".png", image)[1].tobytes()] for image in PICTURES], object)
    answer = ask(server, "encoded", files, "BYTES")
    assert answer.as_numpy("counts").ravel().tolist() == [len(one) for one in expected] == [1, 1, 0]
    for image, one in enumerate(expected):
        count = len(one)
        np.testing.assert_allclose(answer.as_numpy("boxes")[image, :count], one.boxes, atol=1e-3)
        np.testing.assert_allclose(answer.as_numpy("scores")[image, :count], one.scores, atol=1e-6)
    pixels = ask(server, "pixels", PICTURES[1][None], "UINT8")
    np.testing.assert_allclose(pixels.as_numpy("boxes")[0], expected[1].boxes, atol=1e-3)
    assert pixels.as_numpy("names").tolist() == [[b"bright"]]


def test_a_request_with_both_inputs_is_an_error_for_the_client(server):
    import tritonclient.grpc as triton

    file, pixels = triton.InferInput("encoded", [1, 1], "BYTES"), triton.InferInput("pixels", [1, 9, 9, 3], "UINT8")
    file.set_data_from_numpy(np.array([[b"x"]], object))
    pixels.set_data_from_numpy(np.zeros((1, 9, 9, 3), np.uint8))
    with pytest.raises(triton.InferenceServerException, match="expected one of two inputs"):
        triton.InferenceServerClient(server).infer("cornernet", [file, pixels], client_timeout=30)


def test_the_client_of_the_page_prints_what_was_found_and_what_could_not_be_read(server, tmp_path):
    (code,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    cv2.imwrite(str(tmp_path / "one.png"), PICTURES[0])
    (tmp_path / "two.jpg").write_bytes(b"nonsense")
    command = [sys.executable, "-c", code, server, "one.png", "two.jpg"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    first, box, second = done.stdout.splitlines()
    assert first == "one.png 1 objects" and box.startswith("  bright 1.00 [")
    assert second.startswith("two.jpg ") and "not an image" in second


def test_requests_of_many_clients_are_joined(server, work):
    before = len(canvases_seen(work))
    pixels = np.stack([PICTURES[0]] * 2)
    with ThreadPoolExecutor(8) as clients:
        answers = list(clients.map(lambda _: ask(server, "pixels", pixels, "UINT8"), range(16)))
    assert all(answer.as_numpy("counts").tolist() == [[1], [1]] for answer in answers)
    seen = [int(line.split()[0]) for line in canvases_seen(work)[before:]]
    assert sum(seen) == 32 and max(seen) > 2
