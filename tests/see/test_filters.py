"""Kernels in pictures and the classic filters beside them: checked by what a convolution with them gives."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from striate import see
from striate.errors import ArgumentError, UnknownNameError
from striate.models import small
from striate.see.classic import CLASSICS, nearest
from tests.see.looking import assert_readable

KERNELS = {classic.name: classic.kernel for classic in CLASSICS}


def test_the_classics_do_what_they_say():
    ramp = np.tile(np.arange(8.0), (8, 1))
    inner = (slice(1, -1), slice(1, -1))
    on_ramp = {classic.name: classic.on(ramp)[inner] for classic in CLASSICS}
    assert np.allclose(on_ramp["Sobel x"], 8)  # 2 pixels apart, weights 1 + 2 + 1
    assert np.allclose(on_ramp["Prewitt x"], 6)
    for name in ("Sobel y", "Prewitt y", "Laplacian"):
        assert np.allclose(on_ramp[name], 0)
    for name in ("identity", "box blur", "Gaussian blur", "sharpen"):
        assert np.allclose(on_ramp[name], ramp[inner])
    for classic in CLASSICS:
        flat = classic.on(np.full((4, 4), 3.0))  # at the border as well
        assert np.allclose(flat, 0 if classic.shows_change else 3)
    assert np.allclose(KERNELS["Sobel x"], KERNELS["Sobel y"].T)


def test_the_gallery():
    drawn = see.gallery()
    assert_readable(drawn, "Sobel x", "emboss", "1/16", "−4")
    assert set(drawn.results) == set(KERNELS)
    assert "sharpen" in drawn.text()
    photo = np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8)
    assert see.gallery(photo).image.shape == (20, 30)
    grey = see.gallery(np.full((5, 5), 0.5))
    assert np.allclose(grey.image, 0.5, atol=0.01)


@pytest.mark.parametrize("name", KERNELS)
@pytest.mark.parametrize("size", [3, 5, 8])
def test_a_classic_is_nearest_to_itself_at_any_size_and_scale(name, size):
    scaled = F.interpolate(torch.tensor(KERNELS[name])[None, None], size, mode="bilinear", align_corners=True)[0, 0]
    for factor in (0.3, -2):
        like = nearest(factor * scaled.numpy())
        assert like.name == name
        assert like.similarity == pytest.approx(np.sign(factor))


def test_nearest_is_the_greatest_cosine():
    kernel = np.random.default_rng(0).normal(size=(3, 3))
    cosines = {
        name: float((kernel * other).sum() / np.linalg.norm(kernel) / np.linalg.norm(other))
        for name, other in KERNELS.items()
    }
    best = max(cosines, key=lambda name: abs(cosines[name]))
    assert (nearest(kernel).name, nearest(kernel).similarity) == (best, pytest.approx(cosines[best]))
    assert nearest(np.ones((1, 5))) is None
    assert nearest(np.zeros((3, 3))) is None


def planted(channels):
    conv = nn.Conv2d(channels, len(KERNELS), 3)
    mix = torch.linspace(-1, 2, channels)[:, None, None]
    conv.weight.data = torch.stack([mix * torch.tensor(kernel).float() for kernel in KERNELS.values()])
    return nn.Sequential(nn.Identity(), conv)


@pytest.mark.parametrize("channels", [1, 3, 6])
def test_planted_kernels_are_found(channels):
    found = see.filters(planted(channels))
    assert found.path == "1"
    assert [like.name for like in found.nearest] == list(KERNELS)
    assert all(abs(like.similarity) > 0.999 for like in found.nearest)
    assert "Sobel x" in found.text()
    assert f"{len(KERNELS)} filters of 3 × 3 × {channels}" in found.title
    if channels == 6:
        assert "100% of the energy" in found.drawn_as
    if channels > 3 or channels == 1:  # the patterns are the kernels, whatever the mix of channels
        kernels = np.stack(list(KERNELS.values()))
        flat = (p / np.linalg.norm(p, axis=(1, 2), keepdims=True) for p in (found.patterns, kernels))
        assert np.allclose(abs(np.prod(list(flat), axis=0).sum((1, 2))), 1)


def test_weights_are_torchs_own(models):
    net = models.resnet18()
    found = see.filters(net)
    assert found.path == "conv1"
    assert np.allclose(found.weights, net.conv1.weight.detach().numpy())
    assert found.patterns.shape == (64, 7, 7, 3)
    assert_readable(found, "conv1: 64 filters of 7 × 7 × 3", "red, green and blue")
    deep = see.filters(net, "layer4.1.conv2")
    assert_readable(deep, "512 filters of 3 × 3 × 512", "of 512 channels the main pattern")


def test_striate_models_and_dense_layers():
    model = small.build("lenet", (28, 28, 1), 10)
    assert see.filters(model).path == "layers.conv2d"
    assert see.filters(model, "conv2d_1").weights.shape == (16, 6, 5, 5)
    assert_readable(see.filters(model), "6 filters of 5 × 5 × 1", "greatest")
    perceptron = small.build("perceptron", (8, 6, 3), 4)
    kernel = perceptron.get_weights()[0]  # Keras's layout: (inputs, units)
    assert np.allclose(see.filters(perceptron).weights[1], kernel[:, 1].reshape(8, 6, 3).transpose(2, 0, 1))
    torch_perceptron = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    assert_readable(see.filters(torch_perceptron), "1: 10 filters of 8 × 8 × 1")


def test_one_filter_depthwise_and_transposed():
    assert_readable(see.filters(nn.Sequential(nn.Conv2d(1, 1, 3))), "1 filter of 3 × 3 × 1")
    assert see.filters(nn.Conv2d(8, 8, 3, groups=8)).weights.shape == (8, 1, 3, 3)
    transposed = nn.ConvTranspose2d(4, 6, 3, groups=2)
    weights = see.filters(transposed).weights
    assert weights.shape == (6, 2, 3, 3)
    # The second group's filters read channels 2 and 3: filter 4 is the second of that group.
    assert np.allclose(weights[4, 1], transposed.weight[3, 1].detach().numpy())


def test_kernels_without_a_pattern_over_an_image_are_drawn_whole():
    for conv, shape, words in (
        (nn.Conv2d(5, 8, 1), (8, 1, 5), ["8 filters of 1 × 1 × 5", "a column for each of 5 channels"]),
        (nn.Conv1d(3, 6, 4), (6, 3, 4), ["6 filters of 1 × 4 × 3", "a row for each of 3 channels"]),
        (nn.ConvTranspose1d(6, 4, 5, groups=2), (4, 3, 5), ["4 filters of 1 × 5 × 3", "a row for each of 3 channels"]),
    ):
        found = see.filters(nn.Sequential(nn.ReLU(), conv))
        assert found.path == "1" and found.patterns.shape == shape
        weight = conv.weight.detach().numpy()
        if not isinstance(conv, nn.ConvTranspose1d):
            assert np.allclose(found.patterns, weight.reshape(shape))
        else:  # the second group's filters read channels 3 to 5
            assert np.allclose(found.patterns[3, 1], weight[4, 1])
        assert found.nearest == (None,) * shape[0]
        assert_readable(found, *words)
    assert_readable(see.filters(nn.Conv1d(1, 6, 9)), "6 filters of 1 × 9 × 1", "each scaled")
    assert see.filters(nn.Conv2d(3, 8, 1)).patterns.shape == (8, 1, 1, 3)  # a colour each
    mixed = nn.Sequential(nn.Conv1d(1, 4, 3), nn.Unflatten(1, (1, 4)), nn.Conv2d(1, 2, 3))
    assert see.filters(mixed).path == "2"


def test_layers_without_pictures():
    net = nn.Sequential(nn.Conv2d(2, 8, 1), nn.ReLU(), nn.Flatten(), nn.Linear(64, 3), nn.Conv3d(1, 2, 3))
    with pytest.raises(ArgumentError, match="'4' is a Conv3d: expected a convolution along one or two axes"):
        see.filters(net, "4")
    with pytest.raises(ArgumentError, match="'1' is a ReLU"):
        see.filters(net, "1")
    with pytest.raises(ArgumentError, match="64 values that are no pixels"):
        see.filters(net, "3")
    with pytest.raises(ArgumentError, match="no part 'conv'"):
        see.filters(net, "conv")
    with pytest.raises(ArgumentError, match="no kernels"):
        see.filters(nn.Sequential(nn.ReLU()))
    with pytest.raises((ArgumentError, UnknownNameError), match="theme"):
        see.gallery().draw("blue")


@pytest.mark.parametrize("kind", ["png", "svg", "pdf"])
def test_files(tmp_path, kind):
    path = tmp_path / f"kernels.{kind}"
    see.filters(planted(1)).save(path, theme="dark")
    assert path.stat().st_size > 1000
    with pytest.raises(ArgumentError, match="ends in"):
        see.gallery().save(tmp_path / "gallery.txt")
