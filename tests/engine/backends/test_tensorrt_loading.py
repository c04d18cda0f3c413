"""TensorRT engines that do not load say why, and which command mends it; on a fake driver and a fake TensorRT."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest
from fake_cuda import FakeCuda
from fake_tensorrt import fake_tensorrt
from tensorrt_rig import write_engine
from toy_onnx import toy_card

from cornernet.engine.backends.cuda_runtime import Cuda
from cornernet.engine.backends.engine_card import FileFacts, read_engine_card
from cornernet.engine.backends.gpu_facts import GpuFacts
from cornernet.engine.backends.tensorrt import TensorRTBackend
from cornernet.engine.detector import Detector
from cornernet.engine.errors import BackendError, ModelError


def open_engine(path: Path, **versions) -> TensorRTBackend:
    cuda = FakeCuda()
    return TensorRTBackend(path, api=fake_tensorrt(cuda, **versions), cuda=Cuda(cuda))


def test_a_missing_engine_and_a_missing_card_are_told_apart(tmp_path):
    with pytest.raises(ModelError, match=r"no engine at .*cornernet build"):
        open_engine(tmp_path / "none.engine")
    path = write_engine(tmp_path)
    path.with_name("toy.engine.json").unlink()
    with pytest.raises(ModelError, match=r"toy\.engine\.json is not beside"):
        open_engine(path)


def test_a_truncated_engine_is_recognised_by_its_length(tmp_path):
    path = write_engine(tmp_path)
    path.write_bytes(path.read_bytes()[:-7])
    with pytest.raises(ModelError, match=r"truncated.*cornernet build toy.onnx -o toy.engine --profile 1x16x16"):
        open_engine(path)


def test_a_damaged_card_names_the_field(tmp_path):
    path = write_engine(tmp_path)
    card = path.with_name("toy.engine.json")
    card.write_text(card.read_text().replace('"opt_level": 3', '"opt_level": "high"'))
    with pytest.raises(ModelError, match="not a valid engine card: opt_level"):
        open_engine(path)


def test_an_engine_that_does_not_load_is_explained_by_what_differs(tmp_path):
    gpu = GpuFacts(name="Other GPU", compute_capability="9.0", multiprocessors=132)
    path = write_engine(tmp_path, version="11.4.0.106", gpu=gpu)
    content = b"x" * path.stat().st_size
    path.write_bytes(content)
    with pytest.raises(BackendError) as error:
        open_engine(path)
    for words in (
        "built with tensorrt 11.4.0.106, this is tensorrt 10.16.1.11",
        "built on Other GPU (compute capability 9.0), this is Fake GPU (8.9)",
        "sha256 differs",
        "version tag does not match",
        "cornernet build toy.onnx -o toy.engine",
    ):
        assert words in str(error.value)


def test_an_engine_built_for_other_targets_says_so(tmp_path):
    path = write_engine(tmp_path, flavour="tensorrt_rtx", targets=("sm_120",))
    path.write_bytes(b"x" * path.stat().st_size)
    with pytest.raises(
        BackendError, match=r"for sm_120.*is sm_89.*: VERSION_MISMATCH UNSUPPORTED_CC .*--target sm_120"
    ):
        open_engine(path, rtx=True)


def test_an_engine_with_plugins_needs_the_library(tmp_path, monkeypatch):
    facts = FileFacts(name="libcornernet_plugins.so", sha256="1" * 64, bytes=1)
    path = write_engine(tmp_path, plugins=facts, operators={"CornerGroup": 1})
    monkeypatch.setattr("cornernet.engine.backends.trt_api.find_plugin_library", lambda: None)
    with pytest.raises(BackendError, match=r"needs the operators CornerGroup.*not found.*cmake -B build"):
        open_engine(path)
    with pytest.raises(BackendError, match="no plugin library at"):
        TensorRTBackend(path, plugins=tmp_path / "gone.so", api=fake_tensorrt(FakeCuda()), cuda=Cuda(FakeCuda()))
    library = tmp_path / "empty.so"
    library.write_bytes(b"\x7fELF")
    with pytest.raises(BackendError, match=r"could not load .*empty.so"):
        TensorRTBackend(path, plugins=library, api=fake_tensorrt(FakeCuda()), cuda=Cuda(FakeCuda()))


def test_a_file_of_raw_maps_is_not_a_detector(tmp_path):
    path = write_engine(tmp_path, card=toy_card(outputs="heads"))
    with pytest.raises(ModelError, match="gives heads, not detections"):
        open_engine(path)


@pytest.mark.parametrize(
    ("facts", "words"),
    [
        ({"shapes": {"boxes": [-1, 3, 2]}}, r"engine's boxes has shape \(-1, 3, 2\).*the last of length 4"),
        ({"shapes": {"counts": [-1, 3]}}, r"engine's counts has shape \(-1, 3\)"),
        ({"types": {"scores": "int32"}}, "engine's scores has .* type int32; expected float32"),
        ({"types": {"labels": "float32"}}, "engine's labels has .* type float32; expected int32"),
        ({"types": {"scores": "bfloat16"}}, "engine's scores has .* type bfloat16"),
    ],
)
def test_an_engine_with_outputs_other_than_the_contracts_is_refused_when_it_is_opened(tmp_path, facts, words):
    with pytest.raises(ModelError, match=words):
        open_engine(write_engine(tmp_path, **facts))


def test_an_engine_may_write_half_precision_scores(tmp_path):
    open_engine(write_engine(tmp_path, types={"scores": "float16"})).close()


def test_a_card_that_is_not_text_or_that_is_damaged_anywhere_is_a_model_error(tmp_path):
    path = write_engine(tmp_path)
    card, chance = path.with_name("toy.engine.json"), random.Random(3)
    whole = card.read_bytes()
    for content in (b"", b"\xff\xfe", b"[" * 100_000, *(_damaged(whole, chance) for _ in range(100))):
        card.write_bytes(content)
        try:
            read_engine_card(path)
        except ModelError as error:
            assert str(path.parent) in str(error)


def _damaged(content: bytes, chance: random.Random) -> bytes:
    place = chance.randrange(len(content))
    return content[:place] + bytes([chance.randrange(256)]) + content[place + 1 :]


def test_a_detector_opens_an_engine_by_its_suffix_and_closes_it(tmp_path):
    cuda = FakeCuda()
    path = write_engine(tmp_path)
    black = np.zeros((20, 30, 3), np.uint8)
    with Detector(path, resize="fit", size=(32, 48), api=fake_tensorrt(cuda), cuda=Cuda(cuda)) as detector:
        assert isinstance(detector.backend, TensorRTBackend) and detector.card == toy_card()
        results = detector.predict([black] * 5, batch_size=3)
    assert [(len(result.boxes), result.error) for result in results] == [(0, None)] * 5
    assert cuda.alive() == {}
