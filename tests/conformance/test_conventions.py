"""Small operations by the table of `striate.account.formulas`, and operations by their shapes on paper."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from striate.account import count


class Calls(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, *tensors):
        return self.function(*tensors)


def grid(x):
    return torch.zeros(1, 5, 7, 2)


# The function, the shape of its input, MACs and small operations.
ROWS = [
    (torch.add, [(6,), (6,)], 0, 6),
    (torch.relu, (6,), 0, 6),
    (torch.tanh, (6,), 0, 6),
    (torch.sigmoid, (6,), 0, 24),
    (F.softplus, (6,), 0, 18),
    (F.gelu, (6,), 0, 30),
    (F.silu, (6,), 0, 30),
    (F.hardswish, (6,), 0, 24),
    (F.leaky_relu, (6,), 0, 12),
    (F.elu, (6,), 0, 24),
    (F.glu, (6,), 0, 15),
    (lambda x: F.softmax(x, -1), (6,), 0, 30),
    (lambda x: F.layer_norm(x, (6,)), (4, 6), 0, 7 * 24),
    (lambda x: F.group_norm(x, 2), (4, 3, 3), 0, 7 * 36),
    (lambda x: x.sum(-1), (4, 6), 0, 24),
    (lambda x: x.cumsum(-1), (4, 6), 0, 24),
    (lambda x: x.var(-1), (4, 6), 0, 4 * 24),
    (lambda x: x.norm(dim=-1), (4, 6), 0, 2 * 24),
    (lambda x: F.max_pool2d(x, 2), (3, 4, 6), 0, 3 * 2 * 3 * 3),
    (lambda x: F.avg_pool2d(x, 2), (3, 4, 6), 0, 3 * 2 * 3 * 4),
    (lambda x: F.adaptive_avg_pool2d(x, 1), (3, 4, 6), 0, 72),
    (lambda x: F.interpolate(x, scale_factor=2, mode="nearest"), (3, 4, 6), 0, 0),
    (lambda x: F.interpolate(x, scale_factor=2, mode="linear"), (3, 4), 0, 3 * 8 * 3),
    (lambda x: F.interpolate(x, scale_factor=2, mode="bilinear"), (3, 4, 6), 0, 3 * 8 * 12 * 7),
    (lambda x: F.interpolate(x, scale_factor=2, mode="trilinear"), (3, 2, 4, 6), 0, 3 * 4 * 8 * 12 * 15),
    (lambda x: F.interpolate(x, scale_factor=2, mode="bicubic"), (3, 4, 6), 0, 3 * 8 * 12 * 31),
    # Shrunk to a half, a point reads 4 on each axis.
    (lambda x: F.interpolate(x, size=(2, 3), mode="bilinear", antialias=True), (3, 4, 6), 0, 3 * 2 * 3 * 31),
    (lambda x: F.grid_sample(x, grid(x), align_corners=False), (3, 4, 6), 0, 3 * 5 * 7 * 7),
    (lambda x: F.grid_sample(x, grid(x), mode="nearest", align_corners=False), (3, 4, 6), 0, 0),
    (lambda x: F.fold(x, (4, 4), 2, stride=2), (12, 4), 0, 48),
    (lambda x: torch.cdist(x, x), (5, 6), 0, 3 * 5 * 5 * 6),
    (lambda x: x.sort(-1)[0], (3, 8), 0, 24 * 3),
    (lambda x: x.sort(dim=-1, stable=True)[0], (3, 5), 0, 15 * 3),
    (lambda x: torch.fft.fft(x.to(torch.complex64)), (3, 8), 0, 5 * 24 * 3),
    (torch.fft.rfft, (3, 8), 0, 5 * 24 * 3 // 2),
    (lambda x: torch.fft.irfft2(torch.fft.rfft2(x)), (3, 4, 8), 0, 2 * (5 * 96 * 5 // 2)),
    (lambda x: torch.zeros(5).index_add(0, torch.zeros(6, dtype=torch.int64), x[0]), (6,), 0, 6),
    (lambda x: F.mse_loss(x, x), (6,), 0, 18),
    (lambda x: F.embedding_bag(x[0].long(), torch.zeros(10, 4), torch.tensor([0, 2])), (6,), 0, 24),
    (lambda x: torch.bucketize(x, torch.zeros(7)), (6,), 0, 18),
    (lambda x: x.view(3, 2).mT.flip(0).roll(1, 0).contiguous(), (6,), 0, 0),
    (lambda x: torch.addmv(torch.zeros(3), torch.zeros(3, 6), x[0]), (6,), 18, 3),
    (lambda x: torch.addr(torch.zeros(6, 6), x[0], x[0]), (6,), 36, 36),
    (lambda x: torch.zeros(1, 4, 4).baddbmm_(x, x), (4, 4), 64, 16),
]


@pytest.mark.parametrize(("function", "shape", "macs", "operations"), ROWS, ids=range(len(ROWS)))
def test_conventions(function, shape, macs, operations):
    ledger = count(Calls(function), shape)
    assert (ledger.macs, ledger.operations, ledger.unknown) == (macs, operations, {})


def test_batch_normalisation_costs_less_evaluated():
    module = nn.BatchNorm2d(3)
    assert count(module.eval(), (3, 4, 5)).operations == 2 * 60
    assert count(module.train(), (3, 4, 5)).operations == 7 * 60 + 1  # and the batches it has seen


def test_operations_of_torchvision():
    from striate.account.formulas import cost_of

    x, weight, output = (torch.empty(shape, device="meta") for shape in ((1, 4, 8, 8), (6, 2, 3, 3), (1, 6, 6, 6)))
    cost = cost_of("torchvision.deform_conv2d", output, (x, weight, None, None, None), {})
    assert cost.macs == 6 * 36 * 2 * 9
    assert cost.operations == 7 * 36 * 4 * 9 + 6 * 36
    # A region's outputs are means of 2 × 2 points, each between four values; how many points shapes may not tell.
    pooled = torch.empty(5, 4, 7, 7, device="meta")
    assert cost_of("torchvision.roi_align", pooled, (x, None, 1.0, 7, 7, 2), {}).operations == 5 * 4 * 49 * 4 * 8
    assert cost_of("torchvision.roi_align", pooled, (x, None, 1.0, 7, 7, -1), {}) is None
