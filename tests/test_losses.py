"""Losses: Keras gives the values and the gradients, torch the values of its own loss modules."""

import copy
import json
import warnings

import keras
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from striate import losses
from striate._registry import to_config
from striate.errors import ArgumentError, DataError, ShapeError, UnknownNameError

N, T, C = 12, 5, 4


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def integers(high: int, *shape: int, seed: int = 1) -> Tensor:
    return torch.randint(high, shape, generator=torch.Generator().manual_seed(seed))


def batch(kind: str, *leading: int) -> tuple[Tensor, Tensor]:
    """Labels and predictions that a loss of that kind takes; small logits, as Keras's focal losses cut large ones."""
    scores = random(*leading, C)
    return {
        "numbers": lambda: (random(*leading, C, seed=2), scores),
        "signs": lambda: (2 * integers(2, *leading, C) - 1, scores),
        "binary": lambda: (integers(2, *leading, C), scores.sigmoid()),
        "binary logits": lambda: (integers(2, *leading, C), 2 * scores),
        "classes": lambda: (integers(C, *leading), scores.softmax(-1)),
        "classes logits": lambda: (integers(C, *leading), 2 * scores),
        "distributions": lambda: (random(*leading, C, seed=3).softmax(-1), scores.softmax(-1)),
        "distributions logits": lambda: (F.one_hot(integers(C, *leading), C), 2 * scores),
    }[kind]()


CASES = [
    ("MeanSquaredError", {}, "numbers"),
    ("MeanAbsoluteError", {}, "numbers"),
    ("Huber", {}, "numbers"),
    ("Huber", {"delta": 0.3}, "numbers"),
    ("CosineSimilarity", {}, "numbers"),
    ("Hinge", {}, "signs"),
    ("Hinge", {}, "binary logits"),
    ("KLDivergence", {}, "distributions"),
    ("BinaryCrossentropy", {}, "binary"),
    ("BinaryCrossentropy", {"label_smoothing": 0.2}, "binary"),
    ("BinaryCrossentropy", {"from_logits": True, "label_smoothing": 0.2}, "binary logits"),
    ("BinaryFocalCrossentropy", {}, "binary"),
    ("BinaryFocalCrossentropy", {"apply_class_balancing": True, "label_smoothing": 0.1}, "binary"),
    ("BinaryFocalCrossentropy", {"from_logits": True, "alpha": 0.4, "gamma": 1.5}, "binary logits"),
    ("BinaryFocalCrossentropy", {"from_logits": True, "label_smoothing": 0.1}, "binary logits"),
    ("CategoricalCrossentropy", {}, "distributions"),
    ("CategoricalCrossentropy", {"label_smoothing": 0.2}, "distributions"),
    ("CategoricalCrossentropy", {"from_logits": True, "label_smoothing": 0.2}, "distributions logits"),
    ("CategoricalFocalCrossentropy", {}, "distributions"),
    ("CategoricalFocalCrossentropy", {"from_logits": True, "alpha": 0.4, "gamma": 1.5}, "distributions logits"),
    ("CategoricalFocalCrossentropy", {"label_smoothing": 0.1}, "distributions"),
    ("CategoricalFocalCrossentropy", {"from_logits": True, "label_smoothing": 0.1}, "distributions logits"),
    ("SparseCategoricalCrossentropy", {}, "classes"),
    ("SparseCategoricalCrossentropy", {"from_logits": True}, "classes logits"),
    ("SparseCategoricalCrossentropy", {"ignore_class": 3}, "classes"),
]
cases = pytest.mark.parametrize(("name", "arguments", "kind"), CASES)


@cases
@pytest.mark.parametrize("leading", [(N,), (N, T)])
@pytest.mark.parametrize("weighted", [False, True])
def test_value_and_gradient_equal_keras(name, arguments, kind, leading, weighted):
    y_true, y_pred = batch(kind, *leading)
    weights = random(*leading, seed=4).abs() if weighted else None
    keras_weights = weights.clone() if weighted else None  # Keras multiplies the mask of ignored classes into it
    ours, theirs = y_pred.clone().requires_grad_(), y_pred.clone().requires_grad_()
    value = getattr(losses, name)(**arguments)(y_true, ours, weights)
    expected = getattr(keras.losses, name)(**arguments)(y_true, theirs, keras_weights)
    torch.testing.assert_close(value, expected, rtol=1e-5, atol=1e-6)
    value.backward()
    expected.backward()
    torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-4, atol=1e-6)


