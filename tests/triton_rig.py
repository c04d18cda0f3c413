"""A real tritonserver, out of the wheel `nvidia-pytriton` in an environment of its own (it wants an old numpy).

The wheel brings the server and its Python backend. The network's backend is not in it: there our rig puts a few lines
of Python in its place.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

STAND_IN = '''
from pathlib import Path
import numpy as np
import onnxruntime
import triton_python_backend_utils as pb_utils

class TritonPythonModel:
    """What Triton's ONNX Runtime backend does: the file, its inputs and outputs by name, no scalars."""

    def initialize(self, args):
        path = Path(args["model_repository"]) / args["model_version"] / "model.onnx"
        self.session = onnxruntime.InferenceSession(str(path))
        self.seen = open(Path(args["model_repository"]) / "seen.txt", "a", buffering=1)

    def execute(self, requests):
        """One run for all that the batcher joined, as Triton's own backends do."""
        parts = [pb_utils.get_input_tensor_by_name(request, "images").as_numpy() for request in requests]
        images = np.concatenate(parts)
        self.seen.write(" ".join(map(str, images.shape)) + "\\n")
        names = [value.name for value in self.session.get_outputs()]
        values = [value[:, None] if value.ndim == 1 else value for value in self.session.run(names, {"images": images})]
        ends = np.cumsum([len(part) for part in parts])
        return [
            pb_utils.InferenceResponse(
                [pb_utils.Tensor(name, value[end - len(part) : end]) for name, value in zip(names, values)]
            )
            for part, end in zip(parts, ends)
        ]
'''
FACTS = """
import sys, sysconfig
print(sysconfig.get_path("purelib"), sys.base_prefix, "%d.%d" % sys.version_info[:2], sep="\\n")
"""


def stand_in(network: Path) -> None:
    """Let the Python backend run the network in `network`; all else of its configuration stays."""
    text = (network / "config.pbtxt").read_text(encoding="utf-8")
    assert 'backend: "onnxruntime"' in text
    text = text.replace('backend: "onnxruntime"', 'backend: "python"').replace("KIND_AUTO", "KIND_CPU")
    (network / "config.pbtxt").write_text(text, encoding="utf-8")
    (network / "1" / "model.py").write_text(STAND_IN, encoding="utf-8")


def free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


@contextmanager
def triton_server(python: Path, repository: Path, work: Path) -> Iterator[str]:
    """Start it with `repository`; gives the address for gRPC once it is ready, and stops it in the end.

    python: of the environment that has nvidia-pytriton, onnxruntime and cornernet.
    """
    facts = subprocess.run([python, "-c", FACTS], capture_output=True, text=True, check=True, timeout=60)
    site, prefix, version = facts.stdout.splitlines()
    home = Path(site) / "pytriton" / "tritonserver"
    backend = work / "backends" / "python"
    shutil.copytree(home / "backends" / "python", backend)
    shutil.copy(home / "python_backend_stubs" / version / "triton_python_backend_stub", backend)
    binary = shutil.copy(home / "bin" / "tritonserver", work)
    Path(binary).chmod(0o755)
    http, grpc = free_ports(2)
    command = [
        *(binary, f"--model-repository={repository}", f"--backend-directory={work / 'backends'}"),
        *("--http-address=127.0.0.1", f"--http-port={http}", "--grpc-address=127.0.0.1", f"--grpc-port={grpc}"),
        *("--allow-metrics=false", "--exit-timeout-secs=5"),
    ]
    # The stub finds its packages through the `python` on the path, and the library of the very interpreter.
    settings = {
        **os.environ,
        "LD_LIBRARY_PATH": f"{site}/nvidia_pytriton.libs:{prefix}/lib",
        "PATH": f"{python.parent}:{os.environ['PATH']}",
    }
    log = work / "server.log"
    with log.open("wb") as file:
        server = subprocess.Popen(command, env=settings, stdout=file, stderr=subprocess.STDOUT, cwd=work)
    try:
        end = time.monotonic() + 120
        while "Started GRPCInferenceService" not in log.read_text(encoding="utf-8", errors="replace"):
            assert server.poll() is None and time.monotonic() < end, log.read_text(encoding="utf-8", errors="replace")
            time.sleep(0.2)
        yield f"127.0.0.1:{grpc}"
    finally:
        server.terminate()
        try:
            server.wait(30)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()
