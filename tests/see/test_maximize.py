"""Activation maximisation finds what a filter looks for, and no look at a module changes it."""

import numpy as np
import pytest
import torch
from torch import nn

from striate import see
from striate.errors import ArgumentError
from striate.models import small
from tests.see.looking import assert_readable
from tests.see.test_watching import assert_equal, everything


def test_the_best_image_of_a_linear_filter_is_known():
    # The mean over all positions of a difference to the right is that of the last column and the first.
    net = nn.Sequential(nn.Conv2d(1, 1, (1, 2), bias=False))
    net[0].weight.data = torch.tensor([[[[-1.0, 1.0]]]])
    linear = nn.Sequential(nn.Flatten(), nn.Linear(64, 2))
    found = see.maximize(linear, "1", 1, size=8, steps=200)
    weights = linear[1].weight[1].detach()
    best = weights.clamp(min=0).sum() + linear[1].bias[1]
    assert found.activation > 0.9 * best.item()
    bright = found.image.reshape(-1) > 0.5
    strong = weights.abs().numpy() > 0.05
    assert (bright == (weights.numpy() > 0))[strong].mean() > 0.95
    assert see.maximize(net, "0", 0, size=12, steps=60).image[:, -1].mean() > 0.9


def trained():
    """A convolutional network that tells four positions of a bar apart, and its data."""
    torch.manual_seed(0)
    x = 0.3 * torch.rand(256, 1, 16, 16)
    y = torch.arange(256) % 4
    for index, kind in enumerate(y.tolist()):
        at = 3 + index % 8
        if kind == 0:
            x[index, :, at : at + 2] = 1
        elif kind == 1:
            x[index, ..., at : at + 2] = 1
        elif kind == 2:
            x[index, 0] += torch.eye(16)
        else:
            x[index, 0] += torch.eye(16).flip(0)
    net = nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(8, 12, 3), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(12, 4),
    )  # fmt: skip
    optimizer = torch.optim.Adam(net.parameters(), 1e-2)
    for _ in range(60):
        loss = nn.functional.cross_entropy(net(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert (net(x).argmax(1) == y).float().mean() > 0.95
    return net, x


def test_it_fires_a_filter_far_more_than_data_and_noise():
    net, x = trained()
    with torch.no_grad():
        on_data = {"7": net(x), "3": net[:4](x).mean((2, 3))}
    for layer, filters in (("7", range(4)), ("3", (0, 5))):
        for number in filters:
            found = see.maximize(net, layer, number, size=16)
            best = on_data[layer][:, number].max().item()
            assert found.activation > 1.25 * max(best, found.on_noise, 0.1)
            assert found.curve[-1] > found.curve[0]
            assert found.image.min() >= 0 and found.image.max() <= 1
            if layer == "7":
                image = torch.tensor(found.image).movedim(-1, 0)[None]
                assert net(image)[0, number].item() == pytest.approx(found.activation, rel=1e-4)


def test_seeds_limits_and_striate_models():
    model = small.build("cnn", (16, 16, 3), 4)
    found = see.maximize(model, "conv2d_1", 3, steps=12)
    assert found.limits == (0, 255)
    assert found.image.shape == (16, 16, 3)
    assert 100 < found.image.max() <= 255
    again, other = (see.maximize(model, "conv2d_1", 3, steps=12, seed=seed) for seed in (0, 1))
    assert np.array_equal(found.image, again.image)
    assert not np.array_equal(found.image, other.image)
    normal = see.maximize(nn.Conv2d(3, 2, 3), "", 0, limits=(-2, 2), size=(20, 12), steps=4)
    assert normal.image.shape == (20, 12, 3)
    assert normal.image.min() < 0
    assert_readable(found, "What fires filter 3 of layers.conv2d_1", "mean value; dashed: on noise")


def test_what_cannot_be_maximised():
    dead = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU())
    dead[0].bias.data.fill_(-100)
    with pytest.raises(ArgumentError, match="does not fire there at all"):
        see.maximize(dead, "1", 0, size=8)
    with pytest.raises(ArgumentError, match="filter=2: '1' has 2"):
        see.maximize(dead, "1", 2, size=8)
    with pytest.raises(ArgumentError, match="limits=\\(1, 0\\)"):
        see.maximize(dead, "0", 0, size=8, limits=(1, 0))


IMAGES = np.random.default_rng(0).random((4, 1, 12, 12)).astype(np.float32)
LOOKS = {
    "filters": lambda net: see.filters(net),
    "feature_maps": lambda net: see.feature_maps(net, IMAGES[0]),
    "shift": lambda net: see.shift(net, "0", IMAGES[0], (1, 1)),
    "receptive_field": lambda net: see.receptive_field(net, "3", IMAGES[0]),
    "firing": lambda net: see.firing(net, "2", IMAGES),
    "top_patches": lambda net: see.top_patches(net, "2", IMAGES, k=2),
    "maximize": lambda net: see.maximize(net, "3", 0, size=12, steps=3),
}


class Failing(nn.Module):
    fails = False

    def forward(self, x):
        if self.fails and x.device.type != "meta":
            raise KeyError("stop")
        return x


@pytest.mark.parametrize("fails", [False, True])
@pytest.mark.parametrize("name", LOOKS)
def test_a_look_changes_nothing(name, fails):
    torch.manual_seed(0)
    relu = nn.ReLU(inplace=True)  # used twice
    net = nn.Sequential(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), relu, nn.Conv2d(3, 4, 3), relu, nn.Dropout(), Failing())
    net[1].eval()
    net[3].bias.requires_grad_(False)
    net(torch.rand(3, 1, 12, 12)).sum().backward()
    net[-1].fails = fails
    x = torch.tensor(IMAGES)
    before, images = everything(net), IMAGES.copy()
    try:
        LOOKS[name](net).draw()
        assert not fails or name == "filters"
    except KeyError:
        assert fails
    assert_equal(before, everything(net))
    assert np.array_equal(IMAGES, images)
    assert torch.equal(x, torch.tensor(IMAGES))


def test_long_names_stay_on_the_page():
    block = nn.Sequential()
    block.add_module("convolution_block_number_10", nn.Conv2d(3, 512, 3))
    net = nn.Sequential()
    net.add_module("features_before_the_pooling", block)
    path = "features_before_the_pooling.convolution_block_number_10"
    photo = torch.rand(3, 12, 12)
    for drawn in (
        see.filters(net),
        see.firing(net, path, photo[None]),
        see.maximize(net, path, 511, size=12, steps=2),
        see.top_patches(net, path, photo.expand(9, 3, 12, 12), filters=[511]),
        see.shift(net, path, photo, (-2, -3)),
        see.receptive_field(net, path, photo),
        see.feature_maps(net, photo, path),
    ):
        assert path in drawn.alt
        assert_readable(drawn, "block_number_10")
