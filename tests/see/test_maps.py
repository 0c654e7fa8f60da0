"""Feature maps, shifts and receptive fields: against torch run by hand, and against gradients."""

import numpy as np
import pytest
import torch
from torch import nn

from striate import see
from striate.errors import ArgumentError
from striate.models import small
from tests.see.looking import assert_readable


def plain():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 6, 3, padding=1),
        nn.ReLU(inplace=True),
        nn.MaxPool2d(2),
        nn.Conv2d(6, 8, 3, padding=1),
        nn.BatchNorm2d(8),
        nn.ReLU(inplace=True),
        nn.Conv2d(8, 10, 3, stride=2),
        nn.ReLU(inplace=True),
        nn.Flatten(),
        nn.Linear(90, 5),
    )


IMAGE = torch.rand(1, 16, 16, generator=torch.Generator().manual_seed(1))


def test_maps_are_what_the_layers_give():
    net = plain()
    seen = see.feature_maps(net, IMAGE, ["0", "4", "7"])
    with torch.no_grad():
        outputs = [IMAGE[None]]
        for part in net.eval():
            outputs.append(part(outputs[-1].clone()))
    for layer, end in zip(seen.layers, (1, 5, 8), strict=True):
        assert np.allclose(layer.maps, outputs[end][0].numpy(), atol=1e-6)
    assert [layer.depth for layer in seen.layers] == ["", "", ""]


def test_an_early_a_middle_and_a_deep_layer(models):
    seen = see.feature_maps(plain(), IMAGE)
    assert [(layer.place.path, layer.depth) for layer in seen.layers] == [
        ("1", "early: "),
        ("5", "middle: "),
        ("7", "deep: "),
    ]
    assert_readable(seen, "the image", "early: 1", "middle: 5", "deep: 7", "seeing 3 × 3", "10 maps of 3 × 3")
    resnet = models.resnet18()
    paths = [layer.place.path for layer in see.feature_maps(resnet, torch.rand(3, 64, 64)).layers]
    assert paths == ["relu", "layer2.1.relu", "layer4.1.relu"]


def test_striate_models_have_the_same_maps():
    model = small.build("cnn", (8, 8, 1), 10)
    model.eval()
    image = np.arange(64, dtype=np.uint8).reshape(8, 8)
    seen = see.feature_maps(model, image)
    assert [layer.place.path for layer in seen.layers] == ["layers.activation", "layers.activation_1"]
    assert [layer.depth for layer in seen.layers] == ["early: ", "deep: "]
    op = model.layers["conv2d"].op
    expected = op(torch.tensor(image).float()[None, None] / 255)[0]
    inner, outer = see.feature_maps(model, image, ["conv2d.op", "conv2d"]).layers
    for layer in (inner, outer):
        assert np.allclose(layer.maps, expected.detach().numpy(), atol=1e-6)
    assert_readable(see.feature_maps(model, image, "conv2d"), "layers.conv2d", "8 × 8 pixels")


def test_channels_last_inside_torch_modules(models):
    seen = see.feature_maps(models.convnext_tiny(), torch.rand(3, 64, 64))
    assert [(layer.maps.shape[0], layer.maps.shape[1]) for layer in seen.layers] == [(384, 16), (1536, 4), (3072, 2)]


def test_many_maps_and_one():
    torch.manual_seed(0)
    wide = nn.Sequential(nn.Conv2d(3, 512, 3), nn.Conv2d(512, 1, 3))
    seen = see.feature_maps(wide, np.zeros((20, 30, 3), np.uint8) + np.arange(30, dtype=np.uint8)[:, None], most=512)
    assert_readable(seen, "early: 0", "512 maps of 18 × 28", "deep: 1", "1 map of 16 × 26")
    few = see.feature_maps(wide, torch.rand(3, 20, 20), "0", most=4).layers[0]
    spread = few.maps.std((1, 2))
    assert set(few.shown) == set(np.argsort(-spread)[:4].tolist())


def test_maps_that_are_not_there():
    with pytest.raises(ArgumentError, match="'9' has no maps"):
        see.feature_maps(plain(), IMAGE, "9")
    with pytest.raises(ArgumentError, match="of one image"):
        see.feature_maps(plain(), IMAGE.expand(2, 1, 16, 16))
    with pytest.raises(ArgumentError, match="no layer with maps"):
        see.feature_maps(nn.Sequential(nn.Flatten(), nn.Linear(256, 4)), IMAGE)
    with pytest.raises(ArgumentError, match="no part 'conv'"):
        see.feature_maps(plain(), IMAGE, "conv")


# Shifts ---------------------------------------------------------------------------------------------------------


def test_a_field_that_begins_outside_the_image_is_told_with_a_minus_sign():
    told = see.receptive_field(nn.Conv2d(1, 2, 5, padding=2), "", torch.rand(8, 8), at=(1, 0)).text()
    assert "rows −1 to 3 and columns −2 to 2: a field of 5 × 5, stride 1, from −2 on." in told


