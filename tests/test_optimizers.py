"""Optimisers follow Keras's trajectories on a quadratic; clipping, state, parameter groups, errors."""

import functools
import inspect
import json

import keras
import pytest
import torch

from striate import optimizers, schedules
from striate.errors import ArgumentError, UnknownNameError
from striate.optimizers import SGD, Adam, AdamW, Lion, Optimizer, RMSprop, TorchOptimizer

STEPS = 50
NAMES = ["SGD", "RMSprop", "Adam", "AdamW", "Adagrad", "Nadam", "Lion"]


def random(seed, *shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


# An ill-conditioned quadratic: one weight on rotated axes, one on its own, and one whose gradients are so small that
# epsilon counts. The starts are so far from the minimum that the adaptive rules do not reach it in these steps: there
# they divide small gradients by small gradients, and rounding grows to any size, in Keras's steps as in ours.
ROTATION = torch.linalg.qr(random(0, 6, 6))[0]
MATRIX = ROTATION @ torch.diag(torch.tensor([10.0, 3.0, 1.0, 0.3, 0.1, 0.01])) @ ROTATION.T
SCALES = torch.logspace(-2, 1, 12).reshape(3, 4)
TINY = torch.tensor([1e-3, 1e-5, 1e-7])
STARTS = [3 * random(1, 6), random(2, 3, 4) + 2 * random(2, 3, 4).sign(), torch.tensor([1.0, -1.0, 2.0])]


def gradients_of(weights):
    rotated, scaled, tiny = (weight.detach() for weight in weights)
    return [MATRIX @ rotated - 1, SCALES * scaled, TINY * tiny]


def follow(optimizer, bound=None, weights=None, steps=range(STEPS)):
    """The weights after `steps`, as a training loop takes them."""
    weights = weights or [start.clone().requires_grad_() for start in STARTS]
    bound = bound or optimizer.bind(weights)
    for step in steps:
        for weight, gradient in zip(weights, gradients_of(weights), strict=True):
            weight.grad = gradient
        optimizer.clip(weights)
        for group in bound.param_groups:
            group["lr"] = optimizer.learning_rate_at(step)
        bound.step()
    return weights


def follow_keras(optimizer):
    weights = [keras.Variable(start.numpy()) for start in STARTS]
    for _ in range(STEPS):
        optimizer.apply(gradients_of([weight.value for weight in weights]), weights)
    return [weight.value.detach() for weight in weights]


CASES = [
    *[(name, {}) for name in NAMES],
    *[(name, {"learning_rate": 0.005}) for name in NAMES],
    *[(name, {"learning_rate": 0.005, "weight_decay": 0.1}) for name in NAMES],
    *[(name, {"learning_rate": "schedule"}) for name in NAMES],
    *[(name, {"learning_rate": 0.005, "clipnorm": 0.5}) for name in NAMES],
    ("SGD", {"learning_rate": 0.05, "clipvalue": 0.3}),
    ("SGD", {"learning_rate": 0.05, "global_clipnorm": 0.5}),
    ("SGD", {"momentum": 0.9, "learning_rate": 0.02}),
    ("SGD", {"momentum": 0.9, "nesterov": True, "learning_rate": 0.02}),
    ("SGD", {"nesterov": True, "learning_rate": 0.02}),
    ("SGD", {"momentum": 0.9, "learning_rate": "schedule"}),
    ("SGD", {"momentum": 0.9, "nesterov": True, "learning_rate": "schedule", "weight_decay": 0.1}),
    ("RMSprop", {"learning_rate": 0.002, "rho": 0.8, "momentum": 0.5}),
    ("RMSprop", {"learning_rate": 0.01, "centered": True, "epsilon": 1e-3}),
    ("RMSprop", {"learning_rate": 0.01, "centered": True, "momentum": 0.5, "epsilon": 1e-3, "clipvalue": 2.0}),
    ("Adam", {"learning_rate": 0.02, "amsgrad": True, "beta_2": 0.9}),
    ("Adam", {"learning_rate": 0.02, "epsilon": 0.1, "beta_1": 0.7, "global_clipnorm": 1.0}),
    ("Adagrad", {"learning_rate": 0.1, "initial_accumulator_value": 0.0, "epsilon": 1e-3}),
    ("Nadam", {"learning_rate": 0.02, "beta_1": 0.8, "beta_2": 0.95, "epsilon": 1e-4}),
    ("Lion", {"learning_rate": 0.02, "beta_1": 0.6, "beta_2": 0.8}),
]


def made(module, name, arguments):
    if arguments.get("learning_rate") == "schedule":
        source = schedules if module is optimizers else keras.optimizers.schedules
        schedule = source.CosineDecay(0.0, decay_steps=30, warmup_target=0.03, warmup_steps=10)
        arguments = arguments | {"learning_rate": schedule}
    return getattr(module, name)(**arguments)


@pytest.mark.parametrize(("name", "arguments"), CASES, ids=str)
def test_follows_the_trajectory_of_keras(name, arguments):
    expected = follow_keras(made(keras.optimizers, name, arguments))
    moved = [(end - start).abs().max() for end, start in zip(expected, STARTS, strict=True)]
    assert min(moved[:2]) > 0.01  # a thousand times the tolerance
    ours = follow(made(optimizers, name, arguments))
    for weight, end in zip(ours, expected, strict=True):
        torch.testing.assert_close(weight.detach(), end, atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", NAMES)
def test_arguments_and_defaults_are_those_of_keras(name):
    theirs = inspect.signature(getattr(keras.optimizers, name)).parameters
    ours = dict(inspect.signature(getattr(optimizers, name)).parameters)
    assert ours.pop("decay_biases_and_norms").default is True  # where Keras has exclude_from_weight_decay
    assert [key for key in theirs if key in ours] == list(ours)
    assert {key: p.default for key, p in ours.items()} == {key: theirs[key].default for key in ours}


@pytest.mark.parametrize("name", NAMES)
def test_get_by_name_class_and_config(name):
    optimizer = made(optimizers, name, {"learning_rate": "schedule", "weight_decay": 0.1, "clipnorm": 2.0})
    config = json.loads(json.dumps({"class": name, "config": optimizer.get_config()}))
    again = optimizers.get(config)
    assert (type(again), again.get_config()) == (type(optimizer), optimizer.get_config())
    assert [again.learning_rate_at(step) for step in (0, 5, 20)] == [
        optimizer.learning_rate_at(step) for step in (0, 5, 20)
    ]
    for identifier in (name, name.lower(), type(optimizer)):
        assert type(optimizers.get(identifier)) is type(optimizer)
    assert optimizers.get(optimizer) is optimizer


@pytest.mark.parametrize("name", NAMES)
def test_a_restored_run_goes_on_in_the_same_bits(name):
    arguments = {"learning_rate": "schedule", "weight_decay": 0.1}
    if name in ("SGD", "RMSprop"):
        arguments["momentum"] = 0.9
    whole = follow(made(optimizers, name, arguments))

    weights = [start.clone().requires_grad_() for start in STARTS]
    optimizer = made(optimizers, name, arguments)
    bound = optimizer.bind(weights)
    follow(optimizer, bound, weights, range(20))
    groups = json.loads(json.dumps(bound.state_dict()["param_groups"]))  # nothing in it needs pickle
    state = {"state": bound.state_dict()["state"], "param_groups": groups}

    optimizer = made(optimizers, name, arguments)
    bound = optimizer.bind(weights)
    bound.load_state_dict(state)
    follow(optimizer, bound, weights, range(20, STEPS))
    for weight, end in zip(weights, whole, strict=True):
        assert torch.equal(weight, end)


@pytest.mark.parametrize("name", NAMES)
def test_decay_spares_biases_and_norms_as_keras_does_when_told(name):
    arguments = {"learning_rate": 0.005, "weight_decay": 0.1}
    theirs = getattr(keras.optimizers, name)(**arguments)
    weights = [keras.Variable(start.numpy()) for start in STARTS]
    theirs.exclude_from_weight_decay(var_list=[weight for weight in weights if len(weight.shape) == 1])
    for _ in range(STEPS):
        theirs.apply(gradients_of([weight.value for weight in weights]), weights)
    optimizer = getattr(optimizers, name)(**arguments, decay_biases_and_norms=False)
    ours = follow(optimizers.get({"class": name, "config": optimizer.get_config()}))
    for weight, end in zip(ours, weights, strict=True):
        torch.testing.assert_close(weight.detach(), end.value.detach(), atol=1e-5, rtol=0)
    decayed = follow(getattr(optimizers, name)(**arguments))
    assert not torch.equal(decayed[0], ours[0])
    assert torch.equal(decayed[1], ours[1])


@pytest.mark.parametrize("kind", ["list", "pairs", "groups"])
def test_which_weights_decay(kind):
    layers = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4), torch.nn.Linear(4, 2))
    given = {
        "list": list(layers.parameters()),
        "pairs": list(layers.named_parameters()),
        "groups": [{"params": layers[:2].parameters(), "lr": 0.5}, {"params": layers[2].parameters()}],
    }[kind]
    bound = AdamW(0.1, weight_decay=0.2, decay_biases_and_norms=False).bind(given)
    decay = {id(p): group["weight_decay"] for group in bound.param_groups for p in group["params"]}
    expected = {id(p): 0.2 if name in ("0.weight", "2.weight") else 0.0 for name, p in layers.named_parameters()}
    assert decay == expected
    rates = [group["lr"] for group in bound.param_groups]
    assert rates == ([0.5, 0.5, 0.1, 0.1] if kind == "groups" else [0.1, 0.1])


