"""Shared fixtures. Files outside the repository lie beside it; a clone without them skips those tests with a reason."""

import os
import re
from pathlib import Path

# One thread a process: small networks gain nothing from two, and lose much where several processes share two cores.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import pytest

CONCURRENT = re.compile(r"(^|_)(thread|process|rank|worker|fork|stream|prefetch)(s|es)?(_|$)")
"""Names are sentences: whatever speaks of these may fail in one run of many, and is repeated."""

ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / "shared"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if any(CONCURRENT.search(name) for name in (item.path.stem, item.name.partition("[")[0])):
            item.add_marker("concurrent")


@pytest.fixture(scope="session")
def root() -> Path:
    """The repository."""
    return ROOT


@pytest.fixture(scope="session")
def golden() -> Path:
    """Numbers produced by the official code."""
    folder = SHARED / "golden"
    if not folder.is_dir():
        pytest.skip("needs ../shared/golden (numbers of the official code), which is not beside this clone")
    return folder


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real data sets."""
    folder = SHARED / "data"
    if not folder.is_dir():
        pytest.skip("needs ../shared/data (real images), which is not beside this clone")
    return folder