@cases
def test_per_sample_equals_keras(name, arguments, kind):
    y_true, y_pred = batch(kind, N, T)
    values = getattr(losses, name)(**arguments).per_sample(y_true, y_pred)
    expected = getattr(keras.losses, name)(**arguments, reduction=None)(y_true, y_pred)
    torch.testing.assert_close(values, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", ["MeanSquaredError", "MeanAbsoluteError", "Huber", "BinaryCrossentropy", "Hinge"])
@pytest.mark.parametrize("label_shape", [(N,), (N, 1)])
@pytest.mark.parametrize("prediction_shape", [(N,), (N, 1)])
def test_flat_labels_meet_column_predictions(name, label_shape, prediction_shape):
    y_true, y_pred = integers(2, *label_shape), random(*prediction_shape).sigmoid()
    expected = getattr(keras.losses, name)()(y_true.reshape(N, 1), y_pred.reshape(N, 1))
    loss = getattr(losses, name)()
    torch.testing.assert_close(loss(y_true, y_pred), expected)
    torch.testing.assert_close(loss(y_true.double(), y_pred, torch.ones(N)), expected)
    assert loss.per_sample(y_true, y_pred).shape == (N,)


def test_column_of_class_numbers():
    y_true, y_pred = batch("classes", N)
    loss = losses.SparseCategoricalCrossentropy()
    assert loss(y_true.unsqueeze(-1).float(), y_pred) == loss(y_true, y_pred)


@cases
def test_other_shapes_are_refused_not_broadcast(name, arguments, kind):
    _, y_pred = batch(kind, N)
    loss = getattr(losses, name)(**arguments)
    for shape in [(N, C) if kind.startswith("classes") else (N,), (1,), (1, C), (N, C + 1), (N, N), (N, 1, C)]:
        with pytest.raises(ShapeError, match="expected"):
            loss(torch.zeros(shape), y_pred)


@pytest.mark.parametrize("name", ["CategoricalCrossentropy", "CategoricalFocalCrossentropy", "KLDivergence"])
def test_class_numbers_for_distributions_name_the_fix(name):
    with pytest.raises(ShapeError, match="Use sparse_categorical_crossentropy or one-hot encode"):
        getattr(losses, name)()(torch.zeros(N), torch.zeros(N, C))


def test_weight_of_a_sample_holds_for_its_time_steps():
    y_true, y_pred, weights = random(T, T, 3), random(T, T, 3, seed=5), random(T, seed=6).abs()
    expected = (((y_pred - y_true) ** 2).mean(-1).numpy() * weights.numpy()[:, None]).mean()
    loss = losses.MeanSquaredError()
    for shape in [(T,), (T, 1)]:
        assert loss(y_true, y_pred, weights.reshape(shape)).item() == pytest.approx(expected, rel=1e-6)
    for shape in [(1,), (T + 1,), (T, T + 1), (T, T, 3)]:
        with pytest.raises(ShapeError, match="sample_weight has shape"):
            loss(y_true, y_pred, torch.ones(shape))


EXTREMES = torch.tensor([[0.0, 1.0, 0.0, 0.0], [1.0, 0.0, 0.0, 0.0], [1.0, 1.0, 1.0, 1.0], [0.0, 0.0, 0.0, 0.0]])


@pytest.mark.parametrize("label", [0, 1])
@pytest.mark.parametrize("from_logits", [False, True])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize(
    ("name", "gamma"),
    [
        ("BinaryCrossentropy", None),
        ("BinaryFocalCrossentropy", 2.0),
        ("BinaryFocalCrossentropy", 0.5),
        ("CategoricalCrossentropy", None),
        ("CategoricalFocalCrossentropy", 2.0),
        ("CategoricalFocalCrossentropy", 0.5),
        ("SparseCategoricalCrossentropy", None),
    ],
)
def test_extreme_predictions_stay_finite(name, gamma, label, from_logits, smoothing):
    arguments = {"from_logits": from_logits, "label_smoothing": smoothing} | ({"gamma": gamma} if gamma else {})
    y_pred = ((EXTREMES - 0.5) * 2e4 if from_logits else EXTREMES.clone()).requires_grad_()
    y_true = torch.full((4,), label)
    if "Sparse" not in name:
        y_true = F.one_hot(y_true, 4)
    value = getattr(losses, name)(**arguments)(y_true, y_pred)
    value.backward()
    assert value.isfinite()
    assert y_pred.grad.isfinite().all()


@pytest.mark.parametrize(
    "name",
    [
        "BinaryCrossentropy",
        "BinaryFocalCrossentropy",
        "CategoricalCrossentropy",
        "CategoricalFocalCrossentropy",
        "KLDivergence",
    ],
)
def test_certain_predictions_equal_keras(name):
    y_true, y_pred = EXTREMES[[0, 0, 1, 1]], EXTREMES[[0, 1, 0, 2]]
    expected = getattr(keras.losses, name)(reduction=None)(y_true, y_pred)
    torch.testing.assert_close(getattr(losses, name)().per_sample(y_true, y_pred), expected, rtol=1e-5, atol=1e-6)


def test_kl_divergence_of_zeros_is_finite():
    y_pred = EXTREMES.clone().requires_grad_()
    value = losses.KLDivergence()(EXTREMES.flip(0), y_pred)
    value.backward()
    assert value.isfinite()
    assert y_pred.grad.isfinite().all()


def test_large_logits_keep_their_loss_and_their_slope():
    y_pred = torch.tensor([[1e4, -1e4]], requires_grad=True)
    value = losses.SparseCategoricalCrossentropy(from_logits=True)(torch.tensor([1]), y_pred)
    value.backward()
    assert value == 2e4
    assert y_pred.grad.tolist() == [[1.0, -1.0]]
    assert losses.BinaryCrossentropy(from_logits=True)(torch.tensor([0, 1]), torch.tensor([1e4, -1e4])) == 1e4


def test_ignored_class_leaves_the_mean():
    y_true, y_pred = batch("classes logits", N, T)
    weights = random(N, T, seed=7).abs()
    y_true[:, 0] = 255
    loss = losses.SparseCategoricalCrossentropy(from_logits=True, ignore_class=255)
    value = loss(y_true, y_pred, weights)
    expected = keras.losses.SparseCategoricalCrossentropy(from_logits=True, ignore_class=255)(y_true, y_pred, weights)
    torch.testing.assert_close(value, expected)
    assert loss(torch.full((N,), 255), y_pred[:, 0]) == 0


@pytest.mark.parametrize("from_logits", [False, True])
def test_smoothed_class_numbers_equal_smoothed_one_hot_labels(from_logits):
    y_true, y_pred = batch("classes logits" if from_logits else "classes", N)
    arguments = {"from_logits": from_logits, "label_smoothing": 0.3}
    expected = keras.losses.CategoricalCrossentropy(**arguments)(F.one_hot(y_true, C), y_pred)
    torch.testing.assert_close(losses.SparseCategoricalCrossentropy(**arguments)(y_true, y_pred), expected)


@pytest.mark.parametrize("smoothing", [0.1, 1.0])
def test_smoothed_class_numbers_with_an_ignored_class_equal_torch(smoothing):
    y_true, y_pred = batch("classes logits", N)
    assert 0 < (y_true == 3).sum() < N
    ours, theirs = y_pred.clone().requires_grad_(), y_pred.clone().requires_grad_()
    value = losses.SparseCategoricalCrossentropy(True, ignore_class=3, label_smoothing=smoothing)(y_true, ours)
    expected = F.cross_entropy(theirs, y_true, ignore_index=3, label_smoothing=smoothing)
    torch.testing.assert_close(value, expected)
    value.backward()
    expected.backward()
    torch.testing.assert_close(ours.grad, theirs.grad)


@cases
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_precision(name, arguments, kind, dtype):
    y_true, y_pred = batch(kind, N)
    y_pred = y_pred.to(dtype).requires_grad_()
    loss = getattr(losses, name)(**arguments)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        value = loss(y_true, y_pred)
    value.backward()
    # The rounded predictions are the same numbers in double precision.
    reference = loss(y_true, y_pred.detach().double())
    assert value.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    torch.testing.assert_close(value.double(), reference, rtol=1e-4, atol=1e-6)
    assert y_pred.grad.dtype == dtype


def test_integer_predictions():
    assert losses.MeanSquaredError()(torch.tensor([1, 2]), torch.tensor([2, 4])) == 2.5


@cases
def test_compiles_without_a_break(name, arguments, kind):
    y_true, y_pred = batch(kind, N)
    loss, weights = getattr(losses, name)(**arguments), random(N, seed=8).abs()
    torch._dynamo.reset()
    compiled = torch.compile(loss, fullgraph=True, backend="eager")
    torch.testing.assert_close(compiled(y_true, y_pred, weights), loss(y_true, y_pred, weights))


@pytest.mark.parametrize(
    ("module", "kind"),
    [
        (nn.CrossEntropyLoss(), "classes logits"),
        (nn.CrossEntropyLoss(weight=torch.arange(1.0, C + 1), label_smoothing=0.1), "classes logits"),
        (nn.CrossEntropyLoss(reduction="sum"), "distributions"),
        (nn.NLLLoss(ignore_index=2), "classes logits"),
        (nn.BCELoss(), "binary"),
        (nn.BCEWithLogitsLoss(pos_weight=torch.tensor(3.0)), "binary logits"),
        (nn.MSELoss(), "numbers"),
        (nn.SmoothL1Loss(beta=0.5), "numbers"),
        (nn.KLDivLoss(reduction="batchmean"), "distributions"),
        (nn.MultiMarginLoss(), "classes logits"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, nn.Module) else value,
)
def test_torch_modules(module, kind):
    y_true, y_pred = batch(kind, N)
    target = y_true.float() if kind.startswith("binary") else y_true
    weights = random(N, seed=9).abs()
    unreduced = copy.deepcopy(module)
    unreduced.reduction = "none"
    expected = (unreduced(y_pred, target).reshape(N, -1).mean(1) * weights).mean()
    torch._dynamo.reset()
    loss = losses.get(module)
    compiled = torch.compile(loss, fullgraph=True, backend="eager")
    torch.testing.assert_close(compiled(y_true, y_pred, weights), expected)
    narrow = y_true if y_true.is_floating_point() else y_true.to(torch.uint8)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        value = loss(narrow, y_pred)
    torch.testing.assert_close(value, module(y_pred, target))


def test_torch_module_never_broadcasts():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        loss = losses.get(nn.MSELoss())
        assert loss(torch.tensor([1.0, 2.0]), torch.tensor([[1.0], [4.0]])) == 2
        with pytest.raises(ShapeError):
            loss(torch.zeros(3), torch.zeros(3, 3))


def test_torch_module_keeps_its_own_class_weights_in_step():
    module = nn.CrossEntropyLoss(weight=torch.ones(C))
    loss = losses.get(module)
    module.to(torch.float64)
    y_true, y_pred = batch("classes logits", N)
    assert loss(y_true, y_pred.double(), torch.ones(N)).dtype == torch.float64


def test_function():
    def distance(y_true, y_pred):
        return (y_true - y_pred).abs()

    loss = losses.get(distance)
    assert loss.name == "distance"
    y_true, y_pred = torch.tensor([1.0, 2.0]), torch.tensor([[2.0], [5.0]])
    assert loss(y_true, y_pred) == 2
    assert loss(y_true, y_pred, torch.tensor([1.0, 3.0])) == 5
    whole = losses.get(lambda y_true, y_pred: distance(y_true, y_pred).mean())
    assert whole(y_true, y_pred) == 2
    with pytest.raises(ShapeError, match="sample_weight"):
        whole(y_true, y_pred, torch.ones(2))
    with pytest.raises(ArgumentError, match="expected a tensor"):
        losses.get(lambda y_true, y_pred: 1.0)(y_true, y_pred)


def test_names_are_those_of_keras():
    for name in losses._registry:
        if name in ("cross_entropy", "focal", "binary_focal", "categorical_focal"):
            continue
        expected = keras.losses.get(name)
        kind = losses.get(name).targets
        y_true, y_pred = batch(kind, N)
        value = (expected() if isinstance(expected, type) else expected)(y_true, y_pred).mean()
        torch.testing.assert_close(losses.get(name)(y_true, y_pred), value)


def test_cross_entropy_is_torch_s():
    y_true, y_pred = batch("classes logits", N)
    torch.testing.assert_close(losses.get("cross_entropy")(y_true, y_pred), F.cross_entropy(y_pred, y_true))


@cases
def test_config_round_trip(name, arguments, kind):
    loss = getattr(losses, name)(**arguments)
    again = losses.get(json.loads(json.dumps(to_config(loss))))
    y_true, y_pred = batch(kind, N)
    assert type(again) is type(loss)
    assert again(y_true, y_pred) == loss(y_true, y_pred)


def test_get_takes_losses_and_refuses_the_rest():
    loss = losses.Huber()
    assert losses.get(loss) is loss
    assert isinstance(losses.get(losses.Hinge), losses.Hinge)
    with pytest.raises(UnknownNameError, match="Did you mean 'mean_squared_error'"):
        losses.get("mean_square_error")
    for identifier in (None, 3):
        with pytest.raises(ArgumentError, match="expected a name"):
            losses.get(identifier)
    with pytest.raises(ArgumentError, match=r"Use torch's module, such as torch.nn.CrossEntropyLoss\(\)"):
        losses.get(F.cross_entropy)
    with pytest.raises(ArgumentError, match="delta=0"):
        losses.Huber(delta=0)
    with pytest.raises(ArgumentError, match=r"label_smoothing=1\.5"):
        losses.BinaryCrossentropy(label_smoothing=1.5)


SPARSE, CATEGORICAL, BINARY = "sparse_categorical_crossentropy", "categorical_crossentropy", "binary_crossentropy"


@pytest.mark.parametrize(
    ("loss", "labels"),
    [
        (SPARSE, [0, 1, 3]),
        (SPARSE, np.array([[0.0], [3.0]], dtype=np.float32)),
        (SPARSE, np.array([0, 3], dtype=">i4")[::-1]),
        (SPARSE, torch.tensor([0, 3], dtype=torch.bfloat16)),
        (losses.SparseCategoricalCrossentropy(ignore_class=255), np.array([[0, 255], [255, 3]], dtype=np.uint8)),
        (losses.SparseCategoricalCrossentropy(ignore_class=-1), [-1, -1]),
        (nn.CrossEntropyLoss(), [0, -100, 3]),
        (nn.CrossEntropyLoss(), [[0.0, 0.5, 0.5, 0.0]]),
        (CATEGORICAL, np.eye(4, dtype=bool)),
        (CATEGORICAL, [[0.1, 0.2, 0.3, 0.4]]),
        (BINARY, [0, 1, 1]),
        (BINARY, [[0.0, 0.3], [1.0, 0.7]]),
        ("hinge", [-1, 1]),
        ("hinge", [0, 1]),
        ("mse", [-3.5, 200]),
        (lambda y_true, y_pred: y_pred, [1, 200]),
    ],
)
def test_good_labels_pass(loss, labels):
    assert losses.check_labels(losses.get(loss), labels, num_classes=4) is None


@pytest.mark.parametrize(
    ("loss", "labels", "num_classes", "message"),
    [
        (SPARSE, [1, 4], 4, "go up to 4, but 4 outputs stand for the classes 0 to 3. .* 5 units"),
        (SPARSE, [0, -1], 4, "go down to -1"),
        (SPARSE, [0, 1], 1, "there is one output. Use binary_crossentropy or 2 units"),
        (SPARSE, [0, 1.5], 4, "whole class numbers; got 1.5"),
        (SPARSE, np.eye(4), 4, "Use categorical_crossentropy, or labels.argmax"),
        (SPARSE, torch.full((3, 4), 0.25), 4, "Use categorical_crossentropy"),
        (nn.CrossEntropyLoss(), [0, 4], 4, "CrossEntropyLoss: labels go up to 4"),
        (nn.NLLLoss(), torch.tensor([7]), 4, "go up to 7"),
        (CATEGORICAL, [0, 1, 2], 4, "sparse_categorical_crossentropy or one-hot encode"),
        (CATEGORICAL, np.eye(3), 4, "no rows of 4 probabilities"),
        (CATEGORICAL, [[0, 1, 2, 3]], 4, "values from 0 to 3"),
        (CATEGORICAL, [[-0.5, 0.5, 0.5, 0.5]], 4, "values from -0.5"),
        ("kl_divergence", [0, 1], 4, "one-hot encode"),
        (BINARY, [1, 2], 1, "go from 1 to 2; expected 0 and 1"),
        (BINARY, [-1, 1], 1, "go from -1 to 1"),
        (nn.BCEWithLogitsLoss(), [3], 1, "expected 0 and 1"),
        ("hinge", [-1, 0, 1], 1, "got -1, 0, 1"),
        ("mse", [1.0, np.nan], 1, "NaN or infinity"),
        ("mse", torch.tensor([torch.inf]), 1, "NaN or infinity"),
        ("mse", [], 1, "no labels"),
        (SPARSE, ["cat", "dog"], 2, "must be numbers; got .*cat"),
    ],
)
def test_bad_labels_name_the_fix(loss, labels, num_classes, message):
    with pytest.raises(DataError, match=message):
        losses.check_labels(losses.get(loss), labels, num_classes)
