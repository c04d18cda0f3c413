"""The engine in fresh interpreters: what it imports, and what it says where a package is missing."""

import json
import subprocess
import sys
import textwrap

import cv2
import numpy as np
import pytest
from fake_backends import make_card, write_onnx


def run_python(code):
    return subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, timeout=60)


def test_prediction_works_where_torch_cannot_be_imported(tmp_path):
    path = write_onnx(tmp_path / "model.onnx", make_card())
    result = run_python(f"""
        import sys

        class Blocker:
            def find_spec(self, name, path=None, target=None):
                if name.partition(".")[0] in ("torch", "onnx", "safetensors", "matplotlib"):
                    raise ImportError(f"{{name}} is blocked")

        sys.meta_path.insert(0, Blocker())
        import numpy as np
        from cornernet import Detector
        image = np.zeros((64, 64, 3), np.uint8)
        image[10:30, 20:40] = 255
        print(Detector({str(path)!r}).predict(image)[0].boxes.tolist())
    """)
    assert result.stdout.strip() == "[[20.0, 10.0, 40.0, 30.0]]", result.stderr


def test_a_missing_onnxruntime_is_an_error_with_the_command(tmp_path):
    path = write_onnx(tmp_path / "model.onnx", make_card())
    result = run_python(f"""
        import sys
        sys.modules["onnxruntime"] = None
        from cornernet import BackendError, Detector
        try:
            Detector({str(path)!r})
        except BackendError as error:
            print("refused:", error)
    """)
    assert result.stdout.startswith("refused: ONNX Runtime cannot be imported"), result.stderr
    assert "pip install" in result.stdout


def test_importing_the_package_loads_nothing_heavy():
    result = run_python("""
        import sys
        import cornernet, cornernet.engine
        heavy = {"torch", "cv2", "numpy", "onnxruntime", "pydantic", "onnx"} & set(sys.modules)
        print(sorted(heavy), sorted(cornernet.__all__) == sorted(set(dir(cornernet)) & set(cornernet.__all__)))
        print(all(getattr(cornernet, name) is not None for name in cornernet.__all__))
        print(all(getattr(cornernet.engine, name) is not None for name in cornernet.engine.__all__))
    """)
    assert result.stdout.split("\n")[:3] == ["[] True", "True", "True"], result.stderr


@pytest.mark.parametrize(
    ("package", "module", "extra"),
    [
        ("onnx", "cornernet.export.parse_network", "inspect"),
        ("matplotlib", "cornernet.benchmarks.latency.latency_chart", "charts"),
        ("matplotlib", "cornernet.benchmarks.analyses.analysis_charts", "charts"),
        ("jinja2", "cornernet.benchmarks.report.report_page", "report"),
    ],
)
def test_an_absent_package_is_an_error_with_the_command_in_python_too(package, module, extra):
    if package == "jinja2":
        pytest.importorskip("matplotlib", reason="the page asks for it first: pip install '.[charts]'")
    if "analyses" in module:
        pytest.importorskip("torch", reason="the analyses look into a network: pip install '.[train]'")
    result = run_python(f"""
        import importlib, sys
        sys.modules[{package!r}] = None
        from cornernet import BackendError
        try:
            importlib.import_module({module!r})
        except BackendError as error:
            print(error)
    """)
    assert f"the package '{package}'" in result.stdout, result.stderr
    assert f"pip install '.[{extra}]'" in result.stdout


@pytest.mark.parametrize(
    ("package", "line", "extra"),
    [
        ("onnx", "info model.onnx", "inspect"),
        ("pycocotools", "evaluate model.onnx . --evaluator pycocotools", "evaluate"),
    ],
)
def test_an_absent_package_is_one_line_of_the_command(tmp_path, package, line, extra):
    write_onnx(tmp_path / "model.onnx", make_card(train_size=(128, 128)))
    (tmp_path / "annotations").mkdir()
    (tmp_path / "a.png").write_bytes(cv2.imencode(".png", np.zeros((64, 64, 3), np.uint8))[1].tobytes())
    content = {
        "images": [{"id": 1, "file_name": "a.png", "width": 64, "height": 64}],
        "categories": [{"id": 7, "name": "bright"}],
        "annotations": [],
    }
    (tmp_path / "annotations" / "instances_val.json").write_text(json.dumps(content))
    result = run_python(f"""
        import os, sys
        for name in ("", ".coco"):
            sys.modules[{package!r} + name] = None
        os.chdir({str(tmp_path)!r})
        from cornernet.cli import app
        app({line.split()!r})
    """)
    assert result.returncode == 1
    assert len(result.stderr.strip().splitlines()) == 1, result.stderr
    assert f"pip install '.[{extra}]' in the checkout" in result.stderr
