"""Layers and graphs drawn at random: what is worked out on paper, what is counted and torch's own counter agree."""

import math

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from striate.account import count
from tests.conformance.arithmetic import Sheet

few = settings(max_examples=25, deadline=None)


def torchs_macs(module: nn.Module, *shape: int) -> int:
    """On the meta device, where torch's counter sees attention and recurrence too."""
    with FlopCounterMode(display=False) as counter:
        module.to("meta")(torch.empty(shape, device="meta"))
    return counter.get_total_flops() // 2


class Branched(nn.Module):
    """What was made so far, with a convolution of it beside it or added to it."""

    def __init__(self, channels: int, filters: int, add: bool) -> None:
        super().__init__()
        self.branch = nn.Conv2d(channels, channels if add else filters, 3, padding=1)
        self.add = add

    def forward(self, x):
        return x + self.branch(x) if self.add else torch.cat([x, self.branch(x)], dim=1)


@st.composite
def image_networks(draw):
    """A sheet and the same network in torch, layer by layer."""
    channels, size = draw(st.integers(1, 4)), draw(st.integers(8, 20))
    sheet, layers = Sheet(channels, size), []
    for _ in range(draw(st.integers(1, 6))):
        kinds = ["conv", "grouped", "norm", "add", "concatenate", "activation"] + ["pool"] * (min(sheet.size) >= 4)
        kind, filters, bias = draw(st.sampled_from(kinds)), draw(st.integers(1, 6)), draw(st.booleans())
        before = sheet.channels
        if kind == "conv":
            kernel, stride = draw(st.integers(1, 3)), draw(st.integers(1, 2))
            sheet.conv(filters, kernel, stride=stride, padding=1, bias=bias)
            layers.append(nn.Conv2d(before, filters, kernel, stride, 1, bias=bias))
        elif kind == "grouped":
            sheet.conv(before * filters, 3, padding=1, groups=before, bias=bias)
            layers.append(nn.Conv2d(before, before * filters, 3, padding=1, groups=before, bias=bias))
        elif kind == "norm":
            sheet.norm()
            layers.append(nn.BatchNorm2d(before))
        elif kind == "add":
            sheet.beside(lambda x: x.conv(x.channels, 3, padding=1))
            layers.append(Branched(before, before, add=True))
        elif kind == "concatenate":
            sheet.concatenate(lambda x: x, lambda x, filters=filters: x.conv(filters, 3, padding=1))
            layers.append(Branched(before, filters, add=False))
        elif kind == "activation":
            layers.append(draw(st.sampled_from([nn.ReLU(), nn.GELU(), nn.Hardswish(), nn.Sigmoid()])))
        else:
            sheet.pool(2, 2)
            layers.append(nn.MaxPool2d(2))
    units = draw(st.integers(1, 5))
    sheet.flatten().linear(units)
    layers += [nn.Flatten(), nn.LazyLinear(units)]
    network = nn.Sequential(*layers).eval()
    network(torch.zeros(1, channels, size, size))
    return sheet, network, (channels, size, size)


@few
@given(image_networks(), st.integers(1, 3))
def test_image_networks(drawn, batch):
    sheet, network, shape = drawn
    ledger = count(network, shape, batch_size=batch)
    assert ledger.macs == batch * sheet.macs == torchs_macs(network, batch, *shape)
    assert (ledger.parameters, ledger.neurons) == (sheet.parameters, sheet.neurons)
    assert (ledger.unknown, ledger.notes) == ({}, [])


@few
@given(
    tokens=st.integers(1, 9),
    heads=st.integers(1, 3),
    size=st.integers(1, 4),
    blocks=st.integers(1, 3),
    hidden=st.integers(1, 9),
    training=st.booleans(),
)
def test_transformers(tokens, heads, size, blocks, hidden, training):
    width = heads * size
    sheet = Sheet(width, tokens).resize(tokens)
    for _ in range(blocks):
        sheet.attention().norm().linear(hidden).linear(width).norm()
    block = nn.TransformerEncoderLayer(width, heads, hidden, batch_first=True)
    network = nn.TransformerEncoder(block, blocks, enable_nested_tensor=False).train(training)
    ledger = count(network, (tokens, width))
    assert ledger.macs == sheet.macs
    assert (ledger.parameters, ledger.neurons) == (sheet.parameters, sheet.neurons)
    assert ledger.macs == torchs_macs(network.train(), 1, tokens, width)  # evaluated, torch's fast path hides it


@few
@given(
    kind=st.sampled_from([nn.RNN, nn.GRU, nn.LSTM]),
    steps=st.integers(1, 6),
    features=st.integers(1, 5),
    units=st.integers(1, 5),
    layers=st.integers(1, 3),
    bidirectional=st.booleans(),
    batch=st.integers(1, 3),
)
def test_recurrent_layers(kind, steps, features, units, layers, bidirectional, batch):
    gates, directions = {nn.RNN: 1, nn.GRU: 3, nn.LSTM: 4}[kind], 1 + bidirectional
    read = [features] + [directions * units] * (layers - 1)
    weights = sum(directions * gates * units * (inputs + units) for inputs in read)
    module = kind(features, units, layers, bidirectional=bidirectional, batch_first=True)
    ledger = count(module, (steps, features), batch_size=batch)
    assert ledger.macs == batch * steps * weights == torchs_macs(module, batch, steps, features)
    assert ledger.neurons == layers * directions * units


@few
@given(
    axes=st.integers(1, 3),
    channels=st.integers(1, 3),
    filters=st.integers(1, 3),
    groups=st.integers(1, 3),
    kernel=st.integers(1, 3),
    stride=st.integers(1, 3),
    dilation=st.integers(1, 2),
    size=st.integers(5, 8),
    transposed=st.booleans(),
)
def test_convolutions(axes, channels, filters, groups, kernel, stride, dilation, size, transposed):
    kinds = (
        [nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d]
        if transposed
        else [nn.Conv1d, nn.Conv2d, nn.Conv3d]
    )
    channels, filters = channels * groups, filters * groups
    module = kinds[axes - 1](channels, filters, kernel, stride, groups=groups, dilation=dilation)
    shape = (channels,) + (size,) * axes
    places = (
        (size - 1) * stride + dilation * (kernel - 1) + 1
        if transposed
        else (size - dilation * (kernel - 1) - 1) // stride + 1
    )
    ledger = count(module, shape)
    read = (size if transposed else places) ** axes
    assert ledger.macs == read * math.prod(module.weight.shape) == torchs_macs(module, 1, *shape)
    assert ledger.neurons == filters * places**axes
