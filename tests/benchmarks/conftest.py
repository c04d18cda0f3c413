"""A model file for benchmarks that takes no time to make or run."""

import pytest
from fake_backends import make_card, write_onnx


@pytest.fixture(scope="session")
def bright_model(tmp_path_factory):
    """An ONNX file that finds the bright box."""
    return write_onnx(tmp_path_factory.mktemp("model") / "bright.onnx", make_card())
