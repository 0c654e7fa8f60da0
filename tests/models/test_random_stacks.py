"""Random networks: what is predicted before they run is what is there when they have run."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from striate import layers
from striate.errors import ShapeError
from striate.models import Sequential

ACTIVATIONS = st.sampled_from([None, "relu", "tanh", "prelu"])
PADDINGS = st.sampled_from(["valid", "same"])
SMALL = st.integers(1, 4)
PAIRS = st.tuples(SMALL, SMALL)


def make(name, **arguments):
    return st.fixed_dictionaries(arguments).map(lambda chosen: getattr(layers, name)(**chosen))


IMAGE_LAYERS = st.one_of(
    make("Conv2D", filters=SMALL, kernel_size=PAIRS, strides=SMALL, padding=PADDINGS, activation=ACTIVATIONS),
    make("Conv2D", filters=SMALL, kernel_size=SMALL, dilation_rate=SMALL, padding=PADDINGS, use_bias=st.booleans()),
    make("DepthwiseConv2D", kernel_size=PAIRS, depth_multiplier=SMALL, padding=PADDINGS),
    make("SeparableConv2D", filters=SMALL, kernel_size=SMALL, depth_multiplier=SMALL, padding=PADDINGS),
    make("Conv2DTranspose", filters=SMALL, kernel_size=PAIRS, strides=SMALL, padding=PADDINGS),
    make("MaxPooling2D", pool_size=PAIRS, strides=st.none() | SMALL, padding=PADDINGS),
    make("AveragePooling2D", pool_size=SMALL, padding=PADDINGS),
    make("ZeroPadding2D", padding=SMALL),
    make("Cropping2D", cropping=st.just(1)),
    make("UpSampling2D", size=st.integers(1, 2), interpolation=st.sampled_from(["nearest", "bilinear"])),
    make("BatchNormalization", scale=st.booleans(), center=st.booleans()),
    make("LayerNormalization", axis=st.sampled_from([-1, [1, 2, 3]])),
    make("SpatialDropout2D", rate=st.just(0.3)),
    make("PReLU", shared_axes=st.sampled_from([None, [1, 2]])),
)
HEADS = st.one_of(
    st.just([layers.Flatten]),
    st.just([layers.GlobalAveragePooling2D]),
    st.just([layers.GlobalMaxPooling2D]),
    st.builds(lambda units: [lambda: layers.Reshape((-1, 2)), lambda: layers.GRU(units)], SMALL),
    st.builds(lambda units: [lambda: layers.Reshape((-1, 2)), lambda: layers.Bidirectional(layers.LSTM(units))], SMALL),
)


@settings(max_examples=60, deadline=None)
@given(
    size=st.tuples(st.integers(3, 12), st.integers(3, 12), st.integers(1, 3)),
    stack=st.lists(IMAGE_LAYERS, max_size=5),
    head=HEADS,
    units=st.integers(1, 6),
)
def test_closed_forms_hold_for_whole_networks(size, stack, head, units):
    model = Sequential([layers.Input(size)])
    for layer in [*stack, *(one() for one in head), layers.Dense(units, activation="softmax")]:
        try:
            model.add(layer)
        except ShapeError:  # a window larger than what is left, a reshape that does not divide: refused before it runs
            continue
    with torch.no_grad():
        output = model.eval()(torch.randn(2, *size))
    assert tuple(output.shape[1:]) == model.output.shape[1:]
    assert model.count_parameters() == model.count_params() == sum(row.parameters for row in model.summary_rows())
    assert model.count_params() == sum(tensor.numel() for tensor in model.weights)
    assert model.count_neurons() == sum(row.neurons for row in model.summary_rows())
    assert len(model.explain().splitlines()) == len(model.layers) + 1


@settings(max_examples=30, deadline=None)
@given(batch=st.integers(1, 3), steps=st.integers(1, 6), features=st.integers(1, 5), units=st.integers(1, 6))
def test_sequences_of_any_length_go_through_one_model(batch, steps, features, units):
    model = Sequential([layers.Input((None, features)), layers.LSTM(units, return_sequences=True), layers.Dense(2)])
    with torch.no_grad():
        output = model(torch.randn(batch, steps, features))
    assert model.output.shape == (None, None, 2)
    assert output.shape == (batch, steps, 2)
    assert model.count_params() == 4 * units * (features + units + 1) + 2 * (units + 1)
