"""LeNet-5, AlexNet, VGG, SqueezeNet and DenseNet, beyond what every backbone is held to."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from striate import zoo

FAMILIES = {"lenet5": (1, 32, 32), "alexnet": (3, 64, 64), "vgg11_bn": (3, 32, 32)}
FAMILIES |= {"squeezenet1_0": (3, 64, 64), "densenet121": (3, 32, 32)}


def small(name, **options):
    """A network for five classes, the same every time."""
    torch.manual_seed(0)
    return zoo.create(name, num_classes=5, **options)


@pytest.mark.parametrize("name", FAMILIES)
def test_the_last_stage_is_what_the_head_reads(name):
    network, x = small(name).eval(), torch.randn(1, *FAMILIES[name])
    with torch.no_grad():
        features = network.forward_features(x)
        torch.testing.assert_close(network.forward_stages(x)[-1], features, rtol=0, atol=0)
        torch.testing.assert_close(network.forward_head(features), network(x), rtol=0, atol=0)
        kept = features.clone()
        network.forward_head(features)
    torch.testing.assert_close(features, kept, rtol=0, atol=0)  # no head writes into them


@pytest.mark.parametrize("name", FAMILIES)
def test_hooks_see_the_body_as_a_whole(name):
    network, seen = small(name).eval(), []
    network.features.register_forward_hook(lambda module, inputs, output: seen.append(output.shape))
    with torch.no_grad():
        network(torch.randn(1, *FAMILIES[name]))
    assert len(seen) == 1


def test_lenet5_by_its_layers():
    """The layers of the paper, written out."""
    network = zoo.create("lenet5").eval()
    x = torch.randn(2, 1, 32, 32)
    w = network.state_dict()
    y = F.avg_pool2d(torch.tanh(F.conv2d(x, w["features.c1.weight"], w["features.c1.bias"])), 2)
    y = F.avg_pool2d(torch.tanh(F.conv2d(y, w["features.c3.weight"], w["features.c3.bias"])), 2)
    y = torch.tanh(F.linear(y.flatten(1), w["features.c5.weight"].flatten(1), w["features.c5.bias"]))
    y = torch.tanh(F.linear(y, w["f6.weight"], w["f6.bias"]))
    expected = F.linear(y, w["output.weight"], w["output.bias"])
    torch.testing.assert_close(network(x), expected, rtol=1e-5, atol=1e-6)


def test_lenet5_counts_as_in_the_paper():
    sizes = [sum(p.numel() for p in layer.parameters()) for layer in zoo.create("lenet5").modules() if _holds(layer)]
    assert sizes == [156, 16 * (6 * 25 + 1), 48_120, 10_164, 850]  # of C3 the paper has 1,516, with fewer connections
    assert sum(sizes) == 61_706


def test_lenet5_reads_larger_images_at_every_fourth_pixel():
    network = zoo.create("lenet5").eval()
    x = torch.randn(1, 1, 40, 36)
    with torch.no_grad():
        grid = network.forward_features(x)
        assert grid.shape == (1, 120, 3, 2)
        one = network.forward_features(x[:, :, 8:40, 4:36])  # the last of them alone
    torch.testing.assert_close(grid[:, :, 2:3, 1:2], one, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("name", "layers"), [("alexnet", 2), ("vgg11", 2), ("squeezenet1_1", 1), ("densenet121", 58)])
def test_dropout_is_as_asked(name, layers):
    with torch.device("meta"):
        network = zoo.create(name, dropout=0.3)
    assert [module.p for module in network.modules() if isinstance(module, nn.Dropout)] == [0.3] * layers


def test_fresh_weights_keep_a_signal_alive():
    """Through the 16 convolutions of VGG-19, without normalisation."""
    torch.manual_seed(0)
    with torch.no_grad():
        grids = zoo.create("vgg19", num_classes=0).forward_stages(torch.randn(1, 3, 64, 64))
    assert all(0.3 < grid.std() < 5 for grid in grids)


def test_densenet_adds_channels_and_keeps_those_before():
    network = small("densenet121").eval()
    block = network.features.denseblock1
    x = torch.randn(1, 64, 8, 8)
    with torch.no_grad():
        y = block(x)
    assert y.shape == (1, 64 + 6 * 32, 8, 8)
    torch.testing.assert_close(y[:, :64], x, rtol=0, atol=0)


def _holds(layer):
    return isinstance(layer, nn.Conv2d | nn.Linear)
