"""Images that go through the stages together, and one batch of theirs on its way to the model."""

from __future__ import annotations

import threading
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from cornernet.engine.backends.placing import Packed
from cornernet.engine.running.stages import Batch, Loaded


@dataclass(eq=False)
class Window:
    """Consecutive images until their results are taken. `finishing` holds the results once `ran` is set.

    looks: how often they were looked at; to_place, to_run: batches of the latest look that are not there yet.
    """

    images: list[Loaded]
    looks: int = 0
    to_place: int = 0
    to_run: int = 0
    ran: threading.Event = field(default_factory=threading.Event)
    finishing: list[Future[list[Any]]] = field(default_factory=list)


@dataclass(frozen=True)
class Job:
    """A batch on its way to the model, in `memory`; complete once `placed` is done."""

    window: Window
    batch: Batch
    memory: np.ndarray
    placed: Future[np.ndarray | Packed]
