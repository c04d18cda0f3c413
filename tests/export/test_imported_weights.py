"""Weights of another project, imported: the exported file and the Detector give what the imported network gives."""

import json

import numpy as np
import onnxruntime
import oracles_network
import pytest
import torch

from cornernet.engine.detector import Detector
from cornernet.engine.model_card import HEAD_OUTPUTS
from cornernet.export.onnx_export import build_model, deployed_card
from cornernet.trainer.deploy.torch_backend import TorchBackend
from cornernet.trainer.import_weights import import_checkpoint


@pytest.fixture(scope="module")
def imported(golden, tmp_path_factory):
    """CornerNet-Squeeze with the recipe's weights, through a file as CornerNet-Lite writes it."""
    keys = json.loads((golden / "f_network" / "squeeze_state_dict_keys.json").read_text())["keys"]
    state = {
        name: torch.from_numpy(oracles_network.fill(name.removeprefix("module."), shape)) for name, shape, _ in keys
    }
    path = tmp_path_factory.mktemp("lite") / "CornerNet_Squeeze_500000.pkl"
    torch.save(state, path)
    return import_checkpoint(path)


@pytest.fixture(scope="module")
def picture():
    return np.random.default_rng(4).integers(0, 256, (127, 255, 3), np.uint8)


def write(imported, path, **settings):
    network, card = imported
    card = deployed_card(network, card, **settings)
    path.write_bytes(build_model(network, card).SerializeToString())
    return path


@pytest.mark.slow
def test_the_exported_heads_equal_the_imported_networks(imported, picture, tmp_path):
    network, card = imported
    session = onnxruntime.InferenceSession(write(imported, tmp_path / "heads.onnx", outputs="heads"))
    mean, std = torch.tensor(card.mean), torch.tensor(card.std)
    normalised = ((torch.from_numpy(picture) / 255 - mean) / std).permute(2, 0, 1)[None]
    with torch.inference_mode():
        heads = network.last_heads(normalised)
    got = session.run(list(HEAD_OUTPUTS), {"images": picture[None]})
    for name, ours, expected in zip(HEAD_OUTPUTS, got, heads, strict=True):
        np.testing.assert_allclose(ours, expected.numpy(), atol=1e-4, rtol=0, err_msg=name)


def test_the_detector_finds_the_same_boxes_in_the_exported_file(imported, picture, tmp_path):
    network, card = imported
    path = write(imported, tmp_path / "squeeze.onnx")
    with Detector(path) as deployed, Detector(TorchBackend(network, card)) as reference:
        assert deployed.card.decoder.top_k == 20 and deployed.card.class_names[0] == "person"
        pictures = [picture, picture[::-1, :160]]
        for ours, expected in zip(deployed.predict(pictures), reference.predict(pictures), strict=True):
            assert len(expected.boxes) > 0
            np.testing.assert_allclose(ours.boxes, expected.boxes, atol=1e-2)
            np.testing.assert_allclose(ours.scores, expected.scores, atol=1e-4)
            np.testing.assert_array_equal(ours.labels, expected.labels)
