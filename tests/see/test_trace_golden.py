"""Traces of the textbook's cases, worked by hand: the numbers below are not torch's."""

import math

import pytest
import torch
from torch import nn

from striate import layers, models
from striate.regularizers import L2
from striate.see import trace


def with_weights(module, **weights):
    with torch.no_grad():
        for name, value in weights.items():
            getattr(module, name).copy_(torch.tensor(value))
    return module


def total(y, prediction):
    """A loss whose gradient is y."""
    return (y * prediction).sum()


def test_a_single_neuron():
    neuron = nn.Sequential(with_weights(nn.Linear(2, 1), weight=[[0.2, -0.5]], bias=[0.1]), nn.ReLU())
    assert (
        trace(neuron, [[1.0, 2.0]])
        .text()
        .endswith(
            """
1. 0 (Linear): z = x · Wᵀ + b; (1, 2) → (1, 1)
    z₁[0] = x[0]·w₁[0,0] + x[1]·w₁[0,1] + b₁[0]
          = 1 × 0.2 + 2 × (-0.5) + 0.1
          = 0.2 + (-1) + 0.1
          = -0.7

2. 1 (ReLU): a = relu(z); (1, 1) → (1, 1)
    a₂[0] = relu(z₁[0])
          = relu(-0.7)
          = max(0, -0.7)
          = 0"""
        )
    )


def test_a_sigmoid_neuron_learns():
    # z = 0, a = 1/2, L = (1/2 − 1)² = 1/4; ∂L/∂a = −1, da/dz = 1/4, ∂L/∂z = −1/4, ∂L/∂w = −1/4 · (1, 2).
    neuron = nn.Sequential(with_weights(nn.Linear(2, 1), weight=[[2.0, -1.0]], bias=[0.0]), nn.Sigmoid())
    optimizer = torch.optim.SGD(neuron.parameters(), lr=0.4)
    worked = trace(neuron, [[1.0, 2.0]], [[1.0]], loss="mse", optimizer=optimizer)
    assert worked.loss == 0.25
    assert worked.gradients["0.weight"].tolist() == [[-0.25, -0.5]]
    assert worked.updated["0.weight"].tolist() == [[pytest.approx(2.1), pytest.approx(-0.8)]]
    text = worked.text()
    for block in (
        """
    e[0] = a₂[0] − y[0]
         = 0.5 − 1
         = -0.5
    L = (e[0])²
      = 0.25
    ∂L/∂a₂[0] = 2·(a₂[0] − y[0])
              = 2 × (0.5 − 1)
              = -1
""".replace("(e[0])²", "e[0]²"),
        """
2. 1 (Sigmoid)
    da₂[0]/dz₁[0] = a₂[0]·(1 − a₂[0])
                  = 0.5 × (1 − 0.5)
                  = 0.25
    ∂L/∂z₁[0] = ∂L/∂a₂[0]·da₂[0]/dz₁[0]
              = (-1) × 0.25
              = -0.25
""",
        """
    ∂L/∂w₁[0,1] = ∂L/∂z₁[0]·x[1]
                = (-0.25) × 2
                = -0.5
""",
        """
    w₁[0,1] ← w₁[0,1] − η·∂L/∂w₁[0,1]
            = (-1) − 0.4 × (-0.5)
            = -0.8
""",
    ):
        assert block in text


