"""Show what is installed, what really works, and how to get the rest."""

import importlib
from pathlib import Path
from typing import Annotated, Literal, NamedTuple

import typer

import cornernet
from cornernet.engine.installation import EXTRA_OF_PACKAGE, ONNX_RUNTIME, install

EXAMPLES = """
cornernet doctor
cornernet doctor --json
# which runtime and precision is fastest for this file; --runtime auto knows it afterwards
cornernet doctor model.onnx
"""


PLUGINS_NEED = "needs nvcc and TensorRT headers"


class Finding(NamedTuple):
    """One thing that was tried. state: it works, it is not there, or it is there and broken. advice: a command."""

    name: str
    state: Literal["works", "missing", "broken"]
    detail: str
    advice: str = ""


def run(
    model: Annotated[Path | None, typer.Argument(help=".onnx file to measure every runtime with.")] = None,
    json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
) -> None:
    """Try every runtime on this machine. Exit code 1 if none of them can run a model."""
    findings = [*examine(), *([] if model is None else [_fastest(model)])]
    if json:
        import json as json_module

        typer.echo(json_module.dumps([finding._asdict() for finding in findings], indent=1))
    else:
        _print(findings)
    if not can_run(findings):
        raise typer.Exit(1)


def examine() -> list[Finding]:
    """Everything this project can use, what carries a model first."""
    from cornernet.engine.installation import problems

    mixtures = [Finding("packages", "broken", problem.what, problem.command) for problem in problems()]
    return [*mixtures, _onnxruntime(), _openvino(), *_tensorrt(), _gpu(), _plugins(), _opencv(), _native(), *_extras()]


def can_run(findings: list[Finding]) -> bool:
    """True if ONNX Runtime or OpenVINO ran a graph, or TensorRT and a GPU are both there."""
    working = {finding.name for finding in findings if finding.state == "works"}
    return not working.isdisjoint(("ONNX Runtime", "OpenVINO")) or (
        "GPU" in working and not working.isdisjoint(("tensorrt", "tensorrt_rtx"))
    )


NEGATE = bytes.fromhex(
    "08083a340a0d0a017812017922034e65673a001201675a0f0a0178120a0a0808"
    "0112040a020802620f0a0179120a0a08080112040a02080242040a001011"
)
"""y = -x of two float32 as an ONNX file, so that it takes no package to make one; a test makes it again."""


def _onnxruntime() -> Finding:
    """Runs one operator: an import proves little where two wheels overwrote each other or a library is missing."""
    advice = ONNX_RUNTIME
    try:
        import onnxruntime
    except ModuleNotFoundError:
        return Finding("ONNX Runtime", "missing", "runs .onnx files", advice)
    except ImportError as error:
        return Finding("ONNX Runtime", "broken", str(error), advice)
    import numpy as np

    try:
        available = onnxruntime.get_available_providers()
        wanted = [name for name in ("CUDAExecutionProvider", "CPUExecutionProvider") if name in available]
        session = onnxruntime.InferenceSession(NEGATE, providers=wanted)
        (result,) = session.run(None, {"x": np.array([1, 2], np.float32)})
    except Exception as error:  # the binding raises a dozen types that share no base of their own
        return Finding("ONNX Runtime", "broken", f"{type(error).__name__}: {error}", advice)
    if result.tolist() != [-1, -2]:
        return Finding("ONNX Runtime", "broken", f"-[1, 2] gave {result.tolist()}", advice)
    running = session.get_providers()[0].removesuffix("ExecutionProvider")
    offered = ", ".join(name.removesuffix("ExecutionProvider") for name in available)
    fell_back = wanted[0] not in session.get_providers()
    detail = f"{onnxruntime.__version__}, runs on {running} (offers {offered})"
    if fell_back:
        detail += "; its CUDA provider did not start"
    return Finding("ONNX Runtime", "works", detail, "check the GPU's driver and CUDA libraries" if fell_back else "")


def _openvino() -> Finding:
    """Runs the same operator; the functions of a real file are inlined by `onnx`."""
    advice = install(EXTRA_OF_PACKAGE["openvino"])
    try:
        import openvino
    except ModuleNotFoundError:
        return Finding("OpenVINO", "missing", "runs .onnx files on a CPU, also in bf16", advice)
    except ImportError as error:
        return Finding("OpenVINO", "broken", str(error), advice)
    import numpy as np

    try:
        importlib.import_module("onnx.inliner")
        from cornernet.engine.backends.openvino import shared_core

        core = shared_core()
        (result,) = core.compile_model(core.read_model(NEGATE), "CPU")({"x": np.array([1, 2], np.float32)}).values()
        abilities = core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    except Exception as error:  # the binding raises whatever C++ and pybind11 do
        return Finding("OpenVINO", "broken", f"{type(error).__name__}: {error}", advice)
    if result.tolist() != [-1, -2]:
        return Finding("OpenVINO", "broken", f"-[1, 2] gave {result.tolist()}", advice)
    computes = ", ".join(name for name in ("FP32", "BF16", "FP16", "INT8") if name in abilities)
    return Finding("OpenVINO", "works", f"{openvino.__version__.partition('-')[0]}, computes in {computes}")


def _fastest(model: Path) -> Finding:
    """Measured, and remembered for `--runtime auto`."""
    from cornernet.engine.backends.open import measure_runtimes
    from cornernet.engine.printable import printable

    measurement = measure_runtimes(model)
    said = "there is no choice of runtimes" if measurement is None else str(measurement)
    return Finding("fastest runtime", "works", f"{printable(model)}: {said}")


