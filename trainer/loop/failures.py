"""What ends a run: a loss that is not finite, and what torch raises when a machine gives up, each with a cure."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from cornernet.engine.errors import CornerNetError, TrainingError
from cornernet.engine.printable import printable

_NO_MEMORY = ("can't allocate memory", "not enough memory", "out of memory", "Cannot allocate memory")
_DEAD_WORKER = "DataLoader worker"
_DEAD_PEER = ("Connection closed by peer", "Connection reset by peer", "Broken pipe", "Timed out waiting", "NCCL")


@contextmanager
def explained(resume_file: Path) -> Iterator[None]:
    """Turn lack of memory, a killed data worker and a lost process into TrainingError.

    torch raises plain RuntimeErrors, a worker's death even from a signal handler, wherever the process just is.
    """
    try:
        yield
    except CornerNetError:
        raise
    except (RuntimeError, MemoryError) as error:
        text = " ".join(str(error).split())
        if isinstance(error, MemoryError | torch.OutOfMemoryError) or any(word in text for word in _NO_MEMORY):
            what = (
                f"the memory is full ({text[:200] or type(error).__name__}). A smaller --batch-size or --size, or "
                "--precision bf16, needs less."
            )
        elif _DEAD_WORKER in text:
            what = (
                f"a process that prepares batches was killed ({text[:200]}). Mostly memory has run out, in a container "
                "the shared one (docker run --shm-size): fewer --workers (0: none) or a smaller --batch-size need less."
            )
        elif any(word in text for word in _DEAD_PEER):
            what = f"another process of this training has ended or does not answer; see its own message ({text[:200]})."
        else:
            raise
        raise TrainingError(what + continuation(resume_file)) from error


def continuation(resume_file: Path) -> str:
    """How to go on, where there is something to go on from."""
    kept = resume_file.exists()
    return f" The last checkpoint is {printable(resume_file)}: continue with --resume." if kept else ""


def check_finite(loss: float, step: int, output: Path) -> None:
    """Raises TrainingError if `loss` is NaN or infinite; the checkpoints in `output` are older and stay."""
    if math.isfinite(loss):
        return
    kept, good, start = output / "last.pt", "No checkpoint had been written yet. ", ""
    if kept.exists():
        good = f"The last good checkpoint is {printable(kept)}. "
        start = f", with --init {printable(kept.with_suffix('.safetensors'))}"
    raise TrainingError(
        f"the loss became {loss} at step {step}. {good}Start a new run directory{start}, with a smaller "
        "--learning-rate, --set gradient_clip=10, or --precision fp32."
    )
