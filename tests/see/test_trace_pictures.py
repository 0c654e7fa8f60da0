"""Single operations in numbers and pictures: what they show is what torch computed, and can be read."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from striate import layers, models
from striate.errors import ArgumentError
from striate.see import attention, convolve, pool, recurrent
from tests.see.looking import assert_readable
from tests.see.test_watching import assert_equal, everything


def net():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, stride=2, padding=1),
        nn.ReLU(inplace=True),
        nn.MaxPool2d(3, 2, 1),
        nn.Conv2d(4, 6, 3, padding=2, dilation=2, groups=2, bias=False),
        nn.AvgPool2d(2),
    )


IMAGE = torch.rand(3, 16, 16)


@pytest.mark.parametrize("place", [(0, 0), (3, 4), (7, 7)])
def test_a_convolution_is_patch_times_kernel_plus_bias(place):
    module = net()
    worked = convolve(module, "0", IMAGE, at=place, filter=2)
    first = module[0]
    assert worked.value == pytest.approx(first(IMAGE[None])[(0, 2, *place)].item(), rel=1e-5, abs=1e-6)
    padded = F.pad(IMAGE, (1, 1, 1, 1)).numpy()
    row, column = 2 * place[0], 2 * place[1]
    np.testing.assert_allclose(worked.patch, padded[:, row : row + 3, column : column + 3])
    assert worked.corner == (row - 1, column - 1)
    np.testing.assert_array_equal(worked.kernel, first.weight[2].detach())
    assert worked.value == pytest.approx(float((worked.patch * worked.kernel).sum()) + worked.bias)
    assert worked.text().endswith(f"= {worked.value:.6g}" + (worked.equation.note and f"   ({worked.equation.note})"))
    assert_readable(worked, "0: filter 2", "channel 2", "× kernel", "= products")


def test_a_group_of_a_dilated_convolution():
    module = net()
    worked = convolve(module, "3", IMAGE, at=(1, 2), filter=4)
    before = module[:3](IMAGE[None])
    assert worked.value == pytest.approx(module[3](before)[0, 4, 1, 2].item(), rel=1e-5)
    np.testing.assert_array_equal(worked.source, before[0, 2].detach())  # the second group starts there
    assert worked.kernel.shape == (2, 3, 3) and worked.step == (2, 2) and worked.corner == (-1, 0)
    assert_readable(worked, "channel 1")


def test_a_layer_of_striate():
    model = models.Sequential([layers.Conv2D(2, 3, activation="relu", input_shape=(8, 8, 1)), layers.MaxPooling2D()])
    image = np.arange(64, dtype=np.float32).reshape(8, 8) / 64
    out = model.layers[0].op(torch.tensor(image)[None, None])
    assert convolve(model, "conv2d", image, at=(2, 3), filter=1).value == pytest.approx(
        out[0, 1, 2, 3].item(), rel=1e-5
    )
    pooled = pool(model, "max_pooling2d", image, at=(0, 1), channel=1)
    assert pooled.value == pytest.approx(model(torch.tensor(image)[None, ..., None])[0, 0, 1, 1].item(), rel=1e-5)


@pytest.mark.parametrize("place", [(0, 0), (2, 3)])
def test_a_maximum_and_its_place(place):
    module = net()
    worked = pool(module, "2", IMAGE, at=place, channel=1)
    before = module[:2](IMAGE[None])
    values, places = F.max_pool2d(before, 3, 2, 1, return_indices=True)
    assert worked.value == pytest.approx(values[(0, 1, *place)].item())
    assert worked.largest == divmod(places[(0, 1, *place)].item(), before.shape[-1])
    assert worked.largest in worked.places
    assert len(worked.places) == (4 if place == (0, 0) else 9)
    assert_readable(worked, "2: channel 1", "largest (dashed)")


def test_an_average():
    module = net().eval()
    worked = pool(module, "4", IMAGE, at=(0, 0), channel=3)
    assert worked.largest is None and "the mean" in worked.alt
    assert worked.value == pytest.approx(module(IMAGE[None])[0, 3, 0, 0].item(), rel=1e-5)
    assert_readable(worked, "mean")


def test_attention_weights():
    layer = nn.TransformerEncoderLayer(8, 4, dropout=0.5, batch_first=True)
    x = torch.randn(2, 5, 8)
    worked = attention(layer, x, sample=1)
    expected = layer.self_attn.eval()(x, x, x, average_attn_weights=False)[1][1]
    np.testing.assert_allclose(worked.weights, expected.detach(), atol=1e-6)
    np.testing.assert_allclose(worked.weights.sum(-1), 1)
    assert worked.path == "self_attn"
    assert "head 3: a query takes from" in worked.text()
    assert_readable(worked, "head 3", "key", "query")


def test_attention_weights_of_striate_and_of_many_heads():
    layer = layers.MultiHeadAttention(20, 3)
    x = torch.randn(1, 12, 4)
    layer(x, x)
    expected = layer.eval()(x, x, return_attention_scores=True)[1][0]
    worked = attention(layer, [x, x])
    np.testing.assert_allclose(worked.weights, expected.detach(), atol=1e-6)
    assert "… 4 more heads …" in worked.text() and "… 4 more queries …" in worked.text()
    assert_readable(worked, "head 15 (+4)")


def test_the_gates_of_an_lstm():
    lstm, x = nn.LSTM(3, 4, batch_first=True), torch.randn(2, 6, 3)
    worked = recurrent(lstm, x, sample=1)
    h, c = torch.zeros(4), torch.zeros(4)
    for step in range(6):
        z = lstm.weight_ih_l0 @ x[1, step] + lstm.bias_ih_l0 + lstm.weight_hh_l0 @ h + lstm.bias_hh_l0
        i, f, g, o = z[:4].sigmoid(), z[4:8].sigmoid(), z[8:12].tanh(), z[12:].sigmoid()
        c = f * c + i * g
        h = o * c.tanh()
        by_hand = {"input": i, "forget": f, "cell": g, "output": o}
        for name, gate in by_hand.items():
            np.testing.assert_allclose(worked.gates[name][step], gate.detach(), atol=1e-6)
        np.testing.assert_allclose(worked.states["c"][step], c.detach(), atol=1e-6)
    np.testing.assert_allclose(worked.states["h"], lstm(x)[0][1].detach(), atol=1e-6)
    assert f"{worked.gates['forget'][5, 3]:.4f}" in worked.text()
    assert_readable(worked, "forget gate", "state c", "step", "unit")


def test_the_gates_of_a_gru_of_striate_and_the_state_of_a_simple_recurrence():
    gru, x = layers.GRU(2), torch.randn(1, 5, 3)
    last = gru(x)
    worked = recurrent(gru, x)
    np.testing.assert_allclose(worked.states["h"][-1], last[0].detach(), atol=1e-6)
    assert list(worked.gates) == ["reset", "update", "new"]
    simple = recurrent(nn.Sequential(nn.RNN(3, 30, batch_first=True)), torch.randn(1, 40, 3), "0")
    assert not simple.gates and "… 26 more units …" in simple.text() and "… 28 more steps …" in simple.text()
    assert_readable(simple, "state h")


def test_nothing_is_changed(tmp_path):
    module = net()
    module(IMAGE[None]).sum().backward()
    before = everything(module)
    convolve(module, "3", IMAGE, at=(0, 0)).save(tmp_path / "sum.svg", "dark")
    pool(module, "2", IMAGE, at=(0, 0)).save(tmp_path / "window.png")
    with pytest.raises(ArgumentError):
        pool(module, "0", IMAGE, at=(0, 0))
    assert_equal(before, everything(module))
    assert (tmp_path / "sum.svg").stat().st_size > 5000


def test_mistakes():
    module = net()
    with pytest.raises(ArgumentError, match=r"No convolution runs in '2'\. There are: 0, 3"):
        convolve(module, "2", IMAGE, at=(0, 0))
    with pytest.raises(ArgumentError, match=r"no map 9 .* 4 maps of 8 × 8"):
        convolve(module, "0", IMAGE, at=(0, 0), filter=9)
    with pytest.raises(ArgumentError, match=r"place \(8, 0\)"):
        convolve(module, "0", IMAGE, at=(8, 0))
    with pytest.raises(ArgumentError, match="no part 'x'"):
        pool(module, "x", IMAGE, at=(0, 0))
    with pytest.raises(ArgumentError, match="No attention runs in the module"):
        attention(module, IMAGE[None])
    with pytest.raises(ArgumentError, match="the batch has 2"):
        recurrent(nn.LSTM(3, 2), torch.randn(4, 2, 3), sample=2)
