"""Every number of a trace is torch's, on nets of any kind; nothing is changed by looking; wrong formulas are found."""

import copy
import itertools
import re

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from striate import layers, losses, models
from striate.errors import ArgumentError, NotBuiltError, SelfCheckError, UnknownNameError
from striate.see import trace
from striate.see.worked.moves import Move
from striate.see.worked.pointwise import Pointwise
from striate.see.worked.weighted_sums import WeightedSum
from tests.see.test_watching import assert_equal, everything


class Net(nn.Module):
    """A forward pass that is a function of the modules and the input."""

    def __init__(self, function, *parts):
        super().__init__()
        self.parts = nn.ModuleList(parts)
        self.function = function

    def forward(self, *inputs):
        return self.function(self.parts, *inputs)


def unwritten(worked):
    return [
        block.title + block.summary
        for section in worked.sections
        for block in section.blocks
        if "not written" in block.summary
    ]


def assert_all_worked(module, x, loss="mse", y=None, **options):
    """Each number was worked out and equals torch's, and the gradients are those of a plain backward pass."""
    torch.manual_seed(5)
    inputs = x if isinstance(x, (list, tuple)) else [x]
    output = copy.deepcopy(module)(*inputs)
    output = output if isinstance(output, torch.Tensor) else output[0]
    y = torch.rand_like(output) if y is None else y
    torch.manual_seed(5)
    worked = trace(module, x, y, loss=loss, **options)
    assert unwritten(worked) == []
    twin = copy.deepcopy(module).train(module.training)
    torch.manual_seed(5)
    output = twin(*inputs)
    losses.get(loss)(torch.as_tensor(y), output if isinstance(output, torch.Tensor) else output[0]).backward()
    for name, parameter in twin.named_parameters():
        plain = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
        torch.testing.assert_close(worked.gradients[name].float(), plain, rtol=1e-5, atol=1e-6)
    assert worked.checks.gradients >= sum(gradient.numel() for gradient in worked.gradients.values() if gradient.any())
    assert worked.text() and worked.to_markdown() and worked.to_html()
    return worked


# Any net ------------------------------------------------------------------------------------------------------------

ACTIVATIONS = [nn.ReLU, nn.Sigmoid, nn.Tanh, nn.LeakyReLU, nn.GELU, nn.SiLU, nn.ELU, nn.Softplus, nn.Hardswish]
ACTIVATIONS += [nn.SELU, nn.Mish, nn.ReLU6, nn.Hardtanh, nn.Softsign, nn.Hardsigmoid, nn.LogSigmoid]


@st.composite
def dense_nets(draw):
    sizes = draw(st.lists(st.integers(1, 4), min_size=2, max_size=4))
    parts = []
    for inputs, outputs in itertools.pairwise(sizes):
        parts.append(nn.Linear(inputs, outputs, bias=draw(st.booleans())))
        parts.append(draw(st.sampled_from(ACTIVATIONS))())
        if draw(st.booleans()):
            parts.append(
                draw(st.sampled_from([nn.LayerNorm(outputs), nn.Dropout(0.4), nn.Softmax(-1), nn.LogSoftmax(-1)]))
            )
    net = nn.Sequential(*parts)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.mul_(draw(st.sampled_from([0.1, 1.0, 10.0])))
    samples = draw(st.integers(1, 3))
    return net, torch.randn(samples, sizes[0]) * draw(st.sampled_from([0.01, 1.0, 100.0]))


@given(dense_nets(), st.sampled_from(["sgd", "adam", "adamw", torch.optim.SGD, torch.optim.Adam, "rmsprop"]))
@settings(max_examples=25, deadline=None)
def test_dense_nets(net_and_x, optimizer):
    net, x = net_and_x
    torch.manual_seed(1)
    y = torch.randn_like(net(x))
    worked = trace(net, x, y, loss="mse", optimizer=optimizer)
    assert unwritten(worked) == []
    assert worked.checks.largest < 1e-5


