"""Weight files of other projects: recognised, mapped, equal in what they compute; everything else refused in words."""

import json
from collections import OrderedDict

import numpy as np
import oracles_network
import pytest
import torch
from safetensors.torch import save_file

from cornernet.engine.errors import ModelError
from cornernet.engine.model_card import Saccade
from cornernet.engine.protocol import OFFICIAL
from cornernet.engine.reading.views import mirrors
from cornernet.trainer.import_weights import import_checkpoint
from cornernet.trainer.import_weights.coco_classes import COCO_CATEGORY_IDS, COCO_NAMES
from cornernet.trainer.import_weights.key_names import Origin, our_name
from cornernet.trainer.network.checkpoint import load_checkpoint, save_checkpoint
from cornernet.trainer.network.corner_net import CornerNet
from cornernet.trainer.network.presets import preset

KEY_FILES = {
    "official": "hourglass104",
    "lite": "lite_hourglass104",
    "mmdetection": "mmdet_cornernet",
    "squeeze": "squeeze",
    "saccade": "saccade",
}
HEATMAP_HEADS = ("_heats.", "_heat.")


def key_list(golden, project: str) -> list[tuple[str, tuple[int, ...], torch.dtype]]:
    keys = json.loads((golden / "f_network" / f"{KEY_FILES[project]}_state_dict_keys.json").read_text())["keys"]
    return [(name, tuple(shape), getattr(torch, dtype)) for name, shape, dtype in keys]


def hollow(golden, project: str, classes: int = 80) -> dict[str, torch.Tensor]:
    """A state_dict with the right names and shapes that takes no room: each tensor repeats one stored number."""
    state = OrderedDict()
    for name, shape, dtype in key_list(golden, project):
        if any(head in name for head in HEATMAP_HEADS) and shape[:1] == (80,):
            shape = (classes, *shape[1:])
        state[name] = torch.full((1,), 0.5).to(dtype).expand(shape) if shape else torch.zeros((), dtype=dtype)
    return state


@pytest.fixture(scope="module")
def hourglass_weights(golden):
    """Recipe weights of Hourglass-104 by official name."""
    return {
        name: torch.from_numpy(oracles_network.fill(name.removeprefix("module."), shape))
        for name, shape, _ in key_list(golden, "official")
    }


def renamed(golden, weights: dict[str, torch.Tensor], project: str) -> dict[str, torch.Tensor]:
    names = json.loads((golden / "f_network" / f"keymap_cornernet_to_{project}.json").read_text())["map"]
    return {names[name.removeprefix("module.")]: tensor for name, tensor in weights.items()}


def outputs_equal(network: CornerNet, golden, prefix: str, offsets: str) -> None:
    expected = np.load(golden / "f_network" / f"{prefix}_127x127_outputs.npz")
    with torch.inference_mode():
        heads = network.last_heads(torch.from_numpy(expected["input"]))
    for field, values in heads._asdict().items():
        corner = "tl" if field.startswith("top_left") else "br"
        kind = {"heatmap": "heats", "embedding": "tags", "offset": offsets}[field.rsplit("_", 1)[1]]
        last = expected[f"s{network.config.stacks - 1}.{corner}_{kind}"]
        np.testing.assert_allclose(values.numpy(), last, atol=1e-4, rtol=0, err_msg=field)


def as_official(golden, weights):
    return weights


def as_pytorch_0_4(golden, weights):
    return {name: tensor for name, tensor in weights.items() if not name.endswith("num_batches_tracked")}


def as_lite(golden, weights):
    return {f"module.{name}": tensor for name, tensor in renamed(golden, weights, "lite").items()}


def as_mmdetection(golden, weights):
    meta = {"CLASSES": COCO_NAMES, "epoch": 210, "config": "model = dict(type='CornerNet')"}
    return {"meta": meta, "state_dict": OrderedDict(renamed(golden, weights, "mmdet"))}


@pytest.mark.parametrize(
    ("write", "zipped", "entries"),
    [(as_official, True, 1128), (as_pytorch_0_4, False, 948), (as_lite, True, 1128), (as_mmdetection, True, 2)],
)
def test_hourglass_104_weights_of_every_project_give_the_official_maps(
    golden, tmp_path, hourglass_weights, write, zipped, entries
):
    content = write(golden, hourglass_weights)
    assert len(content) == entries
    path = tmp_path / "weights.pkl"
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    network, card = import_checkpoint(path)
    path.unlink()  # 800 MB
    assert network.config == preset("hourglass-104", 80) and not network.training
    assert card.parameters == 194_367_782 and card.gmacs == {"511x511": 343.172}
    outputs_equal(network, golden, "hourglass104", "regrs")


