"""Weights -> one ONNX file -> TensorRT engine.

Start with onnx_export.py (translate, tidy, check parity, write), then build.py. functions.py defines the custom
operators in standard ones.
"""

from cornernet.engine.installation import require

require("onnx", "exporting, building and inspecting")