@st.composite
def convolution_nets(draw):
    rank = draw(st.sampled_from([1, 2]))
    of = {
        name: getattr(nn, f"{name}{rank}d") for name in ("Conv", "BatchNorm", "MaxPool", "AvgPool", "AdaptiveAvgPool")
    }
    groups = draw(st.sampled_from([1, 2]))
    channels = 2 * draw(st.integers(1, 2))
    stride = draw(st.sampled_from([1, 2]))
    padding = draw(st.sampled_from([0, 1] if stride > 1 else [0, 1, "same", "valid"]))
    kernel, dilation = draw(st.integers(1, 3)), draw(st.integers(1, 2))
    mode = draw(st.sampled_from(["zeros", "circular"]))
    settings = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups, "padding_mode": mode}
    parts = [of["Conv"](2, channels, kernel, bias=draw(st.booleans()), **settings)]
    parts += draw(st.sampled_from([[], [of["BatchNorm"](channels)], [nn.GroupNorm(2, channels)]]))
    parts += [nn.ReLU(inplace=draw(st.booleans()))]
    pools = [
        of["MaxPool"](2, draw(st.integers(1, 2)), padding=draw(st.integers(0, 1)), ceil_mode=draw(st.booleans())),
        of["AvgPool"](2, padding=draw(st.integers(0, 1)), count_include_pad=draw(st.booleans())),
        of["AvgPool"](2, ceil_mode=True),
        of["AdaptiveAvgPool"](2),
    ]
    net = nn.Sequential(*parts, draw(st.sampled_from(pools)), nn.Flatten(), nn.LazyLinear(2))
    net.train(draw(st.booleans()))
    sizes = [draw(st.integers(6, 8)) for _ in range(rank)]
    return net, torch.randn(2, 2, *sizes)


@given(convolution_nets())
@settings(max_examples=25, deadline=None)
def test_convolution_nets(net_and_x):
    net, x = net_and_x
    net(x)  # which makes the lazy weights
    worked = trace(net, x, torch.tensor([0, 1]), loss="cross_entropy")
    assert unwritten(worked) == []
    assert worked.checks.largest < 1e-5


# Every kind of layer ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "module",
    [
        nn.LSTM(3, 2, num_layers=2, bidirectional=True, batch_first=True),
        nn.GRU(3, 2, bidirectional=True, bias=False),
        nn.GRU(3, 2, num_layers=2, batch_first=True),
        nn.RNN(3, 2, num_layers=2, nonlinearity="relu"),
        nn.RNN(3, 2, batch_first=True),
        nn.LSTMCell(3, 2),
        nn.GRUCell(3, 2),
        nn.RNNCell(3, 2),
    ],
    ids=repr,
)
def test_recurrent_layers(module):
    x = torch.randn(2, 3) if type(module).__name__.endswith("Cell") else torch.randn(3, 4, 3)
    assert_all_worked(module, x)


def test_the_states_of_a_recurrence_have_gradients_too():
    lstm = nn.LSTM(3, 2)
    both = Net(lambda parts, x: parts[0](x)[1][0] + 2 * parts[0](x)[1][1] + parts[0](x)[0][-1:], lstm)
    assert_all_worked(both, torch.randn(4, 2, 3))
    cell = Net(lambda parts, x: sum(parts[0](x, parts[0](x))), nn.LSTMCell(3, 2))
    assert_all_worked(cell, torch.randn(2, 3))


@pytest.mark.parametrize(
    "layer",
    [
        layers.SimpleRNN(2),
        layers.LSTM(2, return_sequences=True),
        layers.GRU(2),
        layers.LSTM(2, recurrent_dropout=0.5),
        layers.Bidirectional(layers.GRU(2)),
    ],
    ids=lambda layer: type(layer).__name__,
)
def test_recurrent_layers_of_striate(layer):
    x = torch.randn(2, 3, 3)
    layer(x)
    assert_all_worked(layer, x)


def attend(mask):
    def function(parts, x):
        return parts[0](x, x, x, attn_mask=mask(x) if mask else None, need_weights=False)[0]

    return function


