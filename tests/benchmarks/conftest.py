"""Model files for benchmarks that take no time to run."""

import pytest
from fake_backends import make_card, write_onnx
from lively_network import MICRO, card_of, lively_network


@pytest.fixture(scope="session")
def bright_model(tmp_path_factory):
    """An ONNX file that finds the bright box."""
    return write_onnx(tmp_path_factory.mktemp("model") / "bright.onnx", make_card())


@pytest.fixture(scope="session")
def micro_model(tmp_path_factory):
    """An exported network of every part that the paper's has, which finds boxes."""
    from cornernet.export.onnx_export import export_onnx

    network = lively_network(MICRO)
    path = tmp_path_factory.mktemp("model") / "micro.onnx"
    export_onnx(network, card_of(network), path)
    return path
