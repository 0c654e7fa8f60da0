"""Learning rates of parts of a module, and what the optimiser remembers where parts are frozen and thawed."""

import pytest
import torch
from torch import nn

from striate import optimizers
from striate.callbacks import Callback
from striate.errors import ArgumentError
from striate.schedules import OneCycle
from striate.train import Trainer


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 2))


def data():
    generator = torch.Generator().manual_seed(1)
    return torch.randn(16, 3, generator=generator), torch.arange(16) % 2


@pytest.mark.parametrize("rate", [0.1, OneCycle(0.1, 4)])
def test_each_part_moves_by_its_share_of_the_rate(rate):
    """One step of gradient descent is the rate times the gradient."""
    x, y = data()
    module = network()
    before = {name: parameter.detach().clone() for name, parameter in module.named_parameters()}
    nn.functional.cross_entropy(module(x), y).backward()
    gradients = {name: parameter.grad.clone() for name, parameter in module.named_parameters()}
    trainer = Trainer(
        module,
        optimizers.SGD(rate),
        "cross_entropy",
        device="cpu",
        rate_scales={"0": 0.01, "2": 0.1, "2.bias": 0.5},
    )
    trainer.fit(x, y, batch_size=16, epochs=1, shuffle=False, verbose=0)
    first = 0.1 if isinstance(rate, float) else rate(0)
    scales = {"0.weight": 0.01, "0.bias": 0.01, "2.weight": 0.1, "2.bias": 0.5, "4.weight": 1, "4.bias": 1}
    for name, parameter in module.named_parameters():
        torch.testing.assert_close(parameter.detach(), before[name] - first * scales[name] * gradients[name])
    assert trainer.learning_rate == pytest.approx(first)


def test_a_rate_that_is_set_is_that_of_the_parts_without_a_factor():
    trainer = Trainer(network(), "adam", "cross_entropy", device="cpu", rate_scales={"0": 0.01})
    trainer.learning_rate = 0.5
    rates = {group["rate_scale"]: group["lr"] for group in trainer.stepper.bind().param_groups}
    assert rates == {0.01: 0.005, 1.0: 0.5}
    assert trainer.learning_rate == 0.5


def test_a_path_of_nothing_is_refused():
    trainer = Trainer(network(), "adam", "cross_entropy", rate_scales={"7": 0.1})
    with pytest.raises(ArgumentError, match="no parameter lies in '7'"):
        trainer.stepper.bind()


class Thaw(Callback):
    def on_epoch_begin(self, epoch, logs):
        self.model[0].requires_grad_(epoch > 0)


def test_what_is_remembered_of_a_weight_outlives_the_thawing_of_another():
    """Adam's moments of the parts that were trained go on; those of the thawed part begin."""
    x, y = data()
    trainer = Trainer(network(), "adam", "cross_entropy", device="cpu", rate_scales={"0": 0.1})
    trainer.fit(x, y, batch_size=4, epochs=2, callbacks=[Thaw()], verbose=0)
    state = trainer.stepper.bind().state
    assert [int(state[parameter]["step"]) for parameter in trainer.module.parameters()] == [4, 4, 8, 8, 8, 8]
