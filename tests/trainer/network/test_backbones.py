"""Other feature extractors under the same corner modules and heads."""

import copy

import pytest
import torch
from torch import Tensor, nn

from cornernet.engine.errors import ModelError
from cornernet.engine.model_card import ModelCard
from cornernet.trainer.network.backbones import BACKBONES, build_backbone, register_backbone
from cornernet.trainer.network.checkpoint import load_checkpoint, save_checkpoint
from cornernet.trainer.network.corner_net import CornerNet
from cornernet.trainer.network.cost import count_parameters
from cornernet.trainer.network.feature_pyramid import FeaturePyramid
from cornernet.trainer.network.presets import NetworkConfig, preset
from cornernet.trainer.network.resnet import resnet50, resnet101


class Strides(nn.Module):
    """The smallest extractor: average pools."""

    channels, reductions = (3, 3, 3), (4, 8, 16)

    def forward(self, images: Tensor) -> list[Tensor]:
        return [nn.functional.avg_pool2d(images, reduction) for reduction in self.reductions]


@pytest.fixture
def own_backbone():
    """A registered backbone of stride 8, forgotten afterwards."""
    register_backbone("pools", lambda config: FeaturePyramid(Strides(), config.feature_channels, config.stride))
    yield "pools"
    del BACKBONES["pools"]


# torchvision's published counts less its classifier (2048 x 1000 + 1000).
@pytest.mark.parametrize(("build", "total"), [(resnet50, 25_557_032), (resnet101, 44_549_160)])
def test_resnets_have_the_published_parameters(build, total):
    with torch.device("meta"):
        assert sum(parameter.numel() for parameter in build().parameters()) == total - 2_049_000


def test_resnet_parameters_have_the_names_of_published_weight_files():
    with torch.device("meta"):
        names = set(resnet50().state_dict())
    assert {"conv1.weight", "bn1.running_mean", "layer1.0.downsample.0.weight", "layer4.2.bn3.bias"} <= names


