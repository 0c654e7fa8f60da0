"""What is said of a training that broke: each cause is planted where the diagnosis must find it."""

import copy

import pytest
import torch
from torch import nn

from striate import count, memory
from striate.layers import Add, BatchNormalization, Conv2D, Dense, Flatten
from striate.models import Input, Model, Sequential
from striate.train import Trainer
from striate.train.failures import diagnose_nonfinite, explain_out_of_memory
from striate.train.objective import Objective
from striate.train.precision import bfloat16

X = torch.randn(8, 6, generator=torch.Generator().manual_seed(0))
Y = torch.arange(8) % 3
NAN = float("nan")


class Root(nn.Module):
    """Fine forward; at 0 its slope is infinite."""

    def forward(self, x):
        return x.abs().sqrt()


class Reciprocal(nn.Module):
    def forward(self, x):
        return 1 / x


class Residual(nn.Module):
    def __init__(self, *body):
        super().__init__()
        self.body = nn.Sequential(*body)

    def forward(self, x):
        return x + self.body(x)


class InOwnForward(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.first, self.second, self.function = nn.Linear(6, 6), nn.Linear(6, 3), function

    def forward(self, x):
        return self.second(self.function(self.first(x)))


def objective(loss="cross_entropy"):
    return Objective(loss, None, ["accuracy"] if loss == "cross_entropy" else None, ["output"])


def diagnose(module, x=X, y=Y, weight=None, loss="cross_entropy"):
    torch.manual_seed(0)
    return diagnose_nonfinite(module.train(), (x, y, weight), objective(loss))


def zeros(layer):
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)
    return layer


class TestNonFinite:
    def test_the_batch(self):
        x = X.clone()
        x[3, 1:3], x[5, 0] = NAN, torch.inf
        text = diagnose(nn.Linear(6, 3), x)
        assert text.startswith("The batch's inputs hold NaN (3 of 48 values, in 2 of 8 samples, number 3 the first).\n")
        text = diagnose(nn.Linear(6, 1), y=torch.tensor([1.0] * 7 + [torch.inf]), loss="mse")
        assert text.startswith(
            "The batch's labels hold infinity (1 of 8 values, in 1 of 8 samples, number 7 the first)"
        )
        text = diagnose(nn.Linear(6, 3), weight=torch.tensor([NAN] + [1.0] * 7))
        assert text.startswith("The batch's sample weights hold NaN")

    def test_the_weights(self):
        module = nn.Sequential(nn.Linear(6, 6), nn.BatchNorm1d(6), nn.Linear(6, 3))
        with torch.no_grad():
            module[2].weight[0, 0] = NAN
        assert diagnose(module).startswith(
            "Before this batch, the weight 2.weight holds NaN (1 of 18 values): an earlier step made it so.\n"
        )
        with torch.no_grad():
            module[2].weight[0, 0] = 0
            module[1].running_var[0] = torch.inf
        assert diagnose(module).startswith("Before this batch, the buffer 1.running_var holds infinity (1 of 6 values)")

    def test_the_first_layer_whose_output_is_none(self):
        module = nn.Sequential(nn.Linear(6, 6), nn.Sequential(zeros(nn.Linear(6, 6)), Reciprocal()), nn.Linear(6, 3))
        first, advice = diagnose(module).splitlines()
        assert first == (
            "The output of 1.1 (Reciprocal) is the first that holds infinity (48 of 48 values, in 8 of 8 samples, "
            "number 0 the first); its input is finite, up to 0."
        )
        assert "keep its input from 0" in advice

    def test_an_operation_between_layers(self):
        text = diagnose(nn.Sequential(InOwnForward(torch.log)))
        assert "0.second (Linear) is the first that holds NaN" in text
        assert "its input holds NaN" in text
        text = diagnose(InOwnForward(lambda x: x))
        assert text.startswith("With this batch, everything is finite now")

    def test_a_residual_sum_names_the_block(self):
        with torch.no_grad():
            body = nn.Linear(6, 6)
            body.weight.copy_(torch.eye(6))
            nn.init.zeros_(body.bias)
        module = nn.Sequential(Residual(body), nn.Linear(6, 3))
        text = diagnose(module, x=torch.full((8, 6), 3e38))
        assert text.startswith("The output of 0 (Residual) is the first that holds infinity")
        assert "its input is finite, up to 3e+38; its weights are finite, up to 1.\n" in text

    def test_the_loss(self):
        text = diagnose(nn.Linear(6, 1), x=X, y=torch.full((8,), 1e30), loss="mse")
        assert text.startswith("The module's outputs are finite, up to ")
        assert "but the loss of the batch is inf.\nTake a loss from logits" in text

    def test_penalties(self):
        module = Sequential([Dense(3, kernel_regularizer="l2", input_shape=(6,))])
        with torch.no_grad():
            module.layers[0].op.weight.fill_(1e30)
        text = diagnose(module, x=torch.zeros(8, 6))
        assert text.startswith("The loss is finite, but with the regularisers' penalties it is inf.\n")

    @pytest.mark.parametrize("inplace", [False, True])
    def test_a_gradient_that_breaks_in_a_layer(self, inplace):
        body = nn.Sequential(zeros(nn.Linear(6, 6)), nn.Hardtanh(inplace=inplace), Root(), nn.Linear(6, 6))
        text = diagnose(nn.Sequential(nn.Linear(6, 6), body, nn.Linear(6, 3)))
        assert text.startswith(
            "Going backward, the gradient breaks in 1.2 (Root): that of its output is finite, that of"
        )
        assert "weight 0.weight holds NaN" in text
        assert "no slope at 0" in text

    def test_a_gradient_that_breaks_between_layers(self):
        module = InOwnForward(lambda x: (0 * x).abs().sqrt())
        text = diagnose(module)
        assert text.startswith("Going backward, the gradient breaks in the module's own forward (InOwnForward)")
        assert "breaks in 1 (InOwnForward)" in diagnose(nn.Sequential(nn.Linear(6, 6), module))

    def test_a_gradient_that_breaks_in_a_layer_with_the_weights(self):
        module = nn.Sequential(nn.Linear(6, 3))
        text = diagnose(module, torch.full((8, 6), 1e38), X[:, :3], loss=lambda y, p: 10 * (p - p.detach()).sum(-1))
        assert text.startswith("Going backward, the gradient breaks in 0 (Linear)")
        assert "weight 0.weight holds infinity (18 of 18 values)" in text

    def test_a_gradient_of_the_loss(self):
        text = diagnose(nn.Linear(6, 1), y=X[:, :1], loss=lambda y, p: (p - p.detach()).abs().sqrt().sum(-1))
        assert text.startswith("The loss is finite, but its gradient at the module's output is not")

    def test_a_layer_called_twice_and_several_inputs(self):
        a, b = Input((6,)), Input((6,))
        shared = Dense(4, name="shared")
        model = Model([a, b], Dense(3)(BatchNormalization()(Add()([shared(a), shared(b)]))))
        text = diagnose(model, x=(X, torch.full((8, 6), 3e38)), loss="cross_entropy")
        assert text.startswith(
            "The output of shared (Linear) is the first that holds infinity (16 of 32 values, in 8 of"
        )
        assert diagnose(model, x=(X, X)).startswith("With this batch, everything is finite now: the outputs (up to ")

    def test_nothing_is_changed(self):
        torch.manual_seed(3)
        module = nn.Sequential(nn.Linear(6, 6), nn.BatchNorm1d(6), nn.Dropout(), nn.Linear(6, 3))
        trainer = Trainer(module, "adam", "cross_entropy", metrics=["accuracy"])
        trainer.fit(X, Y, epochs=1, verbose=0)
        module.train()
        before, logs, random = copy.deepcopy(module.state_dict()), trainer.objective.logs(), torch.get_rng_state()
        gradients = [copy.deepcopy(parameter.grad) for parameter in module.parameters()]
        assert diagnose_nonfinite(module, (X, Y, None), trainer.objective).startswith("With this batch, everything is")
        assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())
        assert torch.equal(torch.get_rng_state(), random)
        assert repr(trainer.objective.logs()) == repr(logs)
        for parameter, gradient in zip(module.parameters(), gradients, strict=True):
            assert (parameter.grad is None) == (gradient is None)
        assert not any(part._forward_hooks or part._forward_pre_hooks for part in module.modules())

    def test_in_bfloat16(self):
        module = nn.Sequential(nn.Linear(6, 6), Root(), nn.Linear(6, 3))
        with torch.no_grad():
            zeros(module[0])
        with bfloat16(module, torch.device("cpu")):
            assert "breaks in 1 (Root)" in diagnose(module)


