"""All stages at once: images are read and placed while the model runs and while finished batches become results.

source    the caller's iterator -> reading jobs; one thread, since it may block
pool      read, place, finish; `workers` threads
assembly  images in order -> windows -> batches in memory that the backend lends; one thread
runners   backend.run; as many threads as the backend takes batches at once; none for one that computes on the CPU
looking   the next look of windows all of whose batches were run, for a network that looks more than once; one thread
caller    results in order; where there is no runner, backend.run too

A runtime on the CPU keeps threads of its own for each thread that calls it: in a new runner for every run it would
start them anew, and it has no use for the time in which the caller looks at a result.

Windows, and so batches, are those of serial.py wherever the source keeps up, so results are the same to the bit.
"""

from __future__ import annotations

import atexit
import os
import threading
import weakref
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from typing import Any

import numpy as np

from cornernet.engine.backends.contract import batches_in_flight, computes_on_cpu
from cornernet.engine.backends.placing import Packed
from cornernet.engine.reading.images import ImageSource
from cornernet.engine.reading.video import Frame
from cornernet.engine.running.channel import Channel, Closed
from cornernet.engine.running.jobs import Job, Window
from cornernet.engine.running.memory import Memory
from cornernet.engine.running.opencv_threads import opencv_alone
from cornernet.engine.running.room import Room
from cornernet.engine.running.stages import Batch, Loaded, Stages

SOURCE_SECONDS = 1.0
"""How long closing waits for the source thread: what blocks inside the caller's iterator cannot be woken."""

_running: weakref.WeakSet[Pipeline] = weakref.WeakSet()