def _tensorrt() -> list[Finding]:
    from cornernet.engine.backends import trt_api
    from cornernet.engine.errors import BackendError

    findings = []
    for flavour in trt_api.FLAVOURS:
        if flavour not in trt_api.available_flavours():
            findings.append(Finding(flavour, "missing", "builds and runs .engine files", trt_api.INSTALL[flavour]))
            continue
        try:
            findings.append(Finding(flavour, "works", f"{trt_api.load(flavour).version} loads"))
        except BackendError as error:
            findings.append(Finding(flavour, "broken", str(error), trt_api.INSTALL[flavour]))
    return findings


def _gpu() -> Finding:
    from cornernet.engine.backends.cuda_runtime import gpu_facts, why_no_gpu
    from cornernet.engine.machine import machine_facts

    facts = gpu_facts()
    if facts is not None:
        return Finding("GPU", "works", f"{facts.name}, compute capability {facts.compute_capability}")
    seen = machine_facts()["gpus"]
    if seen:
        names = ", ".join(f"{gpu['name']}, driver {gpu['driver_version']}" for gpu in seen)
        return Finding(
            "GPU", "broken", f"{names}; not reachable from Python: {why_no_gpu()}", "pip install cuda-python"
        )
    return Finding("GPU", "missing", "no NVIDIA GPU or no driver; engines need one, .onnx files do not")


def _plugins() -> Finding:
    from cornernet.engine.backends.cuda_runtime import driver_version
    from cornernet.engine.backends.trt_api import driver_problem, find_plugin_library
    from cornernet.engine.errors import BackendError

    checkout = Path(cornernet.__file__).resolve().parents[1] / "CMakeLists.txt"
    advice = f"CORNERNET_PLUGINS=1 pip install --force-reinstall --no-deps . in the checkout ({PLUGINS_NEED})"
    if checkout.is_file():  # an editable install takes the library from build/ and compiles nothing itself
        advice = f"cmake -B build && cmake --build build -j2 in {checkout.parent} ({PLUGINS_NEED})"
    try:
        library = find_plugin_library()
    except BackendError as error:
        return Finding("CUDA plugins", "broken", str(error), advice)
    if library is None:
        return Finding("CUDA plugins", "missing", "faster engines; without them standard operators run", advice)
    if problem := driver_problem(library, driver_version()):
        return Finding("CUDA plugins", "broken", problem, advice)
    return Finding("CUDA plugins", "works", str(library))


def _opencv() -> Finding:
    advice = "pip install opencv-python-headless"
    try:
        import cv2
        import numpy as np

        decoded = cv2.imdecode(cv2.imencode(".png", np.full((2, 3, 3), 7, np.uint8))[1], cv2.IMREAD_COLOR)
    except (ImportError, AttributeError) as error:
        return Finding("OpenCV", "broken", str(error), advice)
    if decoded is None or decoded.shape != (2, 3, 3):
        return Finding("OpenCV", "broken", "a PNG does not survive writing and reading", advice)
    return Finding("OpenCV", "works", cv2.__version__)


def _native() -> Finding:
    from cornernet.engine import native

    if native.load() is not None:
        return Finding("compiled code", "works", "post-processing without Python's lock")
    advice = "install a C++ compiler, then this package again; in a checkout: make"
    return Finding("compiled code", "missing", "faster post-processing; numpy does its work", advice)


def _extras() -> list[Finding]:
    """Packages that are simply there or not."""
    wanted = (
        ("torch", "trains, imports and exports"),
        ("onnxscript", "exports"),
        ("safetensors", "reads and writes checkpoints"),
        ("onnx", "builds engines, shows what a .onnx file is"),
        ("pycocotools", "evaluates"),
        ("faster_coco_eval", "evaluates faster"),
        ("matplotlib", "draws charts"),
        ("supervision", "takes our detections"),
        ("av", "reads videos in more codecs"),
        ("timm", "gives other backbones"),
        ("pycuda", "gives device arrays"),
    )
    findings = []
    for package, purpose in wanted:
        advice = install(EXTRA_OF_PACKAGE[package])
        try:
            module = importlib.import_module(package)
        except ModuleNotFoundError:
            findings.append(Finding(package, "missing", purpose, advice))
        except (ImportError, OSError) as error:
            findings.append(Finding(package, "broken", str(error), advice))
        else:
            findings.append(Finding(package, "works", f"{getattr(module, '__version__', 'installed')}, {purpose}"))
    return findings


def _print(findings: list[Finding]) -> None:
    from rich.table import Table
    from rich.text import Text

    from cornernet.engine.machine import machine_facts, summary
    from cornernet.terminal import make_console

    colours = {"works": "green", "missing": "dim", "broken": "bold red"}
    table = Table(show_header=False, box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for finding in findings:
        detail = Text(finding.detail)
        if finding.advice:
            detail.append(f"\n{finding.advice}", style="cyan")
        table.add_row(Text(finding.state, style=colours[finding.state]), finding.name, detail)
    console = make_console()
    console.print(summary(machine_facts()), style="dim")
    console.print(table)
    if can_run(findings):
        console.print("Models can run here.", style="green")
    else:
        console.print("Nothing here can run a model: install ONNX Runtime as said above.", style="bold red")
