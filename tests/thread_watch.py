"""What a run of many threads must not leave behind."""

import gc
import threading

import cv2
import pytest


def ours():
    """Threads that we started and that still run."""
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("cornernet-")]


@pytest.fixture(autouse=True)
def nothing_is_left_behind():
    """Neither threads nor another number of OpenCV's."""
    opencv = cv2.getNumThreads()
    yield
    gc.collect()
    assert ours() == []
    assert cv2.getNumThreads() == opencv
