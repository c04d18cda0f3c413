"""The kernels, called with numpy arrays: emulated on the CPU, emulated under the race detector, or on a GPU.

`kernels` runs every test of the arithmetic three times, through the same C entry points. The emulated libraries hold
the kernels' own source (see host_cuda.h) and are kept in build/emulated/, named after a hash of what went into them.
"""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from emulation import DeviceMemory, HostMemory, Kernels, built_emulation, compile_emulation

from cornernet import plugins
from cornernet.plugins.driver import Driver, DriverError


def _built(**options) -> Path:
    if shutil.which("g++") is None:
        pytest.skip("needs g++ to compile the kernels for the CPU")
    return built_emulation(**options)


@pytest.fixture(scope="session")
def emulated() -> Kernels:
    """Kernels compiled with g++ and the undefined-behaviour sanitizer."""
    return Kernels(_built(racecheck=False), HostMemory())


@pytest.fixture(scope="session")
def emulated_turing() -> Kernels:
    """The same, with the arithmetic that nvcc compiles for architectures below 8.0."""
    return Kernels(_built(defines=("CORNERNET_PAIRS_AS_FLOATS=1",)), HostMemory())


@pytest.fixture(scope="session")
def racecheck_of():
    """Builds kernels from a folder of sources under the race detector; without a folder, the kernels as they are."""

    def build(sources: Path | None, folder: Path | None) -> Kernels:
        library = _built(racecheck=True) if sources is None else compile_emulation(folder, sources, racecheck=True)
        return Kernels(library, HostMemory())

    return build


@pytest.fixture(scope="session")
def driver() -> Iterator[Driver]:
    try:
        with Driver() as device:
            yield device
    except DriverError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def kernels_of(request: pytest.FixtureRequest):
    """Kernels of an emulated library; without one, those of libcornernet_plugins.so on the GPU."""

    def load(emulated_library: Path | None) -> Kernels:
        if emulated_library is not None:
            return Kernels(emulated_library, HostMemory())
        driver = request.getfixturevalue("driver")
        library = plugins.library_path()
        if library is None:
            pytest.skip("needs the built plugin library: cmake -B build && cmake --build build")
        return Kernels(library, DeviceMemory(driver))

    return load


@pytest.fixture(scope="session", params=["emulated", "racecheck", pytest.param("cuda", marks=pytest.mark.gpu)])
def kernels(request: pytest.FixtureRequest) -> Iterator[Kernels]:
    """The same kernels in three ways; under the race detector the tests fail on any race."""
    if request.param == "emulated":
        yield request.getfixturevalue("emulated")
    elif request.param == "cuda":
        yield request.getfixturevalue("kernels_of")(None)
    else:
        yield request.getfixturevalue("racecheck_of")(None, None)


@pytest.fixture(autouse=True)
def no_races(request: pytest.FixtureRequest) -> Iterator[None]:
    kernels = request.getfixturevalue("kernels") if "kernels" in request.fixturenames else None
    count = getattr(kernels.launchers.library, "racecheck_races", None) if kernels else None
    before = count() if count else 0
    yield
    assert (count() if count else 0) == before, "data race between threads of a kernel, see stderr"
