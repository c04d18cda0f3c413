"""The machine a number was measured on. A fact that cannot be had is left out, never guessed."""

from __future__ import annotations

import os
import platform
import re
import subprocess
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

PACKAGES = (
    "cornernet",
    "numpy",
    "opencv-python-headless",
    "opencv-python",
    "onnx",
    "onnxruntime",
    "onnxruntime-gpu",
    "openvino",
    "torch",
    "tensorrt",
    "tensorrt-rtx",
    "cuda-python",
    "pycocotools",
    "faster-coco-eval",
)
THREAD_SETTINGS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "CUDA_VISIBLE_DEVICES")
_GPU_FACTS = ("name", "driver_version", "memory.total", "power.limit", "clocks.max.sm", "compute_cap")


def machine_facts() -> dict[str, Any]:
    """JSON-ready: date, os, python, cpu, gpus, packages, and the environment settings that change speed."""
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "os": _os_name(),
        "python": platform.python_version(),
        "cpu": cpu_facts(),
        "gpus": _gpus(),
        "packages": installed_versions(PACKAGES),
        "environment": {name: os.environ[name] for name in THREAD_SETTINGS if name in os.environ},
    }


def installed_versions(names: tuple[str, ...]) -> dict[str, str]:
    """Those of `names` (distributions) that are installed."""
    found = {}
    for name in names:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def summary(facts: dict[str, Any]) -> str:
    """One line for a table's foot."""
    cpu, gpus = facts["cpu"], facts["gpus"]
    parts = [f"{cpu.get('model', 'unknown CPU')}, {cpu['usable_cores']} cores"]
    if "memory_gib" in cpu:
        parts[0] += f", {cpu['memory_gib']} GiB"
    parts += [f"{gpu['name']} (driver {gpu['driver_version']})" for gpu in gpus]
    if "load_1min" in cpu:
        parts.append(f"load {cpu['load_1min']:.1f}")
    return "; ".join([*parts, facts["os"], f"Python {facts['python']}"])


def usable_cores() -> int:
    """Cores that this process may use, not those of the machine."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _os_name() -> str:
    try:
        return f"{platform.freedesktop_os_release()['PRETTY_NAME']}, Linux {platform.release()}"
    except OSError:
        return platform.platform()


def cpu_facts() -> dict[str, Any]:
    """Cores, memory and model; the load shows who else was running."""
    facts: dict[str, Any] = {
        "cores": os.cpu_count(),
        "usable_cores": usable_cores(),
        "architecture": platform.machine(),
    }
    model = re.search(r"^model name\s*:\s*(.+)$", _read("/proc/cpuinfo"), re.MULTILINE)
    name = model[1].strip() if model else platform.processor()
    if name:
        facts["model"] = name
    memory = re.search(r"^MemTotal:\s*(\d+) kB", _read("/proc/meminfo"), re.MULTILINE)
    if memory:
        facts["memory_gib"] = round(int(memory[1]) / 2**20, 1)
    if hasattr(os, "getloadavg"):
        facts["load_1min"] = round(os.getloadavg()[0], 2)
    return facts


def _read(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8")
    except OSError:
        return ""


def _gpus() -> list[dict[str, str]]:
    """NVIDIA GPUs as their driver's own tool lists them; none if there is no such tool."""
    command = ["nvidia-smi", f"--query-gpu={','.join(_GPU_FACTS)}", "--format=csv,noheader"]
    try:
        listing = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return []
    rows = [[value.strip() for value in line.split(",")] for line in listing.splitlines() if line.strip()]
    return [dict(zip(_GPU_FACTS, row)) for row in rows if len(row) == len(_GPU_FACTS)]