def test_a_group_with_its_own_decay_keeps_it():
    first, second = torch.ones(2, requires_grad=True), torch.ones(3, requires_grad=True)
    groups = [{"params": [first], "weight_decay": 0.3}, {"params": [second]}]
    bound = SGD(weight_decay=0.1, decay_biases_and_norms=False).bind(groups)
    assert [group["weight_decay"] for group in bound.param_groups] == [0.3, 0.0]


def test_adam_runs_on_the_fused_kernel_of_torch():
    bound = Adam().bind([torch.zeros(3, requires_grad=True)])
    assert isinstance(bound, torch.optim.AdamW)
    assert bound.defaults["fused"] is True
    with torch.device("meta"):  # which has no fused kernels
        assert Adam().bind([torch.zeros(3, requires_grad=True)]).defaults["fused"] is False


def test_centered_rmsprop_survives_a_constant_gradient():
    weight = torch.zeros(4, requires_grad=True)
    bound = RMSprop(centered=True).bind([weight])
    for _ in range(400):  # the variance of the gradient falls below the rounding of its square
        weight.grad = torch.tensor([1e3, -1e3, 7.7e2, 1.0])
        bound.step()
    assert weight.isfinite().all()


def parameters_as(kind):
    first, second = torch.ones(2, requires_grad=True), torch.ones(3, requires_grad=True)
    frozen = torch.ones(2)
    given = {
        "list": [first, frozen, second],
        "generator": (tensor for tensor in [first, frozen, second]),
        "pairs": [("first", first), ("frozen", frozen), ("second", second)],
        "groups": [{"params": (tensor for tensor in [first, frozen])}, {"params": second, "lr": 0.5}],
    }
    return given[kind], first, second


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("kind", ["list", "generator", "pairs", "groups"])
def test_parameters_of_every_kind(name, kind):
    given, first, second = parameters_as(kind)
    bound = optimizers.get(name).bind(given)
    assert bound.param_groups[-1]["lr"] == (0.5 if kind == "groups" else optimizers.get(name).learning_rate)
    (first.sum() + second.sum()).backward()
    bound.step()
    assert (first < 1).all()
    assert (second < 1).all()


