"""CornerNet-Saccade with the golden weights: the recipe's, last layers calibrated so that photographs hold objects."""

import hashlib
import json
from pathlib import Path

import numpy as np
import oracles_network
import torch

from cornernet.trainer.import_weights.key_names import Origin, our_name
from cornernet.trainer.network.corner_net import CornerNet
from cornernet.trainer.network.presets import preset


def calibrated_network(golden: Path) -> CornerNet:
    """The published architecture, 117 M parameters, in eval mode (golden README, h_saccade)."""
    keys = json.loads((golden / "f_network/saccade_state_dict_keys.json").read_text())["keys"]
    calibration = json.loads((golden / "h_saccade/calibration.json").read_text())
    content, state = hashlib.sha256(), {}
    for key, shape, _ in keys:
        name = key.removeprefix("module.")
        values = oracles_network.fill(name, tuple(shape))
        layer, _, kind = name.rpartition(".")
        if layer in calibration and kind == "weight":
            scale = np.reshape(calibration[layer]["scale"], (-1, 1, 1, 1))
            values = (values.astype(np.float64) * scale).astype(np.float32)
        elif layer in calibration:
            values = np.array(calibration[layer]["bias"], np.float32)
        if values.dtype == np.float32:
            content.update(values.tobytes())
        state[our_name(name, Origin.LITE_SACCADE)] = torch.from_numpy(values)
    assert content.hexdigest() == "0ab011e7b48187f0f5c6fbb1353a0315859a571046b402cc3bba7a206612dc32"
    with torch.device("meta"):
        network = CornerNet(preset("saccade", 80))
    network.load_state_dict(state, assign=True)
    return network.eval()