class TestOutOfMemory:
    def test_a_network(self):
        model = Sequential([Conv2D(16, 3, input_shape=(32, 32, 3)), Conv2D(16, 3), Flatten(), Dense(10)])
        text = explain_out_of_memory(model, (32, 32, 3), 256, free="20MB")
        first, fits, *others = text.splitlines()
        peak = memory(model, (32, 32, 3), 256, "adam")
        assert first == f"A step on 256 samples takes {peak.peak_bytes / 2**20:.2f} MB, and there are 20.00 MB."
        size = int(fits.removeprefix("A batch of ").removesuffix(" fits."))
        assert memory(model, (32, 32, 3), size, "adam").peak_bytes < 18 * 2**20
        assert memory(model, (32, 32, 3), 2 * size, "adam").peak_bytes > 18 * 2**20
        assert any(line.startswith("With bfloat16 autocast, the step takes") for line in others)
        assert count(model, (32, 32, 3)).parameters  # the model is as it was

    def test_a_step_that_should_fit(self):
        text = explain_out_of_memory(nn.Linear(10, 10), (10,), 64, free="1GB")
        assert "\nIt should fit: another process took memory" in text

    def test_not_even_two(self):
        text = explain_out_of_memory(nn.Linear(1000, 1000), (1000,), 64, free="10MB")
        assert "Not even a batch of 2 fits" in text

    def test_what_cannot_be_predicted(self):
        class Selects(nn.Module):
            def __init__(self):
                super().__init__()
                self.weight = nn.Parameter(torch.ones(3))

            def forward(self, x):
                return (x * self.weight)[x > 0].sum().item() * self.weight

        text = explain_out_of_memory(Selects(), (3,), 64, free="10MB")
        assert text.startswith("A batch of 64 is too large; try half of it. What would fit is not known: ")
