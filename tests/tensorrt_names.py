"""Every TensorRT and CUDA name that our code reaches, collected from its syntax trees.

It works because of the convention in engine/backends/trt_api.py: variables are called after the TensorRT object they
hold. Functions whose names end in `_rtx` use names that TensorRT-RTX alone has.
"""

from __future__ import annotations

import ast
from pathlib import Path

MODULES = (
    "engine/backends/trt_api.py",
    "engine/backends/trt_plan.py",
    "engine/backends/trt_contexts.py",
    "engine/backends/trt_worker.py",
    "engine/backends/trt_profiling.py",
    "engine/backends/trt_loading.py",
    "engine/backends/rtx_kernels.py",
    "engine/backends/tensorrt.py",
    "export/build.py",
    "export/build_config.py",
    "export/build_progress.py",
    "export/profiles.py",
    "export/parse_network.py",
    "export/inspect_engine.py",
)

CLASS_OF = {
    "builder": "Builder",
    "config": "IBuilderConfig",
    "network": "INetworkDefinition",
    "parser": "OnnxParser",
    "parser_error": "ParserError",
    "optimization": "IOptimizationProfile",
    "registry": "IPluginRegistry",
    "creator": "IPluginCreatorV3One",
    "runtime": "Runtime",
    "engine": "ICudaEngine",
    "context": "IExecutionContext",
    "runtime_config": "IRuntimeConfig",
    "runtime_cache": "IRuntimeCache",
    "inspector": "EngineInspector",
    "layer": "ILayer",
    "tensor": "ITensor",
    "severity": "ILogger.Severity",
}

RETURNS = {"get_input": "ITensor", "get_output": "ITensor", "get_layer": "ILayer", "get_timing_cache": "ITimingCache"}

OWN_METHODS = {"collect"}
"""Added by us to a class derived from TensorRT's."""


def _class_of(node: ast.expr) -> str | None:
    """The TensorRT class (or enumeration) of an expression; "" is the module itself, None something else."""
    if isinstance(node, ast.Name):
        return "" if node.id == "trt" else CLASS_OF.get(node.id)
    if isinstance(node, ast.Attribute):
        if node.attr == "module":
            return ""
        if node.attr in CLASS_OF:
            return CLASS_OF[node.attr]
        return node.attr if _class_of(node.value) == "" else None
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
        return RETURNS.get(node.func.attr)
    return None


def _names_in(tree: ast.AST) -> set[str]:
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and not node.attr.startswith("__"):
            owner = _class_of(node.value)
            if owner is not None:
                names.add(f"{owner}.{node.attr}".lstrip("."))
        if isinstance(node, ast.ClassDef):
            for base in node.bases:
                if isinstance(base, ast.Attribute) and _class_of(base.value) == "":
                    methods = {item.name for item in node.body if isinstance(item, ast.FunctionDef)}
                    names |= {f"{base.attr}.{m}" for m in methods - OWN_METHODS if not m.startswith("_")}
    return names


def tensorrt_names(root: Path) -> tuple[set[str], set[str]]:
    """Names used with every flavour, and names used with TensorRT-RTX only; "Class.member" or "name"."""
    every: set[str] = set()
    rtx: set[str] = set()
    for module in MODULES:
        tree = ast.parse((root / module).read_text())
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef) and node.name.endswith("_rtx"):
                rtx |= _names_in(node)
                node.body = []
        every |= _names_in(tree)
    return every, rtx - every


CUDA_MODULES = ("engine/backends/cuda_runtime.py", "engine/backends/cuda_memory.py")


def cuda_names(root: Path) -> set[str]:
    """CUDA functions, constants and enumeration members: whatever is spelled `cuda...`, `cu...` or `CU...`."""
    names = set()
    for tree in (ast.parse((root / module).read_text()) for module in CUDA_MODULES):
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute) and node.attr.startswith(("cuda", "CU")):
                names.add(node.attr)
            called = isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)
            if called and node.func.attr in ("call", "_drive") and isinstance(node.args[0], ast.Constant):
                names.add(node.args[0].value)
    return names
