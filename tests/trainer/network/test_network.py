"""The network against the official code's maps, and the promises its users rely on."""

import copy
import json
from dataclasses import replace

import numpy as np
import oracles_network
import pytest
import torch

from cornernet.engine.errors import ImageError, ModelError
from cornernet.trainer.import_weights.key_names import Origin, our_name
from cornernet.trainer.network.corner_net import CornerNet, Heads
from cornernet.trainer.network.presets import PRESETS, NetworkConfig, preset

# file prefix, origin of the names, the name its offsets have
FILES = {
    "hourglass-104": ("hourglass104", Origin.CORNERNET, "regrs"),
    "squeeze": ("squeeze", Origin.LITE_SQUEEZE, "offs"),
    "saccade": ("saccade", Origin.LITE_SACCADE, "offs"),
}


@pytest.fixture(scope="module", params=FILES)
def filled(request, golden):
    """A network with the recipe's weights, and its golden maps."""
    prefix, origin, offsets = FILES[request.param]
    folder = golden / "f_network"
    keys = json.loads((folder / f"{prefix}_state_dict_keys.json").read_text())["keys"]
    names = [(name.removeprefix("module."), tuple(shape)) for name, shape, _ in keys]
    with torch.device("meta"):
        network = CornerNet(preset(request.param, 80))
    state = {our_name(name, origin): torch.from_numpy(oracles_network.fill(name, shape)) for name, shape in names}
    network.load_state_dict(state, assign=True)
    return network.eval(), np.load(folder / f"{prefix}_127x127_outputs.npz"), offsets


@pytest.fixture(scope="module")
def tiny():
    torch.manual_seed(0)
    return CornerNet(preset("tiny", 3)).eval()


def test_every_head_of_every_stack_equals_the_official_maps(filled):
    network, expected, offsets = filled
    with torch.inference_mode():
        stacks = network(torch.from_numpy(expected["input"]))
    assert len(stacks) == network.config.stacks
    for stack, found in enumerate(stacks):
        heads = found.corners if network.config.attention else found
        for field, values in heads._asdict().items():
            corner = "tl" if field.startswith("top_left") else "br"
            kind = {"heatmap": "heats", "embedding": "tags", "offset": offsets}[field.rsplit("_", 1)[1]]
            golden_map = expected[f"s{stack}.{corner}_{kind}"]
            np.testing.assert_allclose(values.numpy(), golden_map, atol=1e-4, rtol=0, err_msg=f"{stack} {field}")
        for level, values in enumerate(found.attention if network.config.attention else ()):
            golden_map = expected[f"s{stack}.att{level}"]
            np.testing.assert_allclose(values.numpy(), golden_map, atol=1e-4, rtol=0, err_msg=f"{stack} {level}")


@pytest.mark.parametrize("filled", ["hourglass-104"], indirect=True)
def test_maps_inside_hourglass_104_equal_the_official_ones(filled, golden):
    network, outputs, _ = filled
    parts = {
        "pre": "backbone.stem",
        "kps.0": "backbone.hourglasses.0",
        "cnvs.0": "backbone.features.0",
        "inters.0": "backbone.merged.0",
        "kps.1": "backbone.hourglasses.1",
        "cnvs.1": "backbone.features.1",
        "tl_cnvs.1.p1_conv1": "corners.1.top_left.vertical",
        "tl_cnvs.1": "corners.1.top_left",
        "br_cnvs.1": "corners.1.bottom_right",
    }
    seen: dict[str, np.ndarray] = {}
    hooks = [
        network.get_submodule(part).register_forward_hook(
            lambda _m, _i, out, name=name: seen.update({name: (out[-1] if isinstance(out, list) else out).numpy()})
        )
        for name, part in parts.items()
    ]
    with torch.inference_mode():
        network(torch.from_numpy(outputs["input"]))
    for hook in hooks:
        hook.remove()
    expected = np.load(golden / "f_network" / "hourglass104_127x127_intermediate.npz")
    for name in parts:
        np.testing.assert_allclose(seen[name], expected[name], atol=1e-4, rtol=0, err_msg=name)