@pytest.mark.parametrize("by", [(2, 0), (0, -4), (-2, 2), (0, 0)])
def test_a_shift_of_the_image_shifts_the_maps(by):
    image = torch.rand(1, 32, 32)
    moved = see.shift(plain()[:8], "5", image, by)
    assert moved.map_by == (by[0] // 2, by[1] // 2)
    assert moved.difference <= 1e-6
    assert moved.greatest > 0.1
    # By hand: pool after conv sees 4 pixels, 2 apart, from −1 on; a further 3 × 3 convolution sees 8, from −3 on.
    for axis in (0, 1):
        first = [-3 + 2 * position for position in range(16)]
        good = [p for p, at in enumerate(first) if min(at, at + by[axis]) >= 0 and max(at, at + by[axis]) + 8 <= 32]
        assert moved.inside[axis] == slice(good[0], good[-1] + 1)


def test_the_image_is_shifted_and_its_edge_repeated():
    image = torch.arange(64.0).reshape(8, 8)
    moved = see.shift(nn.Conv2d(1, 1, 3), "", image, (2, -1))
    before, after = (picture[..., 0] for picture in moved.images)
    assert np.array_equal(after[2:, :-1], before[:-2, 1:])
    assert np.array_equal(after[1], after[2])
    assert np.array_equal(after[:, -1], after[:, -2])


def test_what_is_not_equivariant_shows():
    class Position(nn.Module):
        def forward(self, x):
            return x + 0.01 * torch.arange(x.shape[-1])

    moved = see.shift(nn.Sequential(nn.Conv2d(1, 2, 3), Position()), "1", torch.rand(12, 12), (0, 3))
    assert moved.difference == pytest.approx(0.03, rel=1e-4)
    assert "differ by 3.0e-02" in moved.text()


def test_shifts_in_pictures_and_of_striate_models():
    model = small.build("lenet", (28, 20, 1), 10)
    moved = see.shift(model, "conv2d", np.random.default_rng(0).integers(0, 256, (28, 20), np.uint8), (3, -2))
    assert moved.difference <= 1e-5
    assert_readable(moved, "the image, shifted", "layers.conv2d, filter", "shifted by (3, −2)", "greatest difference")


def test_shifts_that_cannot_be():
    net = plain()
    with pytest.raises(ArgumentError, match=r"no multiple of the stride of '7', 4.*Shift by 4 or 8"):
        see.shift(net, "7", IMAGE, (6, 0))
    with pytest.raises(ArgumentError, match="none sees inside"):
        see.shift(net, "7", IMAGE, (12, 0))
    with pytest.raises(ArgumentError, match="no receptive fields that slide"):
        see.shift(net, "9", IMAGE, (0, 0))


# Receptive fields -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("at", [(0, 0), (4, 3), (7, 7)])
def test_the_closed_form_is_where_gradients_are_in_plain_convolutions(at):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.Tanh(), nn.Conv2d(4, 5, 5, stride=2, padding=2), nn.Tanh())
    seen = see.receptive_field(net, "3", torch.rand(3, 16, 16), at)
    top, left, bottom, right = seen.box
    # A 3 × 3 and a 5 × 5 of stride 2 see 7 pixels, 2 apart, from −3 on.
    assert seen.box == (2 * at[0] - 3, 2 * at[1] - 3, 2 * at[0] + 4, 2 * at[1] + 4)
    reached = np.zeros((16, 16), bool)
    reached[max(top, 0) : bottom, max(left, 0) : right] = True
    assert np.array_equal(seen.effective > 0, reached)


def test_the_closed_form_holds_the_gradients(models):
    seen = see.receptive_field(models.resnet18(), "layer1", torch.rand(3, 96, 96))
    top, left, bottom, right = seen.box
    rows, columns = np.nonzero(seen.effective)
    assert top <= rows.min() <= rows.max() < bottom
    assert left <= columns.min() <= columns.max() < right
    height, width = (seen.half[2] - seen.half[0], seen.half[3] - seen.half[1])
    assert height < bottom - top and width < right - left
    assert_readable(seen, "What layer1 at (12, 12) sees", "in closed form, 43 × 43", "gradients; half in")


def test_half_of_the_gradients():
    conv = nn.Conv2d(1, 1, 3, bias=False)
    conv.weight.data = torch.tensor([[[[1.0, 1, 1], [1, 8, 1], [1, 1, 1]]]])
    seen = see.receptive_field(conv, "", torch.rand(9, 9), (2, 3))
    assert seen.half == (3, 4, 4, 5)
    ratio = seen.effective[3, 4] / seen.effective[2, 3]
    assert ratio == pytest.approx(8)


def test_neurons_see_everything_and_attention_has_no_closed_form(models):
    net = plain()
    seen = see.receptive_field(net, "9", IMAGE)
    assert seen.at == ()
    assert seen.box[0] <= 0 and seen.box[2] >= 15
    vit = models.VisionTransformer(16, 8, 1, 2, 12, 24)
    free = see.receptive_field(vit, "encoder", torch.rand(3, 16, 16))
    assert free.box is None
    assert "no closed form" in free.text()
    assert_readable(free, "in closed form: none")
    for at in ((3, 3), (0,)):
        with pytest.raises(ArgumentError, match="a map of 3 × 3"):
            see.receptive_field(net, "7", IMAGE, at)
