"""A list of pictures through many Detectors at once: Ray Data's actors hold one each, and are replaced where they fall.

What is done is what lies in the output folder: a worker that dies loses at most the part it was at, which another one
does again under the same name; a job that dies goes on with the pictures that have no row yet.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from cornernet.engine.cluster.part_files import (
    hash_of_model,
    list_pictures,
    open_output,
    pictures_done,
    read_pictures,
    write_part,
)
from cornernet.engine.detector import Detector
from cornernet.engine.errors import BackendError, CornerNetError
from cornernet.engine.installation import missing
from cornernet.engine.results.detections import Detections

try:
    import ray
    import ray.data
    from ray.exceptions import RayError
except ImportError as error:
    raise missing("ray", "predicting on many machines") from error


@dataclass(frozen=True)
class PartDone:
    """A part of the list whose file is written. pid: of the worker, on its machine. of: pictures of the whole run."""

    pictures: int
    failed: int
    pid: int
    of: int


@dataclass(frozen=True)
class JobReport:
    """pictures: in the list; before: done by earlier runs; failed: of this run's, with an error in their row."""

    pictures: int
    before: int
    failed: int


def predict_on_cluster(
    model: str | os.PathLike[str],
    source: str,
    output: str,
    *,
    column: str = "path",
    workers: int | None = None,
    num_gpus: float = 0,
    num_cpus: int = 1,
    batch_size: int = 8,
    part_size: int = 256,
    address: str | None = None,
    retry_errors: bool = False,
    progress: Callable[[PartDone], object] = lambda part: None,
    **settings: Any,
) -> JobReport:
    """Find the boxes of every picture of `source`; write Parquet files into `output`, a row a picture.

    Args:
        model: a path that each machine of the cluster can open.
        source: a folder or bucket of pictures, or a Parquet table with their paths in `column`.
        output: a folder or bucket. What earlier runs of the same job wrote there is not done again.
        workers: Detectors at once; None: as many as the cluster has room for.
        num_gpus, num_cpus: of each worker; Ray counts them and gives each its own.
        part_size: pictures of one output file: what is done again where a worker falls.
        address: of a Ray cluster ("auto": the one of this machine); None: as RAY_ADDRESS says, else this machine alone.
        retry_errors: do those again that have an error in their row, as after a bucket could not be reached.
        settings: arguments of `Detector`.

    Raises:
        DatasetError, ModelError, OutputError: before anything runs, if source, model or output cannot be used.
        BackendError: Ray cannot start, or the model cannot be opened by a worker; finished parts stay.
    """
    for name, value in (("batch_size", batch_size), ("part_size", part_size), ("num_cpus", num_cpus)):
        if value < 1:
            raise ValueError(f"{name}={value}; expected at least 1")
    path = str(Path(model).absolute())
    digest = hash_of_model(path)
    pictures = list_pictures(source, column)
    open_output(output, {"model_sha256": digest, "settings": {key: repr(settings[key]) for key in sorted(settings)}})
    done = pictures_done(output, retry_errors=retry_errors)
    # Cut before what is done is left out: a worker of a driver that was killed may still be writing, and the same
    # pictures must then come together again, for the same name.
    slices = (pictures[start : start + part_size] for start in range(0, len(pictures), part_size))
    parts = [part for some in slices if (part := [picture for picture in some if picture not in done])]
    left = sum(map(len, parts))
    failed = 0
    if parts:
        try:
            _start(address)
            count = workers or _room(num_gpus, num_cpus)
            settings = {"threads": num_cpus, **settings}
            for part in _run(parts, path, output, batch_size, settings, min(count, len(parts)), num_gpus, num_cpus):
                failed += part.failed
                progress(part)
        except CornerNetError:
            raise
        except (RayError, ConnectionError, RuntimeError) as error:
            raise _in_our_words(error) from error
    return JobReport(len(pictures), len(pictures) - left, failed)


class PartPredictor:
    """What an actor holds: a Detector, for all parts that it is given.

    It opens with the first part, not with the actor: Ray would start an actor that cannot be made for ever anew.
    """

    def __init__(self, model: str, output: str, batch_size: int, settings: dict[str, Any]) -> None:
        self._open = partial(Detector, model, **settings)
        self._detector: Detector | None = None
        self._output = output
        self._batch_size = batch_size

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        """row: `paths` of a part. Its file is written before the row is given back; `error`: what ends the job."""
        paths, failed, ended = list(map(str, row["paths"])), 0, ""
        try:
            self._detector = self._detector or self._open()
            found = predict_addresses(self._detector, paths, self._batch_size)
            write_part(self._output, paths, found)
            failed = sum(one.error is not None for one in found)
        except Exception as error:
            ended = f"{error}" if isinstance(error, CornerNetError) else f"{type(error).__name__}: {error}"
        return {"pictures": len(paths), "failed": failed, "pid": os.getpid(), "error": ended}


def predict_addresses(detector: Detector, paths: Sequence[str], batch_size: int) -> list[Detections]:
    """One result per address, in order; a file that cannot be read is an error in its result."""
    unread: dict[int, str] = {}

    def contents() -> Any:
        for index, content in enumerate(read_pictures(paths)):
            if isinstance(content, Exception):
                unread[index] = str(content)
            yield b"" if isinstance(content, Exception) else content

    found = detector.predict(contents(), batch_size=batch_size)
    return [
        Detections.failed(unread[index], class_names=one.class_names) if index in unread else one
        for index, one in enumerate(found)
    ]


def _in_our_words(error: Exception) -> Exception:
    """The last of the many lines that Ray says."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return BackendError(f"the cluster gave up: {(lines or [type(error).__name__])[-1]}")


def _start(address: str | None) -> None:
    """Use the cluster there is, else make this machine one. Ray's own talk is left out, its errors are ours."""
    if not ray.is_initialized():
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    for name in ("ray.data", "ray"):
        logging.getLogger(name).setLevel(logging.ERROR)


def _room(num_gpus: float, num_cpus: int) -> int:
    """Workers that the cluster has room for, at least one."""
    there = ray.cluster_resources()
    room = int(there.get("CPU", 1) // num_cpus)
    return max(1, min(room, int(there.get("GPU", 0) // num_gpus)) if num_gpus else room)


def _run(
    parts: list[list[str]],
    model: str,
    output: str,
    batch_size: int,
    settings: dict[str, Any],
    workers: int,
    num_gpus: float,
    num_cpus: int,
) -> Any:
    """PartDone after PartDone, in any order. Ray starts an actor anew that died, and gives its part to another."""
    rows = ray.data.from_items([{"paths": part} for part in parts], override_num_blocks=len(parts))
    finished = rows.map(
        PartPredictor,  # type: ignore[arg-type]  # a class whose instances are called; the hint knows functions alone
        fn_constructor_kwargs={
            "model": model,
            "output": output,
            "batch_size": batch_size,
            "settings": settings,
        },
        num_gpus=num_gpus or None,
        num_cpus=num_cpus,
        compute=ray.data.ActorPoolStrategy(size=workers),
    )
    for row in finished.iter_rows():
        if row["error"]:
            raise BackendError(f"a worker cannot go on, finished parts are kept: {row['error']}")
        yield PartDone(int(row["pictures"]), int(row["failed"]), int(row["pid"]), sum(map(len, parts)))
