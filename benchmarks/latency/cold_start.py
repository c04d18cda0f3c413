"""From nothing to the first result: a fresh process imports, opens the model and detects once.

`python -m cornernet.benchmarks.latency.cold_start MODEL HEIGHT WIDTH [RUNTIME PRECISION]` prints one line of JSON;
`time_cold_start` runs that.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cornernet.engine.errors import BackendError

if TYPE_CHECKING:
    from cornernet.engine.backends.open import Precision, Runtime


def time_cold_start(
    model: Path,
    size: tuple[int, int],
    runtime: Runtime | None = None,
    precision: Precision | None = None,
    *,
    limit_s: float = 600,
) -> dict[str, float]:
    """Seconds: `import`, `open`, `first` (one image of noise, canvas of `size`), `process` (all that a caller waits).

    Raises BackendError with the last line of the child's complaint.
    """
    command = [sys.executable, "-m", "cornernet.benchmarks.latency.cold_start", str(model), *map(str, size)]
    command += [runtime or "", precision or ""]
    start = time.perf_counter()
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=limit_s, check=False)
    except subprocess.TimeoutExpired as error:
        raise BackendError(f"{model}: no first result within {limit_s:.0f} s") from error
    process = time.perf_counter() - start
    if done.returncode != 0:
        lines = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
        raise BackendError(f"{model}: a fresh process could not run it: {lines[-1]}")
    return {**json.loads(done.stdout.splitlines()[-1]), "process": process}


def _first_result(model: str, size: tuple[int, int], how: dict[str, Any]) -> dict[str, float]:
    marks = [time.perf_counter()]
    import numpy as np

    from cornernet.engine.detector import Detector
    from cornernet.trainer.deploy.open_model import open_model

    marks.append(time.perf_counter())
    backend = open_model(model, **how)
    marks.append(time.perf_counter())
    noise = np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)
    Detector(backend, resize="fit", size=size).predict(noise, batch_size=1)
    marks.append(time.perf_counter())
    backend.close()
    return dict(zip(("import", "open", "first"), (after - before for before, after in pairwise(marks))))


if __name__ == "__main__":
    given = {name: word for name, word in zip(("runtime", "precision"), sys.argv[4:]) if word}
    print(json.dumps(_first_result(sys.argv[1], (int(sys.argv[2]), int(sys.argv[3])), given)))
