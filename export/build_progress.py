"""Run a build so that it reports its phases, stops on Ctrl-C, and no Python exception travels through C++."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol

from cornernet.engine.backends.trt_api import TensorRT


class Progress(Protocol):
    """Told about the phases of a build; phases nest (`parent`). Called from TensorRT's threads."""

    def start(self, phase: str, parent: str | None, steps: int) -> None: ...

    def step(self, phase: str, step: int) -> None: ...

    def finish(self, phase: str) -> None: ...


def run_watched(api: TensorRT, config: Any, progress: Progress | None, build: Callable[[], Any]) -> Any:
    """The result of `build()`, which runs in a thread of its own.

    Python delivers Ctrl-C to the main thread only, which would sit in the builder and not see it; so it waits here
    instead, and the next report of the builder is answered with "stop". Then KeyboardInterrupt is raised. The first
    exception of `progress` stops the build the same way and is raised.
    """
    trt = api.module
    raised: list[BaseException] = []

    class Monitor(trt.IProgressMonitor):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            self._tell("start", phase_name, parent_phase, num_steps)

        def step_complete(self, phase_name: str, step: int) -> bool:
            self._tell("step", phase_name, step)
            return not raised

        def phase_finish(self, phase_name: str) -> None:
            self._tell("finish", phase_name)

        def _tell(self, event: str, *values: Any) -> None:
            if raised or progress is None:
                return
            try:
                getattr(progress, event)(*values)
            except Exception as error:  # kept whole and raised below: it must not unwind through the builder
                raised.append(error)

    monitor = Monitor()
    config.progress_monitor = monitor
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="tensorrt-build") as pool:
        future = pool.submit(build)
        try:
            result = future.result()
        except KeyboardInterrupt as interrupt:
            raised.append(interrupt)
            future.exception()
    if raised:
        raise raised[0]
    return result