@pytest.mark.parametrize(
    "net",
    [
        Net(attend(None), nn.MultiheadAttention(4, 2)),
        Net(attend(lambda x: nn.Transformer.generate_square_subsequent_mask(len(x))), nn.MultiheadAttention(4, 2)),
        Net(lambda parts, x: parts[0](x, x[..., :3], x[..., :2])[0], nn.MultiheadAttention(4, 2, kdim=3, vdim=2)),
        Net(lambda parts, x: parts[0](x, x, x, average_attn_weights=False)[0], nn.MultiheadAttention(4, 2)),
        Net(lambda parts, x: F.scaled_dot_product_attention(parts[0](x), x, x, is_causal=True), nn.Linear(4, 4)),
        nn.TransformerEncoderLayer(4, 2, 6, dropout=0.0, batch_first=True, norm_first=True),
        nn.TransformerEncoderLayer(4, 2, 6).eval(),
    ],
)
def test_attention(net):
    assert_all_worked(net, torch.randn(3, 3, 4))


def test_attention_of_striate():
    layer = layers.MultiHeadAttention(2, 3)
    x = torch.randn(2, 3, 4)
    layer(x, x)
    assert_all_worked(Net(lambda parts, x: parts[0](x, x, use_causal_mask=True), layer), x)


def operations(parts, x):
    x = x / 4
    y = (x + 1) * x - x.mean(1, keepdim=True) / 2
    y += 2 - y
    y = 1 / (y * y + 1) + torch.cat([y, y.flip(1)], 1).sum((1, 2), keepdim=True)
    a, b = (x @ x.mT).chunk(2)
    y = y[:, :2, :2] + torch.stack([a, b]).sum() - y.permute(2, 0, 1).reshape(-1)[0]
    return F.pad(y, (1, 0)).roll(1, 0).exp().sqrt() ** 3 - torch.bmm(x, x.mT).abs().max(0).values.log1p().sum() * 0


def test_operations_between_layers():
    worked = trace(Net(operations), torch.randn(2, 3, 4), 0.0, loss=lambda y, p: p.square().sum())
    assert [re.sub(r"^\d+\. ", "", title)[:17] for title in unwritten(worked)] == [
        "the module (max)n",
        "the module (log1p",
        "the module (log1p",
        "the module (max)n",
    ]


def test_embedding():
    net = nn.Sequential(nn.Embedding(5, 2, padding_idx=0), nn.Flatten(), nn.Linear(6, 2))
    worked = assert_all_worked(net, torch.tensor([[1, 2, 0], [1, 1, 3]]), "cross_entropy", torch.tensor([1, 0]))
    assert not worked.gradients["0.weight"][0].any()


def test_a_residual_block_with_a_reused_relu_in_place():
    relu = nn.ReLU(inplace=True)
    block = Net(
        lambda p, x: p[2](p[1](p[2](p[0](x))) + x),
        nn.Conv2d(2, 2, 3, padding=1),
        nn.Conv2d(2, 2, 1),
        relu,
    )
    worked = assert_all_worked(block, torch.randn(1, 2, 3, 3))
    titles = [block.title for block in worked.sections[0].blocks]
    assert titles == [
        "1. parts.0 (Conv2d)",
        "2. parts.2 (ReLU)",
        "3. parts.1 (Conv2d)",
        "4. the module (add)",
        "5. parts.2 (ReLU, call 2)",
    ]


def test_a_value_that_is_read_twice_gets_both_gradients():
    net = Net(lambda p, x: p[0](x) * 3 + p[0](x) * p[1](p[0](x)), nn.Linear(1, 1), nn.Tanh())
    assert_all_worked(net, torch.randn(1, 1))
    text = trace(
        Net(lambda p, x: (lambda h: h * 3 + h.tanh())(p[0](x)), nn.Linear(1, 1)), [[1.0]], [[0.0]], loss="mse"
    ).text()
    assert "∂L/∂z₁[0] = from the module (mul) + from the module (tanh)" in text


