"""Torch modules and functions as layers."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from striate.errors import ArgumentError, ShapeError
from striate.layers import Conv2D, Dense, Flatten, Input, wrap
from striate.models import Model, Sequential


def label(value):
    """A test's name without memory addresses, which differ between processes."""
    if isinstance(value, nn.Module):
        return type(value).__name__
    return getattr(value, "__name__", None) or str(value)[:40]


class Branches(nn.Module):
    """Two outputs in a dict and a list, and an entry that is no tensor."""

    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(4, 3)

    def forward(self, x):
        return {"scores": self.fc(x), "more": [x.mean(-1), None]}


class Remembers(nn.Module):
    """A module that writes to itself while it runs."""

    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Dropout())
        self.last = None

    def forward(self, x):
        self.last = self.net(x)
        return self.last


class Tokens(nn.Module):
    """Features and numbers of words: inputs of two types."""

    def __init__(self):
        super().__init__()
        self.table, self.fc = nn.Embedding(10, 4), nn.Linear(4, 4)

    def forward(self, features, words):
        return self.fc(features)[:, None] + self.table(words)


# What a module makes of a shape, worked out by hand.
SHAPES = [
    (nn.Linear(4, 3), (None, 7, 4), (None, 7, 3)),
    (nn.Conv2d(3, 8, 3, stride=2), (None, 3, 9, 12), (None, 8, 4, 5)),
    (nn.Conv2d(3, 8, 3, padding=1), (None, 3, None, 12), (None, 8, None, 12)),
    (nn.AdaptiveAvgPool2d(2), (None, 3, None, None), (None, 3, 2, 2)),
    (nn.Flatten(), (None, 3, None), (None, None)),
    (nn.Linear(4, 3), (5, 4), (5, 3)),
    (nn.Embedding(10, 4), (None, None), (None, None, 4)),
    (nn.Sequential(nn.Conv2d(1, 2, 1), nn.BatchNorm2d(2)).half(), (None, 1, 1, 1), (None, 2, 1, 1)),
    (nn.Linear(4, 3, device="meta"), (None, 4), (None, 3)),
    (nn.LSTM(4, 6, num_layers=2, batch_first=True), (None, 5, 4), [(None, 5, 6), (2, None, 6), (2, None, 6)]),
    (Branches(), (None, 4), [(None, 3), (None,)]),
    (torch.relu, (None, 4), (None, 4)),
    (lambda x: x.flatten(0, 1), (None, 5, 4), (None, 4)),
    (lambda x: x.unflatten(1, (-1, 2)), (None, 6), (None, 3, 2)),
]


@pytest.mark.parametrize(("module", "shape", "expected"), SHAPES, ids=label)
def test_shapes(module, shape, expected):
    layer = wrap(module)
    assert layer.compute_output_shape(shape) == expected
    if not any(tensor.is_meta for tensor in getattr(module, "parameters", list)()):
        dtype = next((p.dtype for p in getattr(module, "parameters", list)()), torch.float32)
        x = torch.ones([3 if size is None else size for size in shape], dtype=dtype)
        outputs = layer(x.to(layer.input_dtype) if layer.input_dtype is torch.int64 else x)
        for output, wanted in zip(
            outputs if isinstance(outputs, list) else [outputs],
            expected if isinstance(expected, list) else [expected],
            strict=True,
        ):
            assert all(b in (None, a) for a, b in zip(output.shape, wanted, strict=True))


def attention(query, key, value):
    return nn.MultiheadAttention(8, 2, kdim=key, vdim=value, batch_first=True), [
        (None, 5, query),
        (None, 3, key),
        (None, 3, value),
    ]


