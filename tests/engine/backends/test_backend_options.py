"""The typed options of `Detector` are those that the backends take."""

import inspect
import typing

import pytest

from cornernet.engine.backends.backend_options import BackendOptions
from cornernet.engine.backends.open import open_backend
from cornernet.engine.detector import Detector

OF_ALL = {"path", "runtime", "precision", "device", "threads"}


@pytest.mark.parametrize("function", [Detector.__init__, open_backend], ids=["Detector", "open_backend"])
def test_a_checker_knows_the_options_of_the_backends(function):
    (options,) = [one for one in inspect.signature(function).parameters.values() if one.kind is one.VAR_KEYWORD]
    assert options.annotation == "Unpack[BackendOptions]"


def test_the_options_are_those_that_the_backends_take():
    pytest.importorskip("openvino", reason="needs OpenVINO: pip install '.[openvino]'")
    pytest.importorskip("onnxruntime", reason="needs ONNX Runtime: pip install '.[cpu]'")
    from cornernet.engine.backends.onnxruntime import OnnxRuntimeBackend
    from cornernet.engine.backends.openvino import OpenVinoBackend
    from cornernet.engine.backends.tensorrt import TensorRTBackend
    from cornernet.trainer.deploy.open_model import open_weights

    backends = (OnnxRuntimeBackend, OpenVinoBackend, TensorRTBackend, open_weights)
    taken = {name for backend in backends for name in inspect.signature(backend).parameters}
    assert typing.get_type_hints(BackendOptions).keys() == taken - OF_ALL