def test_a_striate_model():
    net = models.Sequential(
        [
            layers.Conv2D(2, 3, activation="relu", kernel_regularizer="l2", input_shape=(6, 6, 1)),
            layers.MaxPooling2D(),
            layers.BatchNormalization(),
            layers.Flatten(),
            layers.Dropout(0.5),
            layers.Dense(3, activation="softmax", kernel_regularizer="l1"),
        ]
    )
    net.compile(optimizer="sgd", loss="sparse_categorical_crossentropy")
    x, y = torch.randn(2, 6, 6, 1), torch.tensor([0, 2])
    for training in (True, False):
        net.train(training)
        torch.manual_seed(4)
        worked = trace(net, x, y, optimizer="adamw")
        assert unwritten(worked) == []
        torch.manual_seed(4)
        twin = copy.deepcopy(net)
        loss = losses.get("sparse_categorical_crossentropy")(y, twin(x))
        loss = loss + twin.layers[0].regularization() + twin.layers[-1].regularization()
        loss.backward()
        assert worked.loss == pytest.approx(loss.item(), rel=1e-6)
        for name, parameter in twin.named_parameters():
            torch.testing.assert_close(worked.gradients[name].float(), parameter.grad)


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v3_small"])
def test_networks_of_torchvision(models, name):
    torch.manual_seed(0)
    net = getattr(models, name)(weights=None, num_classes=4).eval()
    worked = trace(net, torch.randn(1, 3, 32, 32), [3], loss="cross_entropy", at={})
    assert unwritten(worked) == []
    assert worked.checks.gradients > 1_000_000


def test_half_precision_is_held_to_its_own_accuracy():
    net = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.LayerNorm(6), nn.Linear(6, 2)).bfloat16()
    worked = trace(net, torch.randn(3, 4), torch.randn(3, 2), loss="mse")
    assert unwritten(worked) == []
    assert 1e-5 < worked.checks.largest < 3e-2


# Losses -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("loss", "y", "written"),
    [
        ("mse", [[0.5, 1.0, 0.0]], True),
        (nn.MSELoss(reduction="sum"), [[0.5, 1.0, 0.0]], True),
        ("bce", [[1.0, 0.0, 1.0]], True),
        (nn.BCELoss(), [[1.0, 0.0, 0.25]], True),
        (nn.BCEWithLogitsLoss(), [[1.0, 0.0, 1.0]], True),
        (nn.BCEWithLogitsLoss(pos_weight=torch.ones(3)), [[1.0, 0.0, 1.0]], False),
        ("cross_entropy", [1], True),
        (nn.CrossEntropyLoss(), [1], True),
        (nn.CrossEntropyLoss(), [[0.25, 0.25, 0.5]], True),
        (nn.CrossEntropyLoss(label_smoothing=0.1), [1], False),
        ("sparse_categorical_crossentropy", [2], True),
        ("categorical_crossentropy", [[0.0, 0.0, 1.0]], True),
        (losses.CategoricalCrossentropy(label_smoothing=0.1), [[0.0, 0.0, 1.0]], False),
        ("hinge", [[1.0, -1.0, 1.0]], False),
        ("huber", [[1.0, -1.0, 1.0]], False),
        (nn.NLLLoss(), [1], False),
    ],
)
def test_losses(loss, y, written):
    x = torch.tensor([[0.2, 0.3, 0.6]])
    worked = assert_all_worked(nn.Sequential(nn.Linear(3, 3), nn.Sigmoid()), x, loss, torch.tensor(y))
    assert ("by value" in worked.text()) != written


# Nothing is changed -------------------------------------------------------------------------------------------------


def fails(_, output):
    raise KeyError


