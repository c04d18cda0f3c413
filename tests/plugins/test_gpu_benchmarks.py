"""The GPU benchmark and check scripts, as far as a machine without a GPU can run them."""

import ctypes
import importlib.util
import json
import sys
from pathlib import Path

import numpy as np
import pytest
from emulation import PretendedDevice
from tensorrt_rig import Rig

from cornernet.benchmarks import engine_times, gpu_check, kernel_checks, kernels, placing_times
from cornernet.benchmarks.gpu_parts import COMMANDS, Part, parts
from cornernet.plugins.driver import Driver, DriverError


@pytest.mark.parametrize(
    "case",
    [
        kernels.Case("corner_pool", (1, 2, 16, 16), "float16"),
        kernels.Case("corner_pool", (1, 8, 8, 8), "float16", "channels_last_8"),
        kernels.Case("corner_peaks", (1, 2, 16, 16), "float32", top_k=10),
        kernels.Case("corner_windows", (1, 8, 8, 8), "float16", "channels_last_8", top_k=10),
        kernels.Case("corner_soft_nms", (2, 1), "float32", top_k=20, num_dets=30),
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
    assert kernels_in_torch._ways("corner_windows", (2, 3, 12, 20), torch.float32, 5, "cpu")["gather"]().shape == (
        2,
        3,
        45,
    )


def has_gpu() -> bool:
    try:
        with Driver():
            return True
    except DriverError:
        return False


@pytest.mark.skipif(has_gpu(), reason="this machine has a GPU")
def test_without_a_gpu_all_scripts_say_so_and_exit_with_code_2(monkeypatch, tmp_path, capsys):
    library = tmp_path / "library.so"
    library.touch()
    monkeypatch.setenv("CORNERNET_PLUGINS_LIBRARY", str(library))
    assert kernels.main([]) == 2
    assert gpu_check.main([]) == 2
    assert placing_times.main([]) == 2
    said = capsys.readouterr().err
    assert said.count("needs an NVIDIA GPU") == 3


def run(part: Part, folder: Path, **options) -> gpu_check.Outcome:
    return gpu_check.run_part(part, folder / "log", **({"seconds_left": 100} | options))


def test_a_part_whose_software_is_missing_is_not_run_and_says_what_it_needs(tmp_path):
    outcome = run(
        Part("x", ["true"], 5, ["no-such-program", "module no_such_module", "file no-such-file", "provider No"]),
        tmp_path,
    )
    assert outcome.status == "not run"
    assert outcome.why == "needs no-such-program, module no_such_module, file no-such-file, provider No"


def test_a_part_that_fails_hangs_or_finds_no_time_left_is_reported(tmp_path):
    assert run(Part("x", [sys.executable, "-c", "raise SystemExit(3)"], 60), tmp_path).why == "exit code 3"
    hanging = Part("x", ["sh", "-c", "echo so far; exec sleep 60"], 2)
    outcome = run(hanging, tmp_path)
    assert (outcome.status, outcome.why) == ("failed", "stopped after 2 s")
    assert "so far" in outcome.output
    assert run(hanging, tmp_path, seconds_left=0.2).why.startswith("no time")


def test_a_rehearsal_runs_a_command_without_its_tool(tmp_path):
    part = Part("x", ["echo", "1 checks passed"], 60, ["no-such-tool"], ["no-such-tool", "--all"])
    assert run(part, tmp_path).status == "not run"
    outcome = run(part, tmp_path, rehearse=True)
    assert (outcome.status, gpu_check.verdict(outcome)) == ("passed", "1 checks passed")


def test_the_report_is_there_after_every_part_named_after_card_and_date(tmp_path):
    rows = tmp_path / "rows.json"
    seen = (
        "import json, sys, pathlib; found = sorted(p.name for p in pathlib.Path(sys.argv[1]).glob('an-h100-*'));"
        "pathlib.Path(sys.argv[2]).write_text(json.dumps([{'files': len(found), 'ms': 1.23456}])); print('passed')"
    )
    command = [sys.executable, "-c", seen, str(tmp_path), str(rows)]
    listed = [Part("first", ["true"], 60), Part("second", command, 60, rows=rows), Part("third", ["false"], 60)]
    assert not gpu_check.run_command("kernels", "An H100", tmp_path, listed, 5, rehearse=False)
    assert json.loads(rows.read_text())[0]["files"] == 2  # the report of the first part was there already
    (text,) = (path.read_text() for path in tmp_path.glob("an-h100-*-kernels.md"))
    assert "| third | failed |" in text and "| 2 | 1.235 |" in text
    (report,) = (json.loads(path.read_text()) for path in tmp_path.glob("an-h100-*-kernels.json"))
    assert [part["status"] for part in report["parts"]] == ["passed", "passed", "failed"]
    assert report["rows"]["second"][0]["ms"] == 1.23456


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("rehearse", [False, True])
def test_parts_are_commands_that_exist_in_this_repository(tmp_path, command, rehearse):
    listed = parts(command, tmp_path, architecture="90", rehearse=rehearse)
    assert listed[0].name == "build"
    for part in listed:
        if "-m" in part.command:
            module = part.command[part.command.index("-m") + 1]
            assert importlib.util.find_spec(module) is not None
    if not rehearse:
        assert "-arch=sm_90" in listed[0].command


@pytest.mark.slow
@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_can_be_rehearsed_to_the_end(tmp_path, command):
    assert gpu_check.main([command, "--rehearse", "--output", str(tmp_path)]) == 0
    (report,) = (json.loads(path.read_text()) for path in tmp_path.glob(f"rehearsal-*-{command}.json"))
    states = [part["status"] for part in report["parts"]]
    assert "failed" not in states and "passed" in states
    assert command == "tensorrt" or "not run" not in states


def test_every_kernel_check_passes_on_the_emulation_and_a_wrong_kernel_is_seen(emulated, monkeypatch, capsys, tmp_path):
    file = tmp_path / "checks.json"
    monkeypatch.setattr(kernel_checks, "POOL_SHAPES", kernel_checks.POOL_SHAPES[:2])
    monkeypatch.setattr(kernel_checks, "PEAK_SHAPES", kernel_checks.PEAK_SHAPES[:1])
    monkeypatch.setattr(kernel_checks, "WINDOW_SHAPES", kernel_checks.WINDOW_SHAPES[:2])
    monkeypatch.setattr(kernel_checks, "NMS_ROWS", kernel_checks.NMS_ROWS[:1])
    monkeypatch.setattr(kernel_checks, "GROUP_SLOTS", kernel_checks.GROUP_SLOTS[:1])
    monkeypatch.setattr(kernel_checks, "PLACE_SIZES", kernel_checks.PLACE_SIZES[:2])
    assert kernel_checks.main(["--emulated", "--few", "--json", str(file)]) == 0
    passed = len(json.loads(file.read_text()))
    monkeypatch.setattr("oracles.corner_group", lambda *sides, num_dets: [np.float32(7)] * 5)
    assert kernel_checks.main(["--emulated", "--few", "--json", str(file)]) == 1
    assert f"{passed - 1} checks passed, 1 failed" in capsys.readouterr().out


def test_the_placing_kernel_is_timed_to_a_full_row(emulated, tmp_path):
    file = tmp_path / "rows.json"
    assert placing_times.main(["--rehearse", "--json", str(file)]) == 0
    first, second, third = json.loads(file.read_text())
    assert [row["method"] for row in (first, second, third)] == ["bilinear", "areas", "bilinear_floats"]
    assert third["gigabytes_per_second"] == 3 * (50 * 60 + 4 * 30 * 30) / 500 / 1000
    assert first["microseconds"] == 500 and first["gigabytes_per_second"] == 3 * 2 * (24 * 32 + 40 * 40) / 500 / 1000


@pytest.mark.slow
def test_images_on_the_device_are_compared_with_those_of_the_host_and_a_difference_is_seen(
    monkeypatch, capsys, tmp_path
):
    pytest.importorskip("torch")
    from cornernet.benchmarks import device_images

    file = tmp_path / "rows.json"
    assert device_images.main(["tiny", "--rehearse", "--json", str(file)]) == 0
    rows = json.loads(file.read_text())
    images, finals = (
        ["host", "emulated", "host, placed on the device"],
        ["host, final on the device", "results on the device"],
    )
    assert [row["array"] for row in rows] == images + finals + images * 2
    for row in rows:
        most = 1e-5 if row["array"] in finals else 0
        assert row["images_per_second"] > 0 and row["boxes"] > 0
        assert max(row["largest_score_difference"], row["largest_box_difference_px"]) <= most

    assert device_images.main(["saccade-tiny", "--rehearse", "--json", str(file)]) == 0
    rows = json.loads(file.read_text())
    assert [row["array"] for row in rows] == images * 2 and all(row["boxes"] > 0 for row in rows)

    def paint_it_grey(launchers, packed, *, canvases, **where):
        ctypes.memset(canvases, 77, int(np.prod(packed.shape)))

    monkeypatch.setattr("placing_rig.launch", paint_it_grey)
    assert device_images.main(["tiny", "--rehearse", "--json", str(file)]) == 1
    assert "4 comparisons passed, 7 failed" in capsys.readouterr().out


def test_an_operator_that_gives_other_numbers_or_strides_in_torch_is_seen():
    torch = pytest.importorskip("torch")
    from cornernet.benchmarks import torch_operators

    given = {name: rest for name, *rest in torch_operators.operators(torch.device("cpu"), rehearse=True)}
    operator, peaks, arguments = given["peaks float16 planes"]
    torch_operators.check(operator, peaks, arguments)
    with pytest.raises(AssertionError):
        torch_operators.check(operator, lambda logits, top_k: peaks(logits + 1, top_k), arguments)
    operator, windows, arguments = given["windows float16 channels last"]
    other = torch.library.custom_op("tests::windows", windows, mutates_args=())
    other.register_fake(lambda *given: tuple(each.contiguous() for each in windows(*given)))
    with pytest.raises(Exception, match=r"(?i)stride"):
        torch_operators.check(torch.ops.tests.windows, windows, arguments)


def test_times_of_an_engine_are_rows_of_a_file(tmp_path):
    with Rig(tmp_path) as rig:
        file = tmp_path / "engines.json"
        words = [str(rig.path), "--batch", "1,4,5", "--runs", "3", "--layers", "--json", str(file)]
        assert engine_times.main(words, lambda path, workers: rig.backend) == 0
    first, second, refused = json.loads(file.read_text())
    assert (first["batch"], first["batch_p50_ms"], first["compute_p99_ms"]) == (1, 0.25, 0.25)
    assert first["images_per_second_1"] > 0 and second["images_per_second_2"] > 0
    assert first["layers_ms"] == {"conv": 0.5, "CornerPeaks": 0.5}
    assert "do not fit into one batch" in refused["failed"]


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
