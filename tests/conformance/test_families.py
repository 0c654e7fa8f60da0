"""One model of each family of timm: nothing unknown, every module that runs seen, and the numbers equal to torch's own
counter, to the papers, and to a count of neurons by the layers' outputs.

A third of the families runs with the slow tests, the rest with `-m families`.
"""

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from striate.account import count
from tests.conformance.families import FAMILIES, NOT_IN_LAYERS, PAPERS, build

CASES = [
    pytest.param(family, marks=pytest.mark.families if index % 3 else pytest.mark.slow)
    for index, family in enumerate(FAMILIES)
]
LAYERS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose2d)


@pytest.fixture(scope="module")
def timm(models):
    return pytest.importorskip("timm")


def keep_first(outputs):
    def hook(part, args, output):
        outputs.setdefault(part, output.numel())

    return hook


def run_hooked(model, shape):
    """FLOPs by torch's counter, the paths of the modules that run, and the size of each layer's first output."""
    ran, outputs = set(), {}
    for path, part in model.named_modules():
        part.register_forward_pre_hook(lambda *_, path=path: ran.add(path))
        if isinstance(part, LAYERS):
            part.register_forward_hook(keep_first(outputs))
    with FlopCounterMode(display=False) as counter:
        model(torch.empty(1, *shape, device="meta"))
    return counter.get_total_flops(), ran, sum(outputs.values())


@pytest.mark.parametrize("family", CASES)
def test_family(timm, family):
    name = FAMILIES[family]
    model, shape = build(name)
    ledger = count(model, shape)
    assert (ledger.unknown, ledger.notes, ledger.coverage) == ({}, [], 1)
    assert ledger.parameters == sum(parameter.numel() for parameter in model.parameters())
    if name in PAPERS:
        decimals = len(PAPERS[name].partition(".")[2])
        assert f"{ledger.macs / 1e9:.{decimals}f}" == PAPERS[name]
    flops, ran, outputs = run_hooked(model, shape)
    assert ledger.flops == flops
    assert {entry.path for entry in ledger if entry.calls} == ran
    if family not in NOT_IN_LAYERS:
        assert ledger.neurons == outputs
