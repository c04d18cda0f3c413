"""The engine in fresh interpreters: what it imports, and what it says where a package is missing."""

import subprocess
import sys
import textwrap

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