@pytest.mark.parametrize("suffix", ["pkl", "safetensors"])
def test_squeeze_weights_give_the_official_maps_and_survive_our_own_format(golden, tmp_path, suffix):
    keys = key_list(golden, "squeeze")
    weights = {
        name: torch.from_numpy(oracles_network.fill(name.removeprefix("module."), shape)) for name, shape, _ in keys
    }
    path = tmp_path / f"CornerNet_Squeeze_500000.{suffix}"
    save_file(weights, path) if suffix == "safetensors" else torch.save(weights, path)
    network, card = import_checkpoint(path)
    assert (card.name, card.stride, card.size_multiple) == ("squeeze", 8, 128)
    assert (card.decoder.top_k, card.decoder.num_dets) == (20, 100)
    save_checkpoint(tmp_path / "ours.safetensors", network, card)
    loaded, same_card = load_checkpoint(tmp_path / "ours.safetensors")
    assert same_card == card
    outputs_equal(loaded, golden, "squeeze", "offs")


@pytest.mark.parametrize(("file", "origin"), [("lite", Origin.LITE_CORNERNET), ("mmdet", Origin.MMDETECTION)])
def test_both_names_of_every_parameter_lead_to_the_same_one_of_ours(golden, file, origin):
    names = json.loads((golden / "f_network" / f"keymap_cornernet_to_{file}.json").read_text())["map"]
    with torch.device("meta"):
        own = set(CornerNet(preset("hourglass-104", 80)).state_dict())
    assert len(names) == 1128
    assert {our_name(name, Origin.CORNERNET) for name in names} == own
    for official, other in names.items():
        assert our_name(other, origin) == our_name(official, Origin.CORNERNET)


def save(content, path):
    torch.save(content, path)
    return path


def test_official_weights_are_bgr_with_the_papers_decoder_and_cocos_classes(golden, tmp_path):
    _, card = import_checkpoint(save(hollow(golden, "official"), tmp_path / "CornerNet_500000.pkl"))
    assert (card.channel_order, card.fill, card.mean[0]) == ("bgr", (0, 0, 0), 0.40789654)
    assert (card.decoder.top_k, card.decoder.num_dets, card.decoder.max_distance) == (100, 1000, 0.5)
    assert not card.decoder.clamp_corners and not card.decoder.reject_zero_size
    assert (card.class_names[0], card.category_ids[0]) == ("person", 1)
    assert (card.class_names[79], card.category_ids[79]) == ("toothbrush", 90)
    assert (card.class_names[11], card.category_ids[11]) == ("stop sign", 13)
    assert "CornerNet_500000.pkl" in card.source


def test_mmdetections_weights_are_rgb_with_mean_padding_and_its_rejects(golden, tmp_path):
    content = {"state_dict": hollow(golden, "mmdetection")}
    _, card = import_checkpoint(save(content, tmp_path / "cornernet.pth"))
    assert (card.channel_order, card.fill) == ("rgb", (124, 116, 104))
    np.testing.assert_allclose(np.array(card.mean) * 255, (123.675, 116.28, 103.53))
    np.testing.assert_allclose(np.array(card.std) * 255, (58.395, 57.12, 57.375))
    assert card.decoder.clamp_corners and card.decoder.reject_zero_size


@pytest.mark.parametrize(("project", "mirrored"), [("official", True), ("lite", True), ("squeeze", False)])
def test_under_the_official_protocol_the_mirrored_view_runs_where_the_project_runs_it(
    golden, tmp_path, project, mirrored
):
    _, card = import_checkpoint(save(hollow(golden, project), tmp_path / "x.pkl"))
    assert mirrors(card, OFFICIAL) is mirrored


@pytest.mark.parametrize("project", ["official", "lite", "squeeze", "mmdetection"])
def test_the_number_of_classes_comes_from_the_heatmap_head(golden, tmp_path, project):
    network, card = import_checkpoint(save(hollow(golden, project, classes=3), tmp_path / "x.pkl"))
    assert network.config.num_classes == 3
    assert card.class_names == ("class_0", "class_1", "class_2") and card.category_ids == (1, 2, 3)


@pytest.mark.parametrize("meta", [{"CLASSES": ["cat", "dog"]}, {"dataset_meta": {"classes": ("cat", "dog")}}])
def test_mmdetections_own_class_names_are_kept(golden, tmp_path, meta):
    content = {"meta": meta, "state_dict": hollow(golden, "mmdetection", classes=2)}
    assert import_checkpoint(save(content, tmp_path / "x.pth"))[1].class_names == ("cat", "dog")


