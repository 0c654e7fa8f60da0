"""The hand-written gradient of the simple recurrence, against torch's own operations and finite differences."""

import pytest
import torch

import striate
from striate.layers import Input, SimpleRNN
from striate.layers.elman import elman
from striate.models import Sequential

OPERATIONS = {"tanh": torch.rnn_tanh, "relu": torch.rnn_relu}
B, T, F, U = 3, 5, 4, 6


def arguments(dtype: torch.dtype = torch.float64, bias: bool = True) -> list[torch.Tensor | None]:
    generator = torch.Generator().manual_seed(0)
    shapes = [(B, T, F), (B, U), (U, F), (U, U), (U,)]
    made = [torch.randn(shape, generator=generator, dtype=dtype).requires_grad_() for shape in shapes]
    return made if bias else [*made[:4], None]


@pytest.mark.parametrize("activation", OPERATIONS)
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-5)])
def test_values_and_gradients_are_torchs(activation, bias, dtype, tolerance):
    ours, theirs = arguments(dtype, bias), arguments(dtype, bias)
    outputs = elman(*ours, activation)
    x, state, w, u, b = theirs
    weights = [w, u] if b is None else [w, u, b, torch.zeros_like(b)]
    expected, _ = OPERATIONS[activation](x, state[None], weights, bias, 1, 0.0, True, False, True)
    torch.testing.assert_close(outputs, expected, rtol=tolerance, atol=tolerance)
    gradient = torch.randn(outputs.shape, generator=torch.Generator().manual_seed(1), dtype=dtype)
    outputs.backward(gradient)
    expected.backward(gradient)
    for mine, other in zip(ours, theirs, strict=True):
        if mine is not None:
            torch.testing.assert_close(mine.grad, other.grad, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("activation", OPERATIONS)
def test_first_and_second_derivatives_are_finite_differences(activation):
    inputs = arguments()
    assert torch.autograd.gradcheck(lambda *tensors: elman(*tensors, activation), inputs)
    assert torch.autograd.gradgradcheck(lambda *tensors: elman(*tensors, activation), inputs)


def test_a_state_that_depends_on_the_input_is_not_counted_twice():
    x, _, w, u, bias = arguments()

    def of_input(sequence: torch.Tensor) -> torch.Tensor:
        return elman(sequence, sequence[:, 0] @ w.detach().T, w.detach(), u.detach(), bias.detach(), "tanh")

    assert torch.autograd.gradgradcheck(of_input, [x])


def test_one_step_has_no_earlier_ones():
    x, state, w, u, bias = arguments()
    expected = torch.tanh(x[:, :1] @ w.T + bias + (state @ u.T)[:, None])
    torch.testing.assert_close(elman(x[:, :1], state, w, u, bias, "tanh"), expected)
    assert torch.autograd.gradcheck(lambda *tensors: elman(*tensors, "tanh"), [x[:, :1], state, w, u, bias])


def test_it_stays_in_float32_where_products_are_in_bfloat16():
    layer, x = SimpleRNN(U, return_sequences=True), torch.randn(B, T, F)
    expected = layer(x)
    with torch.autocast("cpu", torch.bfloat16):
        outputs = layer(x.bfloat16())
    assert outputs.dtype == torch.float32
    torch.testing.assert_close(outputs, expected, rtol=0, atol=0.02)


def test_gradients_of_single_samples():
    x, state, w, u, bias = (argument.detach() for argument in arguments())

    def total(weight: torch.Tensor, sequence: torch.Tensor, start: torch.Tensor) -> torch.Tensor:
        return elman(sequence[None], start[None], w, weight, bias, "tanh").sum()

    by_sample = torch.func.vmap(torch.func.grad(total), (None, 0, 0))(u, x, state)
    one_by_one = torch.stack([torch.func.grad(total)(u, x[i], state[i]) for i in range(B)])
    torch.testing.assert_close(by_sample, one_by_one)


@pytest.mark.parametrize("activation", OPERATIONS)
@pytest.mark.parametrize("device", ["meta", "cpu"])
def test_its_work_is_counted(activation, device):
    model = Sequential([Input((T, F)), SimpleRNN(U, activation=activation)]).to(device)
    ledger = striate.count(model, (T, F), real_run=False)
    assert ledger.macs == T * (F * U + U * U)
    assert ledger.total.neurons == U and not ledger.unknown