def test_inference_equals_the_last_stack_of_training(tiny):
    two_stacks = CornerNet(preset("tiny", 2, stacks=2)).eval()
    images = torch.randn(2, 3, 64, 96)
    with torch.inference_mode():
        for network in (tiny, two_stacks):
            stacks = network(images)
            assert len(stacks) == network.config.stacks
            for trained, inferred in zip(stacks[-1], network.last_heads(images)):
                torch.testing.assert_close(trained, inferred)


def test_inference_of_a_saccade_runs_the_last_attention_heads_only():
    network = CornerNet(preset("saccade-tiny", 2, stacks=2)).eval()
    images = torch.randn(2, 3, 64, 96)
    ran: list[str] = []
    with torch.inference_mode():
        stacks = network(images)
        for name, module in network.named_modules():
            module.register_forward_hook(lambda *_, name=name: ran.append(name))
        last = network.last_stack(images)
    torch.testing.assert_close(last, stacks[-1])
    torch.testing.assert_close(last.corners, network.last_heads(images))
    assert [tuple(values.shape) for values in last.attention] == [(2, 1, 4, 6), (2, 1, 8, 12), (2, 1, 16, 24)]
    assert any(name.startswith("attention.1") for name in ran)
    assert not [name for name in ran if name.startswith(("heads.0.", "corners.0.", "attention.0."))]


def test_inference_runs_only_the_last_stacks_heads_and_corner_modules():
    network = CornerNet(preset("tiny", 2, stacks=2)).eval()
    ran: list[str] = []
    for name, module in network.named_modules():
        module.register_forward_hook(lambda *_, name=name: ran.append(name))
    network.last_heads(torch.randn(1, 3, 64, 64))
    assert any(name.startswith("heads.1") for name in ran)
    assert not [name for name in ran if name.startswith(("heads.0.", "corners.0."))]


def test_a_head_can_be_run_alone_on_the_corner_features(tiny):
    images = torch.randn(1, 3, 64, 64)
    with torch.inference_mode():
        top_left, bottom_right = tiny.corner_features(images)
        heads = tiny.last_heads(images)
        torch.testing.assert_close(tiny.heads[-1].top_left.heatmap(top_left), heads.top_left_heatmap)
        torch.testing.assert_close(tiny.heads[-1].bottom_right.embedding(bottom_right), heads.bottom_right_embedding)
        torch.testing.assert_close(tiny.heads[-1].top_left.offset(top_left), heads.top_left_offset)


def test_head_maps_have_the_promised_channels_and_stride(tiny):
    with torch.inference_mode():
        heads = tiny.last_heads(torch.randn(2, 3, 96, 160))
    assert [tuple(values.shape) for values in heads] == [(2, c, 24, 40) for c in (3, 3, 1, 1, 2, 2)]
    assert Heads._fields[::2] == ("top_left_heatmap", "top_left_embedding", "top_left_offset")


@pytest.mark.parametrize("name", PRESETS)
def test_every_side_called_legal_fits_and_every_other_is_refused(name):
    config = preset(name, 2)
    with torch.device("meta"):
        network = CornerNet(config).eval()
        for side in range(config.size_multiple - config.stride - 1, config.size_multiple + 3):
            images = torch.empty(1, 3, side, config.size_multiple)
            if config.is_legal_side(side):
                assert network.last_heads(images).top_left_heatmap.shape[2] == config.size_multiple // config.stride
            else:
                with pytest.raises(ImageError, match=f"{side} x {config.size_multiple} px"):
                    network(images)


def test_a_new_network_expects_corners_with_probability_a_tenth():
    network = CornerNet(preset("saccade-tiny", 5))
    for last in (network.heads[0].top_left.heatmap[-1], network.attention[0].large[-1]):
        torch.testing.assert_close(last.bias.sigmoid(), torch.full_like(last.bias, 0.1), atol=1e-3, rtol=0)


def test_without_corner_pooling_a_cell_sees_its_neighbourhood_only():
    spread = {}
    for pooling in (True, False):
        torch.manual_seed(0)
        config = preset("tiny", 1, corner_pooling=pooling)
        module = CornerNet(config).eval().corners[-1].top_left
        feature = torch.zeros(1, config.feature_channels, 40, 40)
        far = feature.clone()
        far[..., -2, 1] = 100
        with torch.inference_mode():
            spread[pooling] = float((module(far) - module(feature))[..., 1, 1].abs().max())
    assert spread[True] > 0 and spread[False] == 0


