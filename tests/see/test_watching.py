"""Looking changes nothing, however it ends; and what is seen is what was there."""

import copy

import pytest
import torch
from torch import nn

from striate.errors import ArgumentError
from striate.see.watching import untouched, watched


def network():
    torch.manual_seed(0)
    relu = nn.ReLU(inplace=True)  # used twice
    return nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), relu, nn.Dropout(0.5), nn.Linear(6, 6), relu)


def everything(module):
    return (
        copy.deepcopy(module.state_dict()),
        {name: part.training for name, part in module.named_modules()},
        {name: (p.requires_grad, None if p.grad is None else p.grad.clone()) for name, p in module.named_parameters()},
        {name: len(part._forward_hooks) + len(part._backward_hooks) for name, part in module.named_modules()},
        torch.get_rng_state(),
    )


def assert_equal(before, after):
    for one, other in zip(before, after, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=0)


@pytest.mark.parametrize("train", [False, True])
@pytest.mark.parametrize("fails", [False, True])
def test_a_module_is_afterwards_what_it_was(train, fails):
    net = network()
    net[1].eval()
    net[4].weight.requires_grad_(False)
    net(torch.randn(5, 4)).sum().backward()
    before = everything(net)
    try:
        with untouched(net, train), watched(net, ["0", "2"]):
            assert {part.training for part in net.modules()} == {train}
            net.requires_grad_(True)
            net(torch.randn(5, 4)).sum().backward()
            if fails:
                raise KeyError
    except KeyError:
        assert fails
    assert_equal(before, everything(net))


def test_what_an_operation_in_place_overwrites_is_seen_as_it_was():
    net = network().eval()
    x = torch.randn(5, 4)
    expected = net[1](net[0](x))
    plain = net(x)
    with watched(net, ["1", "2"]) as outputs:
        seen = net(x)
    assert torch.equal(seen, plain)
    assert torch.equal(outputs["1"][0], expected)
    assert (outputs["1"][0] < 0).any()
    assert len(outputs["2"]) == 2
    assert torch.equal(outputs["2"][1], plain)


def test_gradients_at_a_place_are_finite_differences():
    net = network().double().eval()
    x = torch.randn(5, 4, dtype=torch.float64)
    with untouched(net), watched(net, ["1"]) as outputs:
        score = net(x).square().sum()
        (gradient,) = torch.autograd.grad(score, outputs["1"])
    rest = nn.Sequential(*[copy.deepcopy(part) for part in net[2:]])
    place = outputs["1"][0].detach().clone().requires_grad_()
    rest(place * 1).square().sum().backward()
    assert torch.equal(gradient, place.grad)


def test_an_unknown_part():
    with pytest.raises(ArgumentError, match=r"no part '5x'"), watched(network(), ["5x"]):
        pass