def test_xor_with_two_hidden_neurons():
    """The network of Goodfellow, Bengio and Courville (2016), section 6.1, with an output bias of 1/2.

    Then all four outputs are 1/2 too high, L = 1/4, and each output's gradient is 2 · 1/2 / 4 = 1/4. The hidden values
    are (0, 0), (1, 0), (1, 0), (2, 1): the gradient of the output weights is (1/4 · 4, 1/4 · 1).
    """
    xor = nn.Sequential(
        with_weights(nn.Linear(2, 2), weight=[[1.0, 1.0], [1.0, 1.0]], bias=[0.0, -1.0]),
        nn.ReLU(),
        with_weights(nn.Linear(2, 1), weight=[[1.0, -2.0]], bias=[0.5]),
    )
    x, y = [[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]], [[0.0], [1.0], [1.0], [0.0]]
    worked = trace(xor, x, y, loss="mse", optimizer=torch.optim.SGD(xor.parameters(), lr=0.1))
    assert worked.output.flatten().tolist() == [0.5, 1.5, 1.5, 0.5]
    assert worked.loss == 0.25
    assert {name: gradient.tolist() for name, gradient in worked.gradients.items()} == {
        "0.weight": [[0.5, 0.5], [-0.5, -0.5]],  # where the hidden neuron is above 0
        "0.bias": [0.75, -0.5],
        "2.weight": [[1.0, 0.25]],
        "2.bias": [1.0],
    }
    assert worked.updated["2.weight"].tolist() == [[pytest.approx(0.9), pytest.approx(-2.025)]]
    text = worked.text()
    assert (
        """
    z₁[3,1] = x[3,0]·w₁[1,0] + x[3,1]·w₁[1,1] + b₁[1]
            = 1 × 1 + 1 × 1 + (-1)
            = 1 + 1 + (-1)
            = 1
"""
        in text
    )
    assert (
        """
    ∂L/∂w₃[0,0] = ∂L/∂z₃[0,0]·a₂[0,0] + ∂L/∂z₃[1,0]·a₂[1,0] + ∂L/∂z₃[2,0]·a₂[2,0] + ∂L/∂z₃[3,0]·a₂[3,0]
                = 0.25 × 0 + 0.25 × 1 + 0.25 × 1 + 0.25 × 2
                = 0 + 0.25 + 0.25 + 0.5
                = 1
"""
        in text
    )
    assert worked.folded == 0


def test_a_convolution_of_3_by_3():
    # Sobel's filter on the numbers 1 to 9: each row differs by 2 from left to right, 2 · (1 + 2 + 1) = 8.
    sobel = [[[[-1.0, 0.0, 1.0], [-2.0, 0.0, 2.0], [-1.0, 0.0, 1.0]]]]
    net = with_weights(nn.Conv2d(1, 1, 3), weight=sobel, bias=[0.5])
    worked = trace(net, torch.arange(1.0, 10).reshape(1, 1, 3, 3), 3 * torch.ones(1, 1, 1, 1), loss=total)
    assert worked.output.item() == 8.5
    assert worked.gradients["weight"].flatten().tolist() == [3.0 * n for n in range(1, 10)]
    assert worked.gradients["bias"].tolist() == [3.0]
    text = worked.text()
    assert "= (-1) + 0 + 3 + (-8) + 0 + 12 + (-7) + 0 + 9 + 0.5\n" in text
    assert "∂L/∂w₁[0,0,2,1] = ∂L/∂z₁[0,0,0]·x[0,2,1]\n                    = 3 × 8\n                    = 24" in text


def test_a_convolution_at_the_border():
    net = with_weights(nn.Conv2d(1, 1, 3, padding=1, bias=False), weight=[[[[1.0] * 3] * 3]])
    worked = trace(net, torch.arange(1.0, 10).reshape(1, 1, 3, 3), at={"": (0, 0, 2)})
    # Of the corner's patch 2, 3, 5 and 6 lie in the image.
    assert "= 2 + 3 + 5 + 6\n" in worked.text()
    assert "= 16   (5 of 9 inputs lie in the padding and are 0)" in worked.text()
    assert "8 of 9 outputs are not written out" in worked.text()
    assert worked.folded == 8


def test_max_pooling_and_the_way_of_its_gradient():
    image = [[[[1.0, 5.0, 2.0, 0.0], [3.0, 4.0, 2.0, 7.0], [0.0, 0.0, 9.0, 8.0], [0.0, 0.0, 8.0, 8.0]]]]
    y = [[[[10.0, 20.0], [30.0, 40.0]]]]
    worked = trace(nn.MaxPool2d(2), image, torch.tensor(y), loss=total)
    text = worked.text()
    assert "    y₁[0,0,1] = max(x[0,0,2], x[0,0,3], x[0,1,2], x[0,1,3])\n              = max(2, 0, 2, 7)\n" in text
    assert "= 7   (largest: x[0,1,3])" in text
    assert "= 0   (largest: x[0,2,0])" in text  # of equal ones the first
    assert "13 of 16 of input" in text
    whole = trace(nn.MaxPool2d(2), [image[0]], torch.tensor(y), loss=total, at={"": (0, 0, 0)}).text()
    assert "∂L/∂x[0,0,1] = ∂L/∂y₁[0,0,0]\n                 = 10   (the largest of its window)" in whole
    assert "∂L/∂x[0,1,1] = 0   (the largest of no window)" in whole


