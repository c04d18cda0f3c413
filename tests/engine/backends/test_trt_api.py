"""The adapter: which TensorRT is taken, what it is told when something is missing, its log, its plugin libraries."""

from __future__ import annotations

import logging
import subprocess
import sys
from types import SimpleNamespace

import pytest
from fake_cuda import FakeCuda
from fake_tensorrt import Severity, fake_tensorrt

from cornernet.engine.backends import trt_api
from cornernet.engine.errors import BackendError

needs_rtx = pytest.mark.skipif(
    "tensorrt_rtx" not in trt_api.available_flavours(), reason="needs tensorrt-rtx: pip install '.[rtx]'"
)


@pytest.fixture
def fresh_load():
    trt_api.load.cache_clear()
    yield trt_api.load
    trt_api.load.cache_clear()


def test_without_any_tensorrt_both_ways_to_install_one_are_named(fresh_load, monkeypatch):
    monkeypatch.setattr(trt_api, "available_flavours", lambda: ())
    with pytest.raises(BackendError, match=r"\[gpu\].* or .*\[rtx\]"):
        fresh_load()


def test_a_flavour_that_is_not_installed_or_unknown_is_refused_with_its_command(fresh_load, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    with pytest.raises(BackendError, match=r"tensorrt is not installed. pip install"):
        fresh_load("tensorrt")
    with pytest.raises(BackendError, match="unknown TensorRT flavour 'trt'"):
        fresh_load("trt")


def test_a_broken_installation_is_told_apart_from_a_missing_one(fresh_load, monkeypatch, tmp_path):
    (tmp_path / "tensorrt.py").write_text("raise ImportError('libnvinfer.so.10: cannot open shared object file')")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "tensorrt", raising=False)
    with pytest.raises(BackendError, match=r"installed but cannot be loaded: libnvinfer.so.10"):
        fresh_load("tensorrt")


def test_the_full_tensorrt_is_preferred(fresh_load, monkeypatch):
    module = fake_tensorrt(FakeCuda()).module
    monkeypatch.setitem(sys.modules, "tensorrt", module)
    monkeypatch.setattr(trt_api, "available_flavours", lambda: ("tensorrt", "tensorrt_rtx"))
    api = fresh_load()
    assert (api.flavour, api.version, api.is_rtx, api.has_own_graphs) == ("tensorrt", "10.16.1.11", False, False)
    assert fresh_load() is api


def test_warnings_go_to_the_python_log_and_errors_to_whoever_collects_them(caplog):
    logger = fake_tensorrt(FakeCuda()).logger
    caplog.set_level(logging.DEBUG, "cornernet.tensorrt")
    logger.log(Severity.WARNING, "slow")
    logger.log(Severity.ERROR, "lost")
    with logger.collect() as outer, logger.collect() as inner:
        logger.log(Severity.ERROR, "found\n  here")
    assert list(outer) == list(inner) == ["found here"]
    levels = [(record.levelname, record.message) for record in caplog.records]
    assert levels == [("WARNING", "slow"), ("ERROR", "lost"), ("DEBUG", "found\n  here")]


def test_the_parsers_remark_about_functions_called_twice_is_no_warning(caplog):
    logger = fake_tensorrt(FakeCuda()).logger
    caplog.set_level(logging.DEBUG, "cornernet.tensorrt")
    remark = "A node named x already exists, the output tensors of this new instance will not be queryable."
    logger.log(Severity.WARNING, remark)
    assert [record.levelname for record in caplog.records] == ["DEBUG"]


def registry_of(*creators: tuple[str, str]) -> SimpleNamespace:
    made = [SimpleNamespace(name=name, plugin_namespace=space) for name, space in creators]
    return SimpleNamespace(all_creators=made, load_library=lambda path: "handle")


def test_a_library_is_loaded_once_and_gives_the_names_of_our_operators_only(tmp_path, monkeypatch):
    api = fake_tensorrt(FakeCuda())
    registry, loaded = registry_of(("CornerPeaks", "cornernet"), ("Other", "")), []
    registry.load_library = lambda path: loaded.append(path) or "handle"
    monkeypatch.setattr(api.module, "get_plugin_registry", lambda: registry)
    library = tmp_path / "libcornernet_plugins.so"
    library.write_bytes(b"")
    assert api.load_plugins(library) == ("CornerPeaks",)
    assert api.load_plugins(library) == ("CornerPeaks",)
    assert loaded == [str(library)]


def test_a_second_library_with_the_same_operators_is_refused(tmp_path, monkeypatch):
    api = fake_tensorrt(FakeCuda())
    registry = registry_of(("CornerPeaks", "cornernet"))
    registry.load_library = lambda path: None
    monkeypatch.setattr(api.module, "get_plugin_registry", lambda: registry)
    library = tmp_path / "other.so"
    library.write_bytes(b"")
    with pytest.raises(BackendError, match="CornerPeaks are already registered"):
        api.load_plugins(library)


def test_the_variable_for_the_library_must_name_a_file(tmp_path, monkeypatch):
    library = tmp_path / "plugins.so"
    monkeypatch.setenv(trt_api.LIBRARY_VARIABLE, str(library))
    with pytest.raises(BackendError, match=r"plugins.so, which does not exist"):
        trt_api.find_plugin_library()
    library.write_bytes(b"")
    assert trt_api.find_plugin_library() == library


@needs_rtx
def test_the_true_registry_refuses_a_file_that_is_no_library_in_tensorrts_words(tmp_path):
    library = tmp_path / "no_library.so"
    library.write_bytes(b"text")
    code = "from cornernet.engine.backends import trt_api; from pathlib import Path; import sys\n"
    code += "trt_api.load('tensorrt_rtx').load_plugins(Path(sys.argv[1]))"
    done = subprocess.run([sys.executable, "-c", code, str(library)], capture_output=True, text=True)
    assert done.returncode == 1
    assert "BackendError: tensorrt_rtx" in done.stderr and "could not load" in done.stderr


@needs_rtx
def test_the_name_the_rtx_parser_asks_for_can_be_loaded_afterwards():
    code = (
        "import ctypes, tensorrt_rtx\n"
        "from cornernet.engine.backends import rtx_loader\n"
        "rtx_loader.make_parser_find_its_library(tensorrt_rtx)\n"
        "real = ctypes.CDLL('libtensorrt_rtx.so.1'); asked = ctypes.CDLL('libtensorrt_rtx.so')\n"
        "address = lambda library: ctypes.cast(library.getPluginRegistry, ctypes.c_void_p).value\n"
        "assert address(real) == address(asked)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@needs_rtx
def test_without_a_compiler_the_loader_explains_instead_of_aborting(tmp_path):
    code = "import tensorrt_rtx; from cornernet.engine.backends import rtx_loader\n"
    code += "rtx_loader.make_parser_find_its_library(tensorrt_rtx)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env={"PATH": str(tmp_path), "HOME": str(tmp_path)}
    )
    assert done.returncode == 1
    assert "Install a C compiler" in done.stderr and "export LD_LIBRARY_PATH=" in done.stderr