# Counted by the definition: a unit that forms a learned weighted sum, at each position.
NEURONS = [
    (nn.Linear(4, 3), [(None, 7, 4)], 21),
    (nn.Conv2d(3, 8, 3), [(None, 3, 8, 9)], 8 * 6 * 7),
    (nn.ConvTranspose2d(3, 8, 2, stride=2), [(None, 3, 4, 5)], 8 * 8 * 10),
    (nn.Bilinear(4, 5, 3), [(None, 4), (None, 5)], 3),
    (nn.LSTM(4, 6, num_layers=2, bidirectional=True, batch_first=True), [(None, 5, 4)], 24),
    (nn.LSTM(4, 6, proj_size=2, batch_first=True), [(None, 5, 4)], 8),
    (nn.GRUCell(4, 6), [(None, 4)], 6),
    (*attention(8, 8, 8), 8 * (5 + 3 + 3 + 5)),
    (*attention(8, 4, 6), 8 * (5 + 3 + 3 + 5)),
    (nn.TransformerEncoderLayer(8, 2, 16, batch_first=True).eval(), [(None, 5, 8)], 8 * 20 + 16 * 5 + 8 * 5),
    (nn.Sequential(nn.BatchNorm2d(3), nn.ReLU(), nn.MaxPool2d(2)), [(None, 3, 8, 8)], 0),
    (nn.Sequential(shared := nn.Linear(4, 4), nn.ReLU(), shared), [(None, 4)], 4),
    (nn.Linear(4, 3), [(None, None, 4)], None),
    (nn.LSTM(4, 6, batch_first=True), [(None, None, 4)], 6),
    (torch.relu, [(None, 4)], 0),
]


@pytest.mark.parametrize(("module", "shapes", "expected"), NEURONS, ids=label)
def test_neurons(module, shapes, expected):
    assert wrap(module).count_neurons(*shapes) == expected
    assert wrap(module).count_neurons(shapes) == expected


@pytest.mark.parametrize("training", [True, False])
def test_finding_the_shape_leaves_the_module_as_it_was(training):
    module = Remembers().train(training)
    calls = []
    handle = module.register_forward_hook(lambda *args: calls.append(args))
    before = copy.deepcopy(module.state_dict())
    hooks, random_state = list(module._forward_hooks), torch.get_rng_state()
    layer = wrap(module)
    layer.build_once((None, 4))
    assert layer.compute_output_shape((None, 4)) == (None, 4)
    assert layer.count_neurons((None, 4)) == 4
    assert module.training is training
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())
    assert list(module._forward_hooks) == hooks
    assert not module.net[0]._forward_hooks
    assert module.last is None
    assert calls == []
    assert torch.equal(torch.get_rng_state(), random_state)
    assert torch.backends.mha.get_fastpath_enabled()
    handle.remove()


def test_nothing_is_computed():
    """Real, this layer alone would take 400 GB."""
    layer = wrap(nn.Linear(100_000, 1_000_000, bias=False, device="meta"))
    assert layer.compute_output_shape((None, 100_000)) == (None, 1_000_000)
    assert layer.count_parameters((None, 100_000)) == 10**11


def test_the_weights_are_the_modules_own():
    module = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3))
    layer = wrap(module)
    layer.build_once((None, 4))
    assert all(a is b for a, b in zip(layer.weights, module.parameters(), strict=True))
    assert [weight.name for _, weight in layer.own_weights()] == ["0.weight", "0.bias", "1.weight", "1.bias"]
    assert layer.count_params() == layer.count_parameters((None, 4)) == 4 * 3 + 3 + 2 * 3
    layer.set_weights([2 * value for value in layer.get_weights()])
    assert torch.equal(module[1].weight, torch.full((3,), 2.0))
    assert layer.explain() == "sequential: 21 parameters; 3 neurons, counted by running Sequential without values"
    layer.trainable = False
    assert layer.trainable_weights == []


# Images ------------------------------------------------------------------------------------------------------------


def rows(model):
    return [(layer.name, type(layer).__name__) for layer in model.layers]