def test_softmax_with_cross_entropy():
    # eᶻ is 1, 2 and 5, so p is 1/8, 2/8 and 5/8; the gradient is p − y.
    z = torch.tensor([[1.0, 2.0, 5.0]]).log()
    worked = trace(nn.Identity(), z, [2], loss="cross_entropy")
    text = worked.text()
    assert worked.loss == pytest.approx(math.log(8 / 5))
    assert "= 1 + 2 + 5\n      = 8\n" in text
    assert "    ∂L/∂x[1] = p[1] − y[1]\n             = 0.25 − 0\n             = 0.25\n" in text
    assert "    ∂L/∂x[2] = p[2] − y[2]\n             = 0.625 − 1\n             = -0.375" in text


def test_softmax_as_a_layer_then_cross_entropy():
    z = torch.tensor([[1.0, 2.0, 5.0]]).log()
    text = trace(nn.Softmax(-1), z, [2], loss="sparse_categorical_crossentropy").text()
    assert "    ∂L/∂p₁[2] = 1 / Σ p − y[2] / p₁[2]\n              = 1 / 1 − 1 / 0.625\n              = -0.6" in text
    for place, value in enumerate(("0.125", "0.25", "-0.375")):
        block = text[text.index(f"    ∂L/∂x[{place}] = p₁[{place}] − y[{place}]") :]
        assert f"= {value}   (softmax and cross-entropy together)" in block.split("∂L/∂x")[1]


class Step(nn.Module):
    def __init__(self, cell):
        super().__init__()
        self.cell = cell

    def forward(self, x, h, c):
        return self.cell(x, (h, c))[0]


def test_one_step_of_an_lstm():
    """All gates have weight 1 of x = 1, and biases that make them 1/2; c was 1.

    i = f = o = 1/2, g = 1/2, c = 1/2 · 1 + 1/2 · 1/2 = 3/4, h = 1/2 · tanh(3/4).
    """
    half = math.atanh(0.5)
    cell = with_weights(
        nn.LSTMCell(1, 1),
        weight_ih=[[1.0]] * 4,
        weight_hh=[[0.0]] * 4,
        bias_ih=[-1.0, -1.0, half - 1, -1.0],
        bias_hh=[0.0] * 4,
    )
    worked = trace(Step(cell), [torch.ones(1, 1), torch.zeros(1, 1), torch.ones(1, 1)], torch.ones(1, 1), loss=total)
    text = worked.text()
    t = math.tanh(0.75)
    assert worked.output.item() == pytest.approx(t / 2)
    assert "    i[0,0] = σ(s[i,0,0])\n           = σ(0)\n           = 0.5\n" in text
    assert "    g[0,0] = tanh(s[g,0,0])\n           = tanh(0.549306)\n           = 0.5\n" in text
    assert (
        """
    c[0,0] = f[0,0]·c[-1,0] + i[0,0]·g[0,0]
           = 0.5 × 1 + 0.5 × 0.5
           = 0.5 + 0.25
           = 0.75
    h[0,0] = o[0,0]·tanh(c[0,0])
           = 0.5 × 0.635149
           = 0.317574
"""
        in text
    )
    to_c = (1 - t * t) / 2
    by_hand = [to_c / 2 / 4, to_c * 1 / 4, to_c / 2 * 3 / 4, t / 4]  # input, forget, cell, output
    assert worked.gradients["cell.weight_ih"].flatten().tolist() == pytest.approx(by_hand)
    assert (
        """
    ∂L/∂s[f,0,0] = ∂L/∂c[0,0]·c[-1,0]·f[0,0]·(1 − f[0,0])
                 = 0.298293 × 1 × 0.5 × 0.5
"""
        in text
    )


