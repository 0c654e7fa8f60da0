"""Receptive fields: the closed form against gradients, and against published sizes."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from striate.account import ReceptiveField, count
from striate.layers import Conv2D, Dense, Flatten, GlobalAveragePooling2D, MaxPooling2D
from striate.models import Sequential


def seen(module, size, position):
    """The first and last row of the input that a unit's gradient reaches; none, if it sees padding alone."""
    x = torch.rand(1, 1, size, size, requires_grad=True)
    module(x)[0, :, position, position].sum().backward()
    rows = x.grad[0, 0].abs().sum(1).nonzero().flatten()
    return (rows[0].item(), rows[-1].item()) if len(rows) else None


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["conv", "pool", "residual"]), *(st.integers(1, n) for n in (3, 2, 2)), st.booleans()
        ),
        min_size=1,
        max_size=4,
    )
)
def test_the_closed_form_is_what_gradients_reach(draw):
    layers, size = [], 48
    for kind, kernel, stride, dilation, padded in draw:
        if kind == "pool":
            layers.append(nn.AvgPool2d(kernel, stride, kernel // 2 if padded else 0))
        elif kind == "residual":
            layers += [Residual(), nn.ReLU()]
        else:
            conv = nn.Conv2d(1, 1, kernel, stride, dilation * (kernel // 2) if padded else 0, dilation, bias=False)
            nn.init.constant_(conv.weight, 1.0)  # nothing cancels
            layers.append(conv)
    module = nn.Sequential(*layers)
    field = count(module, (1, size, size)).total.receptive_field
    for position in (0, field.positions[0] // 2, field.positions[0] - 1):
        first = field.offset[0] + position * field.stride[0]
        last = first + field.size[0] - 1
        reached = seen(module, size, position)
        # With strides wider than kernels, and at the borders, a field has pixels that nothing reads.
        assert reached is None or max(first, 0) <= reached[0] <= reached[1] <= min(last, size - 1)
    if all(stride == 1 for _, _, stride, _, _ in draw):
        middle = field.positions[0] // 2
        first = field.offset[0] + middle
        assert seen(module, size, middle) == (first, first + field.size[0] - 1)


class Residual(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 1, 3, padding=1, bias=False)
        nn.init.constant_(self.conv.weight, 1.0)

    def forward(self, x):
        return x + self.conv(x)


# The sizes in the table of Araujo, Norris and Sim (2019), of the last map before the classifier. ResNet-18 by hand:
# 7 and a pool give 11, 4 pixels apart; + 4·2·4; + 2·4 + 3·2·8; + 2·8 + 3·2·16; + 2·16 + 3·2·32.
PUBLISHED = {"alexnet": 195, "vgg16": 212, "resnet18": 435, "inception_v3": 1311}


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_sizes(models, name):
    arguments = {"init_weights": False} if name == "inception_v3" else {}
    with torch.device("meta"):
        model = models.get_model(name, **arguments).eval()
    ledger = count(model, (3, 299, 299) if name == "inception_v3" else (3, 224, 224))
    last = {"alexnet": "features", "vgg16": "features", "inception_v3": "Mixed_7c"}.get(name, "layer4")
    assert ledger[last].receptive_field.size == (PUBLISHED[name],) * 2


def test_layers_of_striate_with_uneven_padding_and_dense_on_top():
    model = Sequential(
        [
            Conv2D(4, 3, strides=2, padding="same", input_shape=(8, 8, 1)),  # pads one row below, none above
            MaxPooling2D(2),
            Conv2D(4, 3, padding="same"),
            Dense(5),  # at each position
            Flatten(),
            Dense(2),
        ]
    )
    fields = {entry.path: entry.receptive_field for entry in count(model, (8, 8, 1))}
    assert fields["layers.conv2d"] == ReceptiveField((3, 3), (2, 2), (0, 0), (4, 4))
    assert fields["layers.max_pooling2d"] == ReceptiveField((5, 5), (4, 4), (0, 0), (2, 2))
    assert fields["layers.conv2d_1"] == fields["layers.dense"] == ReceptiveField((13, 13), (4, 4), (-4, -4), (2, 2))
    assert fields["layers.dense_1"] == ReceptiveField((17, 17), (0, 0), (-4, -4), (1, 1))


def test_sequences_have_one_axis():
    module = nn.Sequential(nn.Conv1d(2, 3, 3, padding=1), nn.MaxPool1d(2), nn.Conv1d(3, 3, 3))
    assert count(module, (2, 20)).total.receptive_field == ReceptiveField((8,), (2,), (-1,), (8,))


def test_global_pooling_sees_what_all_units_see():
    model = Sequential([Conv2D(4, 3, input_shape=(8, 8, 1)), GlobalAveragePooling2D(), Dense(2)])
    assert count(model, (8, 8, 1)).total.receptive_field == ReceptiveField((8, 8), (0, 0), (0, 0), (1, 1))


def test_squeeze_and_excitation_see_everything(models):
    with torch.device("meta"):
        model = models.get_model("mobilenet_v3_small").eval()
    ledger = count(model, (3, 224, 224))
    assert ledger["features.1.block.0"].receptive_field.stride == (4, 4)
    assert ledger["features.1"].receptive_field.stride == (0, 0)


@pytest.mark.parametrize(
    "module",
    [
        nn.ConvTranspose2d(1, 1, 3, 2),
        nn.Sequential(nn.Conv2d(1, 1, 3), nn.Upsample(scale_factor=2)),
        nn.Sequential(nn.Conv2d(1, 4, 3), nn.PixelShuffle(2)),
        nn.Linear(16, 2),
    ],
)
def test_what_has_no_field_of_this_form_has_none(module):
    assert count(module, (1, 16, 16)).total.receptive_field is None