@pytest.mark.parametrize("stride", [4, 8])
@pytest.mark.parametrize("name", ["fpn-resnet50", "fpn-resnet101"])
def test_a_pyramid_gives_one_map_of_the_asked_stride(name, stride):
    config = preset(name, 3, map_stride=stride)
    with torch.device("meta"):
        network = CornerNet(config).eval()
        assert count_parameters(network).total == count_parameters(network).inference
        for height, width in [(128, 160), (125, 157) if stride == 4 else (121, 153)]:
            stacks = network(torch.empty(2, 3, height, width))
            assert [tuple(values.shape) for values in stacks[0]] == [
                (2, channels, 128 // stride, 160 // stride) for channels in (3, 3, 1, 1, 2, 2)
            ]


def test_the_finest_map_hears_from_every_level():
    torch.manual_seed(0)
    pyramid = FeaturePyramid(Strides(), 8, 4)
    pyramid(torch.rand(1, 3, 64, 64)).square().sum().backward()
    assert all(bool(parameter.grad.abs().sum() > 0) for parameter in pyramid.parameters())


def test_levels_finer_than_the_stride_are_left_out():
    assert len(FeaturePyramid(Strides(), 8, 8).laterals) == 2


def test_a_pyramid_without_a_map_of_the_stride_is_refused():
    with pytest.raises(ModelError, match=r"maps of stride \(4, 8, 16\); expected one of stride 2"):
        FeaturePyramid(Strides(), 8, 2)


def test_an_own_backbone_is_built_trained_saved_and_loaded(own_backbone, tmp_path):
    config = NetworkConfig(
        "mine", 2, stacks=1, feature_channels=8, pool_channels=8, head_channels=8, backbone=own_backbone, map_stride=8
    )
    network = CornerNet(config)
    sum(values.square().mean() for values in network(torch.rand(2, 3, 64, 64))[0]).backward()
    assert all(parameter.grad is not None for parameter in network.parameters())
    card = ModelCard(name="mine", class_names=("a", "b"), category_ids=(1, 2), stride=8, size_multiple=32)
    save_checkpoint(tmp_path / "mine.safetensors", network, card)
    loaded, _ = load_checkpoint(tmp_path / "mine.safetensors")
    images = torch.rand(1, 3, 64, 96)
    with torch.inference_mode():
        torch.testing.assert_close(loaded.last_heads(images), network.eval().last_heads(images))


def test_a_taken_name_an_unknown_name_and_a_wrong_shape_are_refused(own_backbone):
    with pytest.raises(ModelError, match="exists already"):
        register_backbone("hourglass", lambda config: nn.Identity())
    with pytest.raises(ModelError, match=r"no backbone 'vgg'; expected one of \['fpn-resnet101'"):
        build_backbone(NetworkConfig("x", 1, stacks=1, backbone="vgg"))
    BACKBONES[own_backbone] = lambda config: nn.Identity()
    with pytest.raises(ModelError, match=r"has \(stride, channels\) \(None, None\); expected \(4, 256\)"):
        build_backbone(NetworkConfig("x", 1, stacks=1, backbone=own_backbone))


def test_a_pyramid_keeps_its_custom_operators_when_sides_are_symbols():
    network = CornerNet(preset("fpn-resnet50", 2)).eval()
    height, width = torch.export.Dim("height", max=8), torch.export.Dim("width", max=8)
    program = torch.export.export(
        network,
        (torch.rand(2, 3, 96, 128),),
        dynamic_shapes=({0: torch.export.Dim("n"), 2: 32 * height, 3: 32 * width},),
    )
    pools = [node for node in program.graph.nodes if "corner_pool" in str(node.target)]
    assert len(pools) == 2
    images = torch.rand(1, 3, 64, 160)
    with torch.inference_mode():
        torch.testing.assert_close(program.module()(images), network(images), atol=1e-4, rtol=1e-3)


@pytest.fixture(scope="module")
def timm():
    try:
        import timm
    except (
        ImportError,
        RuntimeError,
    ) as error:  # torchvision, which timm needs, raises RuntimeError beside another torch
        pytest.skip(f"needs timm (extra `backbones`) and the torchvision that belongs to this torch: {error}")
    return timm


@pytest.mark.parametrize("name", ["resnet18", "convnext_atto"])
def test_a_timm_network_with_random_weights_becomes_a_cornernet(timm, name):
    network = CornerNet(preset(f"timm:{name}", 3, feature_channels=32, pool_channels=16, head_channels=16)).eval()
    with torch.inference_mode():
        assert network.last_heads(torch.rand(1, 3, 64, 96)).top_left_heatmap.shape == (1, 3, 16, 24)


def test_an_unknown_timm_network_is_refused(timm):
    with pytest.raises(ModelError, match="cannot build 'resnet_eighteen'"):
        CornerNet(preset("timm:resnet_eighteen", 3))


def test_swapping_red_and_blue_twice_changes_nothing_and_once_reads_bgr(timm):
    from cornernet.trainer.network.timm_backbone import TimmExtractor, swap_red_and_blue

    extractor = TimmExtractor("resnet18").eval()
    swapped = copy.deepcopy(extractor)
    swap_red_and_blue(swapped.network)
    rgb = torch.rand(1, 3, 64, 64)
    with torch.inference_mode():
        torch.testing.assert_close(swapped(rgb.flip(1)), extractor(rgb), atol=1e-4, rtol=1e-3)
    swap_red_and_blue(swapped.network)
    for parameter, original in zip(swapped.parameters(), extractor.parameters()):
        assert torch.equal(parameter, original)


def test_pretrained_weights_are_refused_for_other_backbones(timm):
    from cornernet.trainer.network.timm_backbone import load_pretrained

    with pytest.raises(ModelError, match="this is HourglassBackbone"):
        load_pretrained(CornerNet(preset("tiny", 2)).backbone)