def test_a_prefix_less_file_and_half_precision_are_read_too(golden, tmp_path):
    content = {
        name.removeprefix("module."): t.half() if t.is_floating_point() else t
        for name, t in hollow(golden, "squeeze").items()
    }
    network, _ = import_checkpoint(save(content, tmp_path / "x.pkl"))
    assert {parameter.dtype for parameter in network.parameters()} == {torch.float32}


def test_saccades_card_carries_the_settings_of_cornernet_lite(golden, tmp_path):
    _, card = import_checkpoint(save(hollow(golden, "saccade"), tmp_path / "CornerNet_Saccade_500000.pkl"))
    assert (card.name, card.train_size, card.max_size, card.size_multiple) == ("saccade", (255, 255), 256, 32)
    assert (card.parameters, card.gmacs) == (98_912_809, {"255x255": 96.062})
    decoder = card.decoder
    assert (decoder.top_k, decoder.num_dets, decoder.max_distance, decoder.reject_border) == (12, 12, 0.3, True)
    assert card.saccade == Saccade() and not mirrors(card, OFFICIAL)
    assert card.source.startswith("CornerNet-Saccade of CornerNet-Lite, imported from")


def test_every_official_name_of_a_saccade_is_one_of_ours(golden):
    with torch.device("meta"):
        own = set(CornerNet(preset("saccade", 80)).state_dict())
    names = [name.removeprefix("module.") for name, _, _ in key_list(golden, "saccade")]
    assert len(names) == 828
    assert {our_name(name, Origin.LITE_SACCADE) for name in names} == own


@pytest.mark.slow
def test_saccade_weights_give_the_official_maps_and_survive_our_own_format(golden, tmp_path):
    keys = key_list(golden, "saccade")
    path = tmp_path / "CornerNet_Saccade_500000.pkl"
    torch.save(
        {name: torch.from_numpy(oracles_network.fill(name.removeprefix("module."), shape)) for name, shape, _ in keys},
        path,
    )
    save_checkpoint(tmp_path / "ours.safetensors", *import_checkpoint(path))
    path.unlink()  # 470 MB
    network, card = load_checkpoint(tmp_path / "ours.safetensors")
    assert card.saccade == Saccade()
    outputs_equal(network, golden, "saccade", "offs")
    expected = np.load(golden / "f_network" / "saccade_127x127_outputs.npz")
    with torch.inference_mode():
        attention = network.last_stack(torch.from_numpy(expected["input"])).attention
    for level, values in enumerate(attention):
        np.testing.assert_allclose(values.numpy(), expected[f"s2.att{level}"], atol=1e-4, rtol=0, err_msg=f"{level}")


def test_our_own_weights_need_no_import(tmp_path):
    with pytest.raises(ModelError, match="already in this project's format"):
        import_checkpoint(save(CornerNet(preset("tiny", 2)).state_dict(), tmp_path / "x.pkl"))


def test_another_network_is_refused_with_its_first_keys(tmp_path):
    with pytest.raises(ModelError, match=r"begin with layer1\.weight"):
        import_checkpoint(save({"layer1.weight": torch.zeros(3)}, tmp_path / "x.pkl"))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda s: s.pop("module.pre.0.conv.weight"), r"1 missing \(by our names\): backbone\.stem\.0\.conv\.weight"),
        (lambda s: s.update({"module.ct_heats.0.0.conv.weight": torch.zeros(1)}), r"1 unexpected: ct_heats\.0\.0"),
        (
            lambda s: s.update({"module.pre.0.conv.weight": torch.zeros(128, 3, 3, 3)}),
            r"1 wrong shape: pre\.0\.conv\.weight is \(128, 3, 3, 3\), expected \(128, 3, 7, 7\)",
        ),
        (lambda s: s.pop("module.tl_heats.0.1.weight"), "without a heatmap head"),
    ],
)
def test_a_changed_architecture_is_refused_with_the_first_differing_keys(golden, tmp_path, damage, message):
    state = hollow(golden, "official")
    damage(state)
    with pytest.raises(ModelError, match=message):
        import_checkpoint(save(state, tmp_path / "x.pkl"))


def test_coco_has_80_distinct_names_and_its_ids_leave_the_known_gaps():
    assert len(set(COCO_NAMES)) == len(COCO_CATEGORY_IDS) == 80
    assert tuple(sorted(set(range(1, 91)) - {12, 26, 29, 30, 45, 66, 68, 69, 71, 83})) == COCO_CATEGORY_IDS