@pytest.mark.parametrize("raises", [False, True])
@pytest.mark.parametrize("training", [False, True])
def test_the_module_is_afterwards_what_it_was(training, raises):
    net = nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.ReLU(inplace=True), nn.Dropout(0.5), nn.Linear(6, 6))
    net.train(training)
    net[1].train(not training)
    net[4].weight.requires_grad_(False)
    net(torch.randn(5, 4)).sum().backward()
    x, y = torch.randn(5, 4), torch.randn(5, 6)
    kept = x.clone(), y.clone()
    optimizer = torch.optim.Adam(net.parameters())
    optimizer.step()
    state = copy.deepcopy(optimizer.state_dict())
    before = everything(net)
    if raises:
        with pytest.raises(KeyError):
            trace(net, x, y, loss=fails)
    else:
        worked = trace(net, x, y, loss="mse", optimizer=optimizer)
        assert "4.weight" not in worked.gradients
    assert_equal(before, everything(net))
    assert_equal(kept, (x, y))
    torch.testing.assert_close(optimizer.state_dict(), state, rtol=0, atol=0)
    assert x.grad is None and not x.requires_grad


def test_hooks_and_custom_gradients_do_no_harm():
    class Doubled(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return 2 * x

        @staticmethod
        def backward(ctx, gradient):
            return 5 * gradient  # not the derivative

    net = Net(lambda p, x: p[1](Doubled.apply(p[0](x)) + p[0](x)), nn.Linear(2, 2), nn.Linear(2, 1))
    seen = []
    net.parts[0].register_full_backward_hook(lambda *_: seen.append(1))
    worked = trace(net, torch.randn(1, 2), torch.randn(1, 1), loss="mse")
    assert worked.checks.gradients > 0
    assert len(seen) == 2


# A wrong formula is found -------------------------------------------------------------------------------------------


def x_and_net():
    torch.manual_seed(0)
    return torch.randn(2, 3), nn.Sequential(
        nn.Linear(3, 2), nn.Tanh(), nn.Unflatten(1, (2, 1)), nn.Flatten(), nn.Linear(2, 1)
    )


@pytest.mark.parametrize(
    ("kind", "method", "wrong"),
    [
        (WeightedSum, "outputs", lambda right: [right[0] * (1 + 5e-5)]),
        (WeightedSum, "gradients", lambda right: right | {"weight": right["weight"] * (1 + 5e-5)}),
        (WeightedSum, "gradients", lambda right: right | {"input": -right["input"]}),
        (Pointwise, "gradients", lambda right: {"input": right["input"].roll(1, 0)}),
        (Move, "outputs", lambda right: [right[0].flip(0)]),
        (WeightedSum, "forward", lambda right: right[:0] + [right[0].__class__(right[0].left, right[0].rights[:1])]),
        (WeightedSum, "taps", lambda right: (right[0][:-1], 0)),
    ],
)
def test_a_wrong_formula_is_an_error(monkeypatch, kind, method, wrong):
    x, net = x_and_net()
    trace(net, x, torch.zeros(2, 1), loss="mse")
    plain = getattr(kind, method)
    monkeypatch.setattr(kind, method, lambda self, *args: wrong(plain(self, *args)))
    with pytest.raises(SelfCheckError, match=r"Linear|Tanh|Flatten|Unflatten"):
        trace(net, x, torch.zeros(2, 1), loss="mse")


# What is written ----------------------------------------------------------------------------------------------------


def test_what_is_asked_for_is_written_and_the_rest_counted():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(2, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, 10))
    x = torch.randn(1, 2, 8, 8)
    by_itself = trace(net, x, [3], loss="cross_entropy")
    worked = trace(net, x, [3], loss="cross_entropy", at={"0": (2, 1, 5), "3": [7, (0, 8)]})
    text = worked.text()
    assert len(re.findall(r"^    z₁\[", text, re.M)) == 1 and "z₁[2,1,5] = x[0,1,5]·w₁[2,0,0,0]" in text
    assert re.findall(r"^    z₄\[(\d)\]", text, re.M) == ["7", "8"]
    assert "143 of 144 outputs are not written out" in text and "8 of 10 outputs are not written out" in text
    assert "a₂" not in text  # no place of it was asked for
    assert worked.folded > 0 and by_itself.folded > 0
    assert f"{worked.folded:,} numbers were worked out, but are not written." in text
    assert "∂L/∂w₁[2,0,0,0]" in text and "∂L/∂b₁[2]" in text and "∂L/∂w₁[0,0,0,0]" not in text
    gathered = trace(Net(lambda p, x: p[0](x).relu(), nn.Conv2d(2, 4, 3)), x, at={"": (2, 1, 5)}).text()
    assert "a₂[2,1,5] = relu(z₁[2,1,5])" in gathered