@pytest.mark.parametrize("kind", ["list", "pairs", "groups"])
@pytest.mark.parametrize("arguments", [{"clipvalue": 0.5}, {"clipnorm": 1.0}, {"global_clipnorm": 1.0}, {}], ids=str)
def test_clip(arguments, kind):
    given, first, second = parameters_as(kind)
    if kind == "groups":
        given = [{"params": [first]}, {"params": [second]}]
    first.grad, second.grad = torch.tensor([3.0, -4.0]), torch.tensor([0.3, 0.0, -0.4])
    SGD(**arguments).clip(given)
    factor = {"clipvalue": 1.0, "clipnorm": 1 / 5, "global_clipnorm": 25.25**-0.5}.get(next(iter(arguments), ""), 1.0)
    expected = torch.tensor([0.5, -0.5]) if "clipvalue" in arguments else torch.tensor([3.0, -4.0]) * factor
    torch.testing.assert_close(first.grad, expected)
    rest = factor if "global_clipnorm" in arguments else 1.0  # its own norm and values are small
    torch.testing.assert_close(second.grad, torch.tensor([0.3, 0.0, -0.4]) * rest)


@pytest.mark.parametrize("arguments", [{"clipvalue": 0.5}, {"clipnorm": 1.0}, {"global_clipnorm": 1.0}], ids=str)
def test_clip_of_zero_and_missing_gradients(arguments):
    zero, missing = torch.ones(2, requires_grad=True), torch.ones(2, requires_grad=True)
    SGD(**arguments).clip([missing])
    zero.grad = torch.zeros(2)
    SGD(**arguments).clip([zero, missing])
    assert torch.equal(zero.grad, torch.zeros(2))
    assert missing.grad is None