@pytest.mark.parametrize("module", [nn.Dropout(0.75), layers.Dropout(0.75)], ids=["torch", "striate"])
def test_dropout_scales_what_it_keeps(module):
    module.train()
    torch.manual_seed(3)
    x = torch.arange(1.0, 9).reshape(1, 8)
    if isinstance(module, layers.Layer):
        module.build_once((None, 8))
    state = torch.get_rng_state()
    expected = module(x)
    torch.set_rng_state(state)
    worked = trace(module, x, torch.ones(1, 8), loss=total)
    assert torch.equal(worked.output, expected)
    kept = expected.flatten().nonzero().flatten().tolist()
    assert 0 < len(kept) < 8
    text = worked.text()
    for place in range(8):
        factor, note = ("4", "kept: 1 / (1 − 0.75)") if place in kept else ("0", "dropped")
        value = (place + 1) * int(factor)
        assert (
            f"    y₁[{place}] = x[{place}]·m₁[{place}]\n          = {place + 1} × {factor}\n"
            f"          = {value}   ({note})" in text
        )
        assert f"∂L/∂x[{place}] = ∂L/∂y₁[{place}]·m₁[{place}]\n             = 1 × {factor}\n" in text


def test_l2_adds_to_the_gradient_and_the_update():
    # p = 2 · 1/2 = 1, L = 1² + 0.1 · (1/2)²; ∂L/∂w = 2 · 1 · 2 + 2 · 0.1 · 1/2 = 4.1; w ← 0.5 − 0.1 · 4.1.
    dense = layers.Dense(1, use_bias=False, kernel_regularizer=L2(0.1), input_shape=(1,))
    net = models.Sequential([dense])
    with torch.no_grad():
        dense.op.weight.fill_(0.5)
    net.compile(optimizer="sgd", loss="mse")
    worked = trace(net, [[2.0]], [[0.0]], optimizer=torch.optim.SGD(net.parameters(), lr=0.1))
    assert worked.loss == pytest.approx(1.025)
    assert (
        """
    ∂L/∂w₁[0,0] = from layers.dense.op (Linear) + 2·λ·w₁[0,0]
                = 4 + 2 × 0.1 × 0.5
                = 4 + 0.1
                = 4.1
    w₁[0,0] ← w₁[0,0] − η·∂L/∂w₁[0,0]
            = 0.5 − 0.1 × 4.1
            = 0.09
"""
        in worked.text() + "\n"
    )


def neuron_of(weight):
    return with_weights(nn.Linear(1, 1, bias=False), weight=[[weight]])


def test_momentum_remembers():
    net = neuron_of(0.5)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9, weight_decay=0.2)
    net.weight.grad = torch.tensor([[1.0]])
    optimizer.step()  # v = 1 + 0.2 · 0.5 = 1.1, w = 0.5 − 0.11 = 0.39
    net.weight.grad = None
    before = {name: value.clone() for name, value in optimizer.state[net.weight].items()}
    worked = trace(net, [[1.0]], [[2.0]], loss=total, optimizer=optimizer)
    # g = 2 + 0.2 · 0.39 = 2.078, v = 0.9 · 1.1 + 2.078 = 3.068, w = 0.39 − 0.3068
    assert worked.updated["weight"].item() == pytest.approx(0.0832)
    text = worked.text()
    assert "    v[0,0] ← μ·v[0,0] + g[0,0]\n           = 0.9 × 1.1 + 2.078\n" in text
    assert net.weight.item() == pytest.approx(0.39)
    assert torch.equal(optimizer.state[net.weight]["momentum_buffer"], before["momentum_buffer"])


def test_adam_takes_its_first_step():
    # m̂ is g and v̂ is g² at the first step, so the weight moves by the learning rate.
    worked = trace(neuron_of(0.5), [[1.0]], [[4.0]], loss=total, optimizer=torch.optim.Adam)
    assert worked.updated["weight"].item() == pytest.approx(0.5 - 0.001)
    text = worked.text()
    assert "    m̂[0,0] = m[0,0] / (1 − 0.9^1)\n" in text
    assert "= 0.9 × 0 + 0.1 × 4\n" in text
    assert "= 0.5 − 0.001 × 1\n" in text