def test_a_place_is_followed_through_a_striate_layer():
    net = models.Sequential([layers.Conv2D(4, 3, activation="relu", input_shape=(8, 8, 2))])
    text = trace(net, torch.randn(1, 8, 8, 2), at={"conv2d": (2, 1, 5)}).text()
    assert "z₂[2,1,5] = " in text
    assert "a₄[1,5,2] = relu(y₃[1,5,2])" in text


def test_long_sums_are_folded_with_their_value():
    linear = nn.Linear(100, 1, bias=False)
    nn.init.constant_(linear.weight, 0.5)
    assert "= 0.5 + 0.5 + 0.5 + … 96 more: 48 … + 0.5\n" in trace(linear, torch.ones(1, 100)).text()
    assert "…" not in trace(linear, torch.ones(1, 100), at={"": 0}).text().split("Forward")[1]


def test_documents():
    x, net = x_and_net()
    worked = trace(net, x, torch.zeros(2, 1), loss="mse", optimizer="adam")
    markdown, page = worked.to_markdown(), worked.to_html()
    assert r"{z}^{(1)}_{0,0} &= x_{0,0} \, {w}^{(1)}_{0,0}" in markdown
    assert markdown.count("$$") % 2 == 0 and markdown.count(r"\begin{aligned}") == markdown.count(r"\end{aligned}")
    assert markdown.count("{") == markdown.count("}")
    assert "<script" not in page and "http" not in page.replace("http-equiv", "")
    assert "prefers-color-scheme: dark" in page and 'name="viewport"' in page
    assert page.count("<dl>") == page.count("</dl>") == markdown.count(r"\begin{aligned}")


def test_names_from_the_module_are_text_on_the_page():
    net = nn.Sequential()
    net.add_module("<b>*a*", nn.Linear(1, 1))
    worked = trace(net, [[1.0]])
    assert "&lt;b&gt;*a*" in worked.to_html() and "<b>*a*" not in worked.to_html()
    assert r"\<b\>\*a\*" in worked.to_markdown()


@pytest.mark.parametrize("suffix", [".txt", ".md", ".html"])
def test_save(tmp_path, suffix):
    worked = trace(nn.Linear(1, 1), [[1.0]])
    worked.save(tmp_path / f"trace{suffix}")
    expected = {".txt": worked.text(), ".md": worked.to_markdown(), ".html": worked.to_html()}[suffix]
    assert (tmp_path / f"trace{suffix}").read_text() == expected
    with pytest.raises(ArgumentError, match=r"\.txt, \.md or \.html"):
        worked.save(tmp_path / "trace.png")


# Mistakes -----------------------------------------------------------------------------------------------------------


def test_mistakes():
    net = nn.Sequential(nn.Linear(2, 3), nn.ReLU())
    x = [[1.0, 2.0]]
    with pytest.raises(ArgumentError, match="y needs a loss"):
        trace(net, x, [[1.0, 2.0, 3.0]])
    with pytest.raises(ArgumentError, match="need labels"):
        trace(net, x, loss="mse")
    with pytest.raises(UnknownNameError, match="mse"):
        trace(net, x, [[1.0]], loss="mze")
    with pytest.raises(ArgumentError, match=r"no part '7'"):
        trace(net, x, at={"7": 0})
    with pytest.raises(ArgumentError, match=r"shape \(1, 3\)"):
        trace(net, x, at={"0": 3})
    with pytest.raises(ArgumentError, match="expected a dict"):
        trace(net, x, at=3)
    with pytest.raises(ArgumentError, match="expected numbers"):
        trace(net, "x")
    with pytest.raises(NotBuiltError, match="no weights yet"):
        trace(layers.Dense(2), x)
    with pytest.raises(NotBuiltError, match="no weights yet"):
        trace(nn.LazyLinear(2), x)
