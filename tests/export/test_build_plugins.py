"""The builder with our compiled plugin library and a real TensorRT parser: the same file, plugin layers or functions.

In processes of their own: a parser that meets a plugin it cannot make may end its process.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from operators_onnx import OPERATORS, write_operators

from cornernet.engine.backends import trt_api

pytestmark = [
    pytest.mark.tensorrt,
    pytest.mark.skipif(
        trt_api.find_plugin_library() is None,
        reason="needs libcornernet_plugins.so (cmake -B build && cmake --build build) or CORNERNET_PLUGINS_LIBRARY",
    ),
    pytest.mark.skipif(
        "tensorrt_rtx" not in trt_api.available_flavours(), reason="needs tensorrt-rtx: pip install '.[rtx]'"
    ),
]

BUILD = """
import json, sys
from pathlib import Path
from cornernet.engine.backends.trt_api import find_plugin_library
from cornernet.export.build import build_engine
source, folder = Path(sys.argv[1]), Path(sys.argv[2])
for name, plugins in (("first", None), ("plugins", find_plugin_library()), ("functions", None)):
    report = build_engine(source, folder / f"{name}.engine", plugins=plugins, targets=["sm_89"], cache=None)
    print(report.card.model_dump_json())
"""


def run(source: Path, folder: Path) -> list[dict]:
    done = subprocess.run(
        [sys.executable, "-c", BUILD, str(source), str(folder)], capture_output=True, text=True, env=dict(os.environ)
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.mark.parametrize("half", [False, True], ids=["fp32", "fp16"])
def test_one_file_becomes_plugin_layers_with_the_library_and_functions_without(tmp_path, half):
    source = write_operators(tmp_path / "operators.onnx", half=half)
    first, plugins, functions = run(source, tmp_path)
    assert plugins["operators"] == OPERATORS and plugins["layers"]["PLUGIN_V3"] == sum(OPERATORS.values())
    library = trt_api.find_plugin_library()
    assert library is not None and plugins["plugins"]["bytes"] == library.stat().st_size
    plan = (tmp_path / "plugins.engine").read_bytes()
    assert all(name.encode() in plan for name in OPERATORS)
    assert ("HALF" in plugins["precisions"]) == half
    # Without plugins, before and after the library was loaded into the process: the same network.
    for card in (first, functions):
        assert card["operators"] == {} and card["plugins"] is None
        assert "PLUGIN_V3" not in card["layers"] and card["layers"]["POOLING"] == 14 and card["layers"]["TOPK"] == 3
    assert first["layers"] == functions["layers"]