def test_a_torch_module_between_keras_named_layers():
    """The same network as torch alone, with the images turned by hand."""
    torch.manual_seed(0)
    block = nn.Sequential(nn.Conv2d(4, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU())
    model = Sequential([Conv2D(4, 3, input_shape=(8, 9, 3)), wrap(block, name="block"), Flatten(), Dense(2)])
    assert rows(model) == [
        ("conv2d", "Conv2D"),
        ("block_to_channels_first", "Permute"),
        ("block", "Wrapped"),
        ("block_to_channels_last", "Permute"),
        ("flatten", "Flatten"),
        ("dense", "Dense"),
    ]
    model.eval()
    x = torch.randn(2, 8, 9, 3)
    first, last = model.layers["conv2d"].op, model.layers["dense"].op
    expected = last(block(first(x.permute(0, 3, 1, 2))).permute(0, 2, 3, 1).flatten(1))
    torch.testing.assert_close(model(x), expected)
    assert model.count_neurons() == 6 * 7 * 4 + 6 * 7 * 6 + 2


def test_modules_of_striates_layers_take_images_as_they_come():
    inner = Conv2D(4, 3)
    inner.build_once((None, 8, 8, 3))
    assert wrap(nn.Sequential(inner, nn.ReLU()))(Input((8, 8, 3))).shape == (None, 6, 6, 4)


def test_the_views_copy_nothing():
    layer = wrap(nn.Conv2d(3, 8, 3))
    before, _, after = layer.expand((None, 8, 8, 3))
    x = torch.randn(2, 8, 8, 3)
    seen = before(x)
    assert seen.data_ptr() == x.data_ptr()
    assert seen.is_contiguous(memory_format=torch.channels_last)
    assert after(layer(seen)).shape == (2, 6, 6, 8)


FIRST, LAST = "channels_first", "channels_last"


@pytest.mark.parametrize(
    ("module", "data_format", "shape", "expected"),
    [
        (nn.Conv2d(3, 8, 3), None, (8, 8, 3), (None, 6, 6, 8)),
        (nn.Conv2d(3, 8, 3), LAST, (3, 8, 8), (None, 8, 6, 6)),
        (nn.Conv3d(2, 4, 3), None, (5, 6, 7, 2), (None, 3, 4, 5, 4)),
        (nn.GroupNorm(1, 3), None, (8, 8, 3), (None, 8, 8, 3)),
        (nn.Upsample(scale_factor=2), None, (8, 9, 3), (None, 16, 18, 3)),
        (nn.Linear(3, 5), None, (8, 8, 3), (None, 8, 8, 5)),
        (nn.Sequential(nn.Conv2d(3, 8, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten()), None, (8, 8, 3), (None, 8)),
        # What comes out of an image with three axes stays in torch's order.
        (nn.Sequential(nn.Conv2d(3, 8, 4, 4), nn.Flatten(2)), FIRST, (8, 8, 3), (None, 8, 4)),
        (nn.Conv1d(3, 8, 3), FIRST, (10, 3), (None, 8, 8)),
        (nn.Conv1d(10, 8, 3), None, (10, 5), (None, 8, 3)),
        (lambda x: F.avg_pool2d(x, 2), FIRST, (8, 8, 3), (None, 4, 4, 3)),
        (nn.BatchNorm1d(4), FIRST, (4,), (None, 4)),
    ],
    ids=label,
)
def test_where_images_are_turned(module, data_format, shape, expected):
    x = Input(shape)
    output = wrap(module, data_format=data_format)(x)
    assert output.shape == expected
    model = Model(x, output)
    assert model(torch.randn(2, *shape)).shape == (2, *expected[1:])
    stack = Sequential([Input(shape), wrap(module, data_format=data_format)])
    assert stack.compute_output_shape((None, *shape)) == expected
    assert [kind for _, kind in rows(stack)] == [kind for _, kind in rows(model)][1:]


# Several inputs and outputs ----------------------------------------------------------------------------------------


def test_several_inputs_are_passed_one_by_one():
    a, b = torch.randn(2, 4), torch.randn(2, 4)
    layer = wrap(torch.sub)
    assert torch.equal(layer([a, b]), a - b)
    assert torch.equal(layer(a, b), a - b)
    x, y = Input((4,)), Input((4,))
    for output in (wrap(torch.sub)([x, y]), wrap(torch.sub)(x, y)):
        assert torch.equal(Model([x, y], output)([a, b]), a - b)


def test_images_among_several_inputs_are_turned():
    class Gate(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 8, 1)

        def forward(self, image, scale):
            return self.conv(image) * scale[:, :, None, None], scale

    image, scale = Input((5, 6, 3)), Input((8,))
    outputs = wrap(Gate())([image, scale])
    assert [output.shape for output in outputs] == [(None, 5, 6, 8), (None, 8)]
    first, second = Model([image, scale], outputs)([torch.randn(2, 5, 6, 3), torch.ones(2, 8)])
    assert (first.shape, second.shape) == ((2, 5, 6, 8), (2, 8))


def test_inputs_of_several_types():
    features, words = Input((4,)), Input((None,), dtype="int64")
    output = wrap(Tokens())([features, words])
    assert output.shape == (None, None, 4)
    model = Model([features, words], output)
    assert model([torch.randn(2, 4), torch.randint(10, (2, 6))]).shape == (2, 6, 4)


def test_a_model_that_begins_with_numbers_of_words():
    model = Sequential([wrap(nn.Sequential(nn.Embedding(10, 4), nn.Flatten()), input_shape=(3,)), Dense(1)])
    assert model(torch.randint(10, (2, 3))).shape == (2, 1)


# As torch sees it --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("module", [nn.Conv2d(4, 2, 3), torch.tanh, Branches()], ids=label)
def test_survives_deepcopy_compile_and_export(module):
    layer = wrap(module).eval()
    x = torch.randn(3, 4, 4, 4)
    expected = layer(x)
    torch._dynamo.reset()
    batch = torch.export.Dim("batch", min=2, max=64)
    dynamic_shapes = {"inputs": ({0: batch},)}
    for twin in (
        copy.deepcopy(layer),
        torch.compile(layer, fullgraph=True, backend="aot_eager"),
        torch.export.export(layer, (x,), dynamic_shapes=dynamic_shapes).module(),
    ):
        torch.testing.assert_close(twin(x), expected)


def test_gradients_reach_the_module():
    module = nn.Linear(4, 2)
    wrap(module)(torch.ones(3, 4)).sum().backward()
    assert torch.equal(module.weight.grad, torch.full((2, 4), 3.0))


# Names and mistakes ------------------------------------------------------------------------------------------------


def test_names():
    assert wrap(nn.Conv2d(1, 1, 1)).name == "conv2d"
    assert wrap(torch.relu).name == "relu"
    assert wrap(lambda x: x).name == "lambda"
    assert wrap(torch.Tensor.float).name == "wrapped_float"
    model = Sequential([Input((4,)), *(wrap(nn.Linear(4, 4)) for _ in range(3))])
    assert [layer.name for layer in model.layers] == ["linear", "linear_1", "linear_2"]


def test_layers_are_returned_as_they_are():
    layer = Dense(2)
    assert wrap(layer) is layer
    with pytest.raises(ArgumentError, match="dense is a layer already"):
        wrap(layer, name="other")


NETWORK = nn.Linear(4, 4)


@pytest.mark.parametrize(
    ("module", "message"),
    [
        (5, r"wrap\(5\): expected a torch.nn.Module or a function"),
        (nn.ReLU, "of a class, make an object first"),
        (nn.LazyLinear(3), "lazy_linear: has lazy weights; call it on data once"),
        (nn.Sequential(Dense(3)), "sequential: holds layers that are not built"),
        (nn.LSTM(4, 6), "lstm: takes the batch as its second axis; make it with batch_first=True"),
        (nn.MultiheadAttention(4, 1), "batch_first=True"),
        (lambda x: NETWORK(x) + 1, "lambda: the function uses NETWORK, whose weights the model would neither train"),
        (NETWORK.forward, "forward: the function uses its object"),
    ],
    ids=label,
)
def test_what_cannot_be_wrapped(module, message):
    with pytest.raises(ArgumentError, match=message):
        wrap(module)


def test_a_function_may_use_modules_without_weights():
    activation = nn.ReLU()
    assert wrap(lambda x: activation(x) + 1)(torch.zeros(1, 1)).item() == 1


def test_data_format_is_checked():
    with pytest.raises(ArgumentError, match="data_format='NCHW': expected one of 'channels_last'"):
        wrap(nn.ReLU(), data_format="NCHW")


def is_positive(x):
    return x if x.sum() > 0 else -x


@pytest.mark.parametrize(
    ("module", "shape", "message"),
    [
        (nn.Linear(4, 3), (5,), r"linear: it cannot take \(None, 5\): .*"),
        (nn.Conv2d(3, 8, 3), (8, 8, 1), r"conv2d: it cannot take \(None, 1, 8, 8\): .* data_format=... says how"),
        (torch.nonzero, (4,), "nonzero: what it does depends on the values in the data"),
        (is_positive, (4,), "is_positive: what it does depends on the values"),
        (torch.mean, (4,), "mean: expected it to return tensors with a batch axis, got shapes"),
        (lambda x: None, (4,), "expected it to return tensors"),
    ],
    ids=label,
)
def test_shapes_that_do_not_fit(module, shape, message):
    with pytest.raises(ShapeError, match=message):
        wrap(module)(Input(shape))


def test_it_cannot_be_made_again_from_a_file():
    with pytest.raises(ArgumentError, match=r"linear: a wrapped module cannot be made again.*state_dict.*register"):
        wrap(nn.Linear(4, 3)).get_config()
