"""Learning-rate schedules against Keras's and torch's."""

import json

import keras
import numpy as np
import pytest
import torch
from torch.optim import lr_scheduler

from striate import schedules
from striate.errors import ArgumentError, UnknownNameError
from striate.schedules import CosineDecay, ExponentialDecay, OneCycle, PiecewiseConstantDecay, StepDecay, WarmUp

STEPS = range(140)

OF_KERAS = [
    ("ExponentialDecay", {"initial_learning_rate": 0.1, "decay_steps": 13, "decay_rate": 0.7}),
    ("ExponentialDecay", {"initial_learning_rate": 0.1, "decay_steps": 13, "decay_rate": 0.7, "staircase": True}),
    ("PiecewiseConstantDecay", {"boundaries": [10, 50, 51], "values": [1.0, 0.5, 0.2, 0.01]}),
    ("CosineDecay", {"initial_learning_rate": 0.1, "decay_steps": 100}),
    ("CosineDecay", {"initial_learning_rate": 0.1, "decay_steps": 100, "alpha": 0.2}),
    ("CosineDecay", {"initial_learning_rate": 0.02, "decay_steps": 90, "warmup_target": 0.3, "warmup_steps": 20}),
    (
        "CosineDecay",
        {"initial_learning_rate": 0.0, "decay_steps": 50, "alpha": 0.1, "warmup_target": 0.3, "warmup_steps": 7},
    ),
]


@pytest.mark.parametrize(("name", "arguments"), OF_KERAS)
def test_equals_keras(name, arguments):
    ours, theirs = getattr(schedules, name)(**arguments), getattr(keras.optimizers.schedules, name)(**arguments)
    expected = [float(theirs(step)) for step in STEPS]
    assert len(set(np.round(expected, 6))) > 3
    np.testing.assert_allclose([ours(step) for step in STEPS], expected, rtol=2e-5, atol=1e-8)


def rates_of_torch(*make):
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.3)
    made = [scheduler(optimizer) for scheduler in make]
    rates = [optimizer.param_groups[0]["lr"]]
    for _ in STEPS[1:]:
        optimizer.step()
        for scheduler in made:
            scheduler.step()
        rates.append(optimizer.param_groups[0]["lr"])
    return rates


OF_TORCH = {
    "step": (StepDecay(0.3, 17, 0.6), lambda o: lr_scheduler.StepLR(o, 17, 0.6)),
    "one_cycle": (
        OneCycle(0.3, 140),
        lambda o: lr_scheduler.OneCycleLR(o, 0.3, 140, cycle_momentum=False),
    ),
    "one_cycle_with_arguments": (
        OneCycle(0.3, 140, rising_fraction=0.137, initial_divisor=5.0, final_divisor=100.0),
        lambda o: lr_scheduler.OneCycleLR(
            o, 0.3, 140, pct_start=0.137, div_factor=5.0, final_div_factor=100.0, cycle_momentum=False
        ),
    ),
    "one_cycle_without_rise": (
        OneCycle(0.3, 140, rising_fraction=0.0),
        lambda o: lr_scheduler.OneCycleLR(o, 0.3, 140, pct_start=0.0, cycle_momentum=False),
    ),
    "warm_up": (WarmUp(0.3, 20), lambda o: lr_scheduler.LinearLR(o, 1 / 20, total_iters=19)),
    "warm_up_of_a_schedule": (
        WarmUp(ExponentialDecay(0.3, 1, 0.97), 20),
        lambda o: lr_scheduler.LinearLR(o, 1 / 20, total_iters=19),
        lambda o: lr_scheduler.ExponentialLR(o, 0.97),
    ),
}


@pytest.mark.parametrize("case", OF_TORCH.values(), ids=OF_TORCH)
def test_equals_torch(case):
    ours, *make = case
    np.testing.assert_allclose([ours(step) for step in STEPS], rates_of_torch(*make), rtol=1e-9)


def test_one_cycle_stays_at_its_end():
    schedule = OneCycle(1.0, 10, initial_divisor=2.0, final_divisor=5.0)
    assert schedule(9) == pytest.approx(0.1)
    assert schedule(1000) == schedule(9)
    assert OneCycle(1.0, 1)(0) > 0


@pytest.mark.parametrize(
    "schedule",
    [getattr(schedules, name)(**arguments) for name, arguments in OF_KERAS]
    + [StepDecay(0.1, 5), OneCycle(0.1, 30), WarmUp(0.1, 5), WarmUp(CosineDecay(0.1, 30), 5)],
)
def test_configs_round_trip_through_json(schedule):
    config = json.loads(json.dumps({"class": type(schedule).__name__, "config": schedule.get_config()}))
    again = schedules.get(config)
    assert type(again) is type(schedule)
    assert [again(step) for step in STEPS] == [schedule(step) for step in STEPS]


def test_get_and_rate_at():
    assert schedules.get(1) == 1.0
    assert schedules.rate_at(schedules.get(0.5), 7) == 0.5
    assert schedules.rate_at(schedules.get(lambda step: step / 10), 7) == 0.7
    schedule = StepDecay(0.1, 5)
    assert schedules.get(schedule) is schedule


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: schedules.get(-0.1), ArgumentError, "learning_rate=-0.1: expected a number of at least 0"),
        (lambda: schedules.get(float("nan")), ArgumentError, "learning_rate=nan"),
        (lambda: schedules.get(None), ArgumentError, "learning_rate=None"),
        (lambda: schedules.get(True), ArgumentError, "learning_rate=True"),
        (lambda: schedules.get(StepDecay), ArgumentError, "StepDecay"),
        (lambda: schedules.get("cosine_decay"), ArgumentError, r"needs its arguments; give a CosineDecay\(…\)"),
        (lambda: schedules.get("cosine_dekay"), UnknownNameError, "Did you mean 'cosine_decay'"),
        (lambda: WarmUp(-1.0, 5), ArgumentError, "learning_rate=-1.0"),
        (lambda: WarmUp(1.0, 0), ArgumentError, "warmup_steps=0: expected a number above 0"),
        (lambda: CosineDecay(0.1, 0), ArgumentError, "decay_steps=0"),
        (lambda: ExponentialDecay(0.1, -1, 0.5), ArgumentError, "decay_steps=-1"),
        (lambda: StepDecay(0.1, 0), ArgumentError, "step_size=0"),
        (lambda: OneCycle(0.1, 100, rising_fraction=1.0), ArgumentError, "rising_fraction=1.0"),
        (lambda: OneCycle(0.1, 0), ArgumentError, "total_steps=0"),
        (lambda: PiecewiseConstantDecay([1, 2], [1.0, 2.0]), ArgumentError, "2 boundaries and 2 values"),
        (lambda: PiecewiseConstantDecay([2, 1], [1.0, 2.0, 3.0]), ArgumentError, "expected rising steps"),
    ],
)
def test_errors(call, error, message):
    with pytest.raises(error, match=message):
        call()