def test_step_takes_a_closure():
    weight = torch.tensor([2.0], requires_grad=True)
    bound = SGD(0.25).bind([weight])

    def closure():
        bound.zero_grad()
        loss = (weight**2).sum()
        loss.backward()
        return loss

    assert bound.step(closure).item() == 4.0
    assert weight.item() == 1.0


def test_optimizers_of_torch():
    weight = torch.zeros(2, requires_grad=True)
    by_class = optimizers.get(torch.optim.Adadelta)
    assert (by_class.learning_rate_at(0), type(by_class.bind([weight]))) == (1.0, torch.optim.Adadelta)
    instance = torch.optim.SGD([weight], lr=0.3)
    by_instance = optimizers.get(instance)
    assert by_instance.bind([weight, torch.zeros(1)]) is instance
    assert by_instance.learning_rate_at(9) == 0.3
    weight.grad = torch.full((2,), 1e6)
    by_instance.clip([weight])
    assert weight.grad[0] == 1e6
    with pytest.raises(ArgumentError, match="SGD holds none of the model's parameters"):
        by_instance.bind([torch.zeros(2, requires_grad=True)])
    assert isinstance(by_class, TorchOptimizer)


def test_one_recipe_for_several_models():
    recipe = Adam(0.1)
    first, second = recipe.bind([torch.ones(1, requires_grad=True)]), recipe.bind([torch.ones(1, requires_grad=True)])
    for bound, steps in ((first, 5), (second, 1)):
        for _ in range(steps):
            bound.param_groups[0]["params"][0].grad = torch.ones(1)
            bound.step()
    assert first.param_groups[0]["iterations"] == 5
    assert second.param_groups[0]["iterations"] == 1


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: SGD(-0.1), ArgumentError, "learning_rate=-0.1"),
        (lambda: SGD(momentum=1.5), ArgumentError, "momentum=1.5: expected a number from 0 to 1"),
        (lambda: Adam(beta_1=-0.1), ArgumentError, "beta_1=-0.1"),
        (lambda: Adam(epsilon="small"), ArgumentError, "epsilon='small'"),
        (lambda: AdamW(weight_decay=-1.0), ArgumentError, "weight_decay=-1.0: expected a number of at least 0"),
        (lambda: Adam(clipnorm=1.0, global_clipnorm=1.0), ArgumentError, "clipnorm and global_clipnorm cannot"),
        (lambda: Lion(clipvalue=1.0, clipnorm=2.0), ArgumentError, "clipnorm and clipvalue cannot"),
        (lambda: SGD(clipnorm=0.0), ArgumentError, "clipnorm=0.0: expected a number above 0"),
        (lambda: SGD().bind([]), ArgumentError, "no trainable parameters"),
        (lambda: SGD().bind([torch.zeros(2)]), ArgumentError, "no trainable parameters"),
        (lambda: optimizers.get("rmspropp"), UnknownNameError, "Did you mean"),
        (lambda: optimizers.get(0.1), ArgumentError, "optimizer=0.1"),
        (lambda: optimizers.get(None), ArgumentError, "optimizer=None"),
        (functools.partial(optimizers.get, Optimizer), TypeError, "abstract"),
    ],
)
def test_errors(call, error, message):
    with pytest.raises(error, match=message):
        call()
