"""Pages that nobody needs go back while something is opened, and the thread that gives them ends with it."""

import mmap
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from cornernet.engine.backends import given_back as module
from cornernet.engine.backends.given_back import LARGE, given_back

linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="pages in memory are counted as Linux does")


def givers():
    return [thread for thread in threading.enumerate() if thread.name == "giving memory back"]


def resident(field):
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(field))


@linux
def test_pages_of_a_file_go_while_it_is_read_and_read_again_they_are_the_same(tmp_path):
    path = tmp_path / "weights"
    values = np.random.default_rng(0).integers(0, 256, 1 << 25, np.uint8)
    values.tofile(path)
    with path.open("rb") as file:
        pages = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
    content = np.frombuffer(pages, np.uint8)
    before = resident("RssFile")
    with given_back(LARGE, [pages]):
        np.testing.assert_array_equal(content, values)
        deadline = time.monotonic() + 30
        while resident("RssFile") > before + (1 << 23) and time.monotonic() < deadline:
            time.sleep(0.01)
        assert resident("RssFile") <= before + (1 << 23)
        np.testing.assert_array_equal(content, values)
    assert resident("RssFile") <= before + (1 << 23)
    assert not givers()


def test_the_thread_ends_with_an_error_too_and_a_small_file_has_none():
    with pytest.raises(KeyError), given_back(LARGE):
        assert len(givers()) == 1
        raise KeyError
    assert not givers()
    with given_back(LARGE - 1):
        assert not givers()


@pytest.mark.parametrize("error", [ValueError, OSError, AttributeError])
def test_without_glibc_nothing_is_trimmed(monkeypatch, error):
    def confstr(name):
        raise error

    module._trim.cache_clear()
    monkeypatch.setattr(module.os, "confstr", confstr)
    try:
        with given_back(0):
            pass
        assert module._trim()(0) is None
    finally:
        module._trim.cache_clear()