def test_a_deep_copy_is_independent_and_equal(tiny):
    copied = copy.deepcopy(tiny)
    images = torch.randn(1, 3, 64, 64)
    with torch.inference_mode():
        torch.testing.assert_close(copied.last_heads(images), tiny.last_heads(images))
    assert copied.heads[0].top_left.offset[1].weight is not tiny.heads[0].top_left.offset[1].weight


def test_channels_last_gives_the_same_maps(tiny):
    images = torch.randn(2, 3, 64, 96)
    other = copy.deepcopy(tiny).to(memory_format=torch.channels_last)
    with torch.inference_mode():
        for plain, last in zip(
            tiny.last_heads(images), other.last_heads(images.to(memory_format=torch.channels_last)), strict=True
        ):
            torch.testing.assert_close(plain, last, atol=1e-4, rtol=1e-4)


def test_the_network_compiles_into_one_graph_and_trains_compiled():
    small = preset("tiny", 1, dims=(8, 8), modules=(1, 1), stem_channels=(4, 8), feature_channels=8)
    network = CornerNet(small).train()
    compiled = copy.deepcopy(network)
    images = torch.randn(2, 3, 64, 64)
    total = sum(values.square().mean() for values in network(images)[0])
    total.backward()
    expected = [parameter.grad.clone() for parameter in network.parameters()]
    sum(
        values.square().mean() for values in torch.compile(compiled, backend="aot_eager", fullgraph=True)(images)[0]
    ).backward()
    for parameter, gradient in zip(compiled.parameters(), expected):
        torch.testing.assert_close(parameter.grad, gradient, atol=1e-5, rtol=1e-3)


def test_batch_norm_survives_bfloat16_autocast_training(tiny):
    network = copy.deepcopy(tiny).train()
    with torch.autocast("cpu", torch.bfloat16):
        total = sum(values.float().square().mean() for values in network(torch.randn(2, 3, 64, 64))[0])
    total.backward()
    assert all(bool(parameter.grad.isfinite().all()) for parameter in network.parameters())


@pytest.mark.parametrize("name", PRESETS)
def test_a_config_survives_json(name):
    config = preset(name, 7)
    assert NetworkConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"colour": 1}, "unknown keys \\['colour'\\]"),
        ({"num_classes": 0}, "num_classes is 0; expected 1 to 65536"),
        ({"num_classes": "3"}, "num_classes is '3'; expected a int"),
        ({"dims": [32, 48.5]}, "dims is"),
        ({"dims": [32]}, "two to 8 levels"),
        ({"modules": [1]}, "modules is \\(1,\\)"),
        ({"stem_channels": [16, 31]}, "equal to dims\\[0\\], 32"),
        ({"block": "bottleneck"}, "block is 'bottleneck'"),
        ({"map_stride": 16}, "map_stride is 16"),
        ({"backbone": "timm:resnet18", "stacks": 2}, "stacks is 2; expected 1"),
        ({"backbone": "timm:resnet18", "attention": True}, "attention is True; expected False"),
        ({"attention": True, "dims": [32, 64], "modules": [1, 1]}, "dims is .* expected four levels"),
    ],
)
def test_a_config_that_describes_no_network_is_refused_with_the_field(change, message):
    with pytest.raises(ModelError, match=message):
        NetworkConfig.from_dict(preset("tiny", 3).to_dict() | change)


def test_a_config_without_attention_is_what_older_versions_read():
    assert "attention" not in preset("tiny", 7).to_dict()
    assert preset("saccade-tiny", 7).to_dict()["attention"] is True


def test_a_config_without_classes_is_refused():
    with pytest.raises(ModelError, match="lacks \\['num_classes'\\]"):
        NetworkConfig.from_dict({"name": "x"})


def test_an_unknown_preset_is_refused_with_the_known_ones():
    with pytest.raises(ModelError, match="hourglass-104"):
        preset("hourglass-52", 80)


def test_presets_differ_from_their_changed_copies_in_the_changed_field_only():
    assert preset("tiny", 3, corner_pooling=False) == replace(preset("tiny", 3), corner_pooling=False)