class Pipeline:
    """One run over one source. `results` may be called once.

    Memory: the images that were read and are not placed yet have at most `stages.max_pixels` pixels, and one picture a
    worker more; at most `window + prefetch` images are anywhere between the source and the caller; the canvases (or the
    images that a device makes them of) of at most `in_flight + 2` batches exist.

    batch_size: canvases that the model gets at once. window: images looked at together, so that equal canvases meet.
    prefetch: images read ahead of a window. workers: threads that read, place and finish.
    patience: seconds after which a source that gives nothing no longer holds up what was read; None: for ever.
    """

    def __init__(
        self,
        stages: Stages,
        memory: Memory,
        sources: Iterable[ImageSource],
        *,
        batch_size: int,
        window: int,
        prefetch: int,
        workers: int,
        patience: float | None = None,
    ) -> None:
        self._stages, self._memory, self._sources = stages, memory, sources
        self._batch_size, self._window, self._patience = batch_size, window, patience
        self._workers, at_once = workers, batches_in_flight(stages.backend)
        self._runners = 0 if computes_on_cpu(stages.backend) and at_once == 1 else at_once
        self._room = Room(images=window + prefetch, pixels=stages.max_pixels, workers=workers)
        # All but the last are bounded by the room for images; each closes with the pipeline.
        self._read: Channel[Loaded | Future[Loaded] | BaseException | None] = Channel()
        self._ready: Channel[Job | None] = Channel()
        self._looking: Channel[Window] = Channel()
        self._windows: Channel[Window | BaseException | None] = Channel()
        self._lent: Channel[None] = Channel(capacity=at_once + 2)
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="cornernet-worker")
        self._threads: list[threading.Thread] = []
        self._counting = threading.Lock()
        self._open: set[Window] = set()
        self._failure: BaseException | None = None
        self._process = os.getpid()

    def results(self) -> Generator[Any, None, None]:
        """The results in order. What the caller's iterator raises is raised here, after the results before it.

        Nothing is read before the first result is asked for. Closing the generator ends all threads.
        """
        _running.add(self)
        try:
            for name, work in (("source", self._read_source), ("assembly", self._assemble)):
                self._start(name, work)
            if self._stages.looks > 1:
                self._start("looking", self._look_again)
            for number in range(self._runners):
                self._start(f"runner-{number}", self._run)
            while (window := self._next_window()) is not None:
                for part in window.finishing:
                    yield from part.result()
        except (Closed, CancelledError):
            if self._failure is not None:
                raise self._failure from None
        finally:
            self.stop()

    def stop(self) -> None:
        """End all threads. A batch that runs is waited for: the model may be closed right afterwards."""
        if os.getpid() != self._process:
            return  # a fork has none of the threads, and locks that nobody will open
        self._close()
        self._pool.shutdown(wait=True, cancel_futures=True)
        for thread in self._threads:
            thread.join(SOURCE_SECONDS if thread.name == "cornernet-source" else None)
        _running.discard(self)

    def _next_window(self) -> Window | None:
        window = self._windows.get()
        if isinstance(window, BaseException):
            raise window
        if window is not None:
            while self._runners == 0 and not window.ran.is_set():
                self._run_next()  # batches come in the order of their windows
            window.ran.wait()
            if self._failure is not None:
                raise self._failure
            self._open.discard(window)
            if self._stages.keep_images:  # from here on the pictures are the caller's
                self._room.placed(sum(loaded.area for loaded in window.images))
            self._room.leave(len(window.images))
        return window

    def _start(self, name: str, work: Callable[[], None]) -> None:
        def guarded() -> None:
            try:
                work()
            except (Closed, CancelledError):
                pass
            except BaseException as error:  # a mistake of ours: the caller must not wait for ever
                self._fail(error)

        thread = threading.Thread(target=guarded, name=f"cornernet-{name}", daemon=True)
        self._threads.append(thread)
        thread.start()

    def _fail(self, error: BaseException) -> None:
        self._failure = self._failure or error
        self._close()

    def _close(self) -> None:
        self._room.close()
        for channel in (self._read, self._ready, self._looking, self._windows, self._lent):
            channel.close()
        for window in list(self._open):
            window.ran.set()

    def _read_source(self) -> None:
        end: BaseException | None = None
        sources = iter(self._sources)
        try:
            for index, source in enumerate(sources):
                self._read.put(self._begin_loading(index, source))
        except (Closed, CancelledError):
            raise
        except BaseException as error:  # handed to the caller, whatever it is
            end = error
        finally:
            close = getattr(sources, "close", None)
            if close is not None:
                close()
        self._read.put(end)

    def _begin_loading(self, index: int, source: ImageSource) -> Loaded | Future[Loaded]:
        plain = isinstance(source, np.ndarray) and self._stages.rules.channel_order == "bgr"
        if plain or isinstance(source, Frame):  # it is there already; only shape and type are looked at
            loaded = self._stages.load((index, source))
            self._room.loaded(self._room.enter(loaded.area), loaded.area)
            return loaded
        counted = self._room.enter(None)

        def load() -> Loaded:
            loaded = self._stages.load((index, source))
            self._room.loaded(counted, loaded.area)
            return loaded

        return self._pool.submit(load)

    def _assemble(self) -> None:
        images: list[Loaded] = []
        pixels = 0
        while True:
            try:
                loading = self._read.get(self._patience if images else None)
            except TimeoutError:  # a camera that waits: what it gave before is not held back
                self._dispatch(images)
                images, pixels = [], 0
                continue
            if loading is None or isinstance(loading, BaseException):
                self._dispatch(images)
                self._windows.put(loading)
                return
            images.append(loading if isinstance(loading, Loaded) else loading.result())
            pixels += images[-1].area
            # The second condition bounds memory: few large pictures, or many small ones.
            if len(images) >= self._window or pixels >= self._stages.max_pixels:
                self._dispatch(images)
                images, pixels = [], 0

    def _dispatch(self, images: list[Loaded]) -> None:
        """Send a window on its way."""
        window = Window(images)
        self._open.add(window)
        batches = self._next_look(window)  # with none it is finished before the caller sees it, who would wait for one
        self._windows.put(window)
        self._send(window, batches)

    def _look_again(self) -> None:
        while True:
            window = self._looking.get()
            batches = self._next_look(window)
            if not batches:
                self._ready.put(None)  # the caller may wait for a batch to run
            self._send(window, batches)

    def _next_look(self, window: Window) -> list[Batch]:
        """The batches of a window's next look; where no look has any the window is finished."""
        while window.looks < self._stages.looks:
            window.looks += 1
            batches = self._stages.views(window.images, self._batch_size)
            if batches:
                window.to_place = window.to_run = len(batches)
                return batches
        self._let_go(window)
        self._finish(window)
        return []

    def _send(self, window: Window, batches: list[Batch]) -> None:
        for batch in batches:
            self._lent.put(None)
            memory = self._memory.borrow(self._stages.bytes_to_place(batch, window.images))
            placed = self._pool.submit(self._place, window, batch, memory)
            self._ready.put(Job(window, batch, memory, placed))

    def _place(self, window: Window, batch: Batch, memory: np.ndarray) -> np.ndarray | Packed:
        with opencv_alone():
            placed = self._stages.place(batch, window.images, memory)
        with self._counting:
            window.to_place -= 1
            last = window.to_place == 0 and window.looks == self._stages.looks
        if last:
            self._let_go(window)
        return placed

    def _let_go(self, window: Window) -> None:
        """Of pictures that lie on all their canvases."""
        if not self._stages.keep_images:
            area = sum(loaded.area for loaded in window.images)
            for loaded in window.images:
                loaded.pixels = None
            self._room.placed(area)

    def _run(self) -> None:
        while True:
            self._run_next()

    def _run_next(self) -> None:
        job = self._ready.get()
        if job is None:
            return
        self._stages.run(job.batch, job.window.images, job.placed.result())
        self._memory.give_back(job.memory)
        self._lent.get()
        with self._counting:
            job.window.to_run -= 1
            last = job.window.to_run == 0
        if last and job.window.looks < self._stages.looks:
            self._looking.put(job.window)  # not here: its batches may have to wait for those that run
        elif last:
            self._finish(job.window)

    def _finish(self, window: Window) -> None:
        """Results of a window all of whose batches were run, in as many parts as can be worked on at once."""
        size = -(-len(window.images) // self._workers) or 1
        for start in range(0, len(window.images), size):
            window.finishing.append(self._pool.submit(self._results_of, window.images[start : start + size]))
        window.ran.set()

    def _results_of(self, images: list[Loaded]) -> list[Any]:
        return [self._stages.finish(loaded) for loaded in images]


@atexit.register
def _stop_all() -> None:
    """Threads that still run a model when the interpreter takes itself apart would crash it."""
    for pipeline in list(_running):
        pipeline.stop()
