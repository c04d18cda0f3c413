"""The GPU benchmark and check scripts, as far as a machine without a GPU can run them."""

import importlib.util
import json
import sys

import pytest
from emulation import PretendedDevice

from cornernet.benchmarks import gpu_check, kernels
from cornernet.plugins.driver import Driver, DriverError


@pytest.mark.parametrize(
    "case",
    [
        kernels.Case("corner_pool", (1, 2, 16, 16), "float16"),
        kernels.Case("corner_pool", (1, 8, 8, 8), "float16", "channels_last_8"),
        kernels.Case("corner_peaks", (1, 2, 16, 16), "float32", top_k=10),
        kernels.Case("corner_group", (1, 1), "float32", top_k=10, num_dets=20),
    ],
)
def test_every_kind_of_case_is_measured_to_a_full_row(emulated, case):
    device = PretendedDevice()
    watch = kernels.Stopwatch(device, launches=2, rounds=1)
    row = kernels.measure(device, emulated.launchers, case, watch)
    assert row["cold_us"] == row["cached_us"] == row["copy_us"] == 500
    assert row["share_of_copy"] == 1
    assert case.operator in kernels.table([row])


def test_bytes_moved_by_corner_pooling_are_two_inputs_and_one_output():
    assert kernels.Case("corner_pool", (8, 128, 128, 128), "float16").moved_bytes == 3 * 8 * 128 * 128 * 128 * 2


def test_torch_ways_compute_what_the_kernels_compute(emulated):
    torch = pytest.importorskip("torch")
    from cornernet.benchmarks import kernels_in_torch

    torch.manual_seed(0)
    ways = kernels_in_torch._ways("corner_pool", (1, 2, 12, 20), torch.float32, 5, "cpu")
    assert torch.equal(ways["cummax"](), ways["maxpool"]())
    scores, labels, cells = kernels_in_torch._ways("corner_peaks", (1, 2, 12, 20), torch.float32, 5, "cpu")["topk"]()
    assert scores.shape == labels.shape == cells.shape == (1, 5)


def has_gpu() -> bool:
    try:
        with Driver():
            return True
    except DriverError:
        return False


@pytest.mark.skipif(has_gpu(), reason="this machine has a GPU")
def test_without_a_gpu_both_scripts_say_so_and_exit_with_code_2(monkeypatch, tmp_path, capsys):
    library = tmp_path / "library.so"
    library.touch()
    monkeypatch.setenv("CORNERNET_PLUGINS_LIBRARY", str(library))
    assert kernels.main([]) == 2
    assert gpu_check.main([]) == 2
    said = capsys.readouterr().err
    assert said.count("needs an NVIDIA GPU") == 2


def test_a_part_whose_software_is_missing_is_not_run_and_says_what_it_needs():
    outcome = gpu_check.run_part(
        gpu_check.Part("x", ["true"], ["no-such-program", "module no_such_module", "file no-such-file"])
    )
    assert outcome.status == "not run"
    assert outcome.why == "needs no-such-program, module no_such_module, file no-such-file"


def test_a_part_that_fails_or_hangs_is_reported_as_failed():
    assert gpu_check.run_part(gpu_check.Part("x", [sys.executable, "-c", "raise SystemExit(3)"])).status == "failed"
    slow = gpu_check.Part("x", [sys.executable, "-c", "import time; time.sleep(60)"], timeout_s=1)
    assert "stopped after 1 s" in gpu_check.run_part(slow).output


def test_the_report_names_every_part_with_its_verdict(tmp_path):
    outcomes = [
        gpu_check.Outcome("gpu tests", "passed", "pytest", 3.0, output="...\n== 12 passed in 3 s =="),
        gpu_check.Outcome("sanitizer memcheck", "not run", "", why="needs compute-sanitizer"),
    ]
    text = gpu_check.markdown("A GPU", outcomes, "| kernel |")
    assert "| gpu tests | passed | 3 | 12 passed in 3 s |" in text
    assert "| sanitizer memcheck | not run | 0 | needs compute-sanitizer |" in text
    assert json.loads(json.dumps([outcome.__dict__ for outcome in outcomes]))[1]["why"] == "needs compute-sanitizer"


def test_parts_are_commands_that_exist_in_this_repository(tmp_path):
    listed = list(gpu_check.parts([], tmp_path))
    kinds = [part.name.split()[0] for part in listed]
    assert kinds == ["configure", "build", "host", "gpu", *["sanitizer"] * 3, "kernel", "models", "stage"]
    assert gpu_check.missing(listed[-1].needs), "nothing has made a model yet"
    for part in listed:
        if "-m" in part.command:
            module = part.command[part.command.index("-m") + 1]
            assert importlib.util.find_spec(module) is not None


@pytest.mark.slow
def test_models_of_the_stage_benchmark_are_written_with_random_weights(tmp_path, monkeypatch):
    pytest.importorskip("torch")
    pytest.importorskip("onnxruntime")
    from cornernet.benchmarks import untrained_models

    monkeypatch.setattr(untrained_models, "_build", lambda model, path: path.write_bytes(b"engine"))
    made = untrained_models.write_models(tmp_path, ("tiny",))
    assert [path.name for path in made if path.suffix != ".engine"] == [
        "tiny.safetensors",
        "tiny-fp32.onnx",
        "tiny-fp16.onnx",
    ]
