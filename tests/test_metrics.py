"""Metrics: Keras and scikit-learn give the values, over batches of uneven sizes with and without sample weights."""

import json

import keras
import numpy as np
import pytest
import sklearn.metrics
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from striate import losses, metrics
from striate._registry import to_config
from striate.errors import ArgumentError, ShapeError, UnknownNameError

N, T, C = 101, 4, 6
BATCHES = [slice(0, 64), slice(64, 96), slice(96, 101)]
LABELS = range(C)


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


WEIGHTS = torch.rand(N, generator=generator(0)) + 0.1
CLASSES = torch.randint(C - 1, (N,), generator=generator(1))  # the last class never occurs
LOGITS = 2 * torch.randn(N, C, generator=generator(2)) + 2 * F.one_hot(CLASSES, C)
LOGITS[:, 1] -= 20  # a class that is never predicted
PROBABILITIES = LOGITS.softmax(-1)
BINARY = torch.randint(2, (N,), generator=generator(3))
SCORES = torch.randn(N, 1, generator=generator(4)) + BINARY.unsqueeze(-1)
MULTI_LABELS = torch.randint(2, (N, C), generator=generator(5))

weighted = pytest.mark.parametrize("weights", [None, WEIGHTS], ids=["plain", "weighted"])
NAMES = [name for name in metrics.registry if name != "FunctionMetric"]
AVERAGES = [None, "micro", "macro", "weighted"]


def gather(metric: metrics.Metric, y_true: Tensor, y_pred: Tensor, weights: Tensor | None = None):
    """The value after all batches, following others that were reset."""
    metric.update(y_true[:3], y_pred[:3])
    metric.reset()
    for rows in BATCHES:
        metric.update(y_true[rows], y_pred[rows], None if weights is None else weights[rows])
    return metric.compute()


def gather_keras(metric, y_true: Tensor, y_pred: Tensor, weights: Tensor | None = None):
    for rows in BATCHES:
        metric.update_state(y_true[rows], y_pred[rows], None if weights is None else weights[rows].clone())
    return metric.result().tolist()


STEPS = (CLASSES.unsqueeze(-1).expand(N, T) + torch.arange(T)) % C, torch.randn(N, T, C, generator=generator(6))


@weighted
@pytest.mark.parametrize(
    ("name", "arguments", "y_true", "y_pred"),
    [
        ("Accuracy", {}, CLASSES, PROBABILITIES.argmax(-1)),
        ("BinaryAccuracy", {}, BINARY.unsqueeze(-1), SCORES.sigmoid()),
        ("BinaryAccuracy", {}, BINARY, SCORES.sigmoid()),
        ("BinaryAccuracy", {"threshold": 0.7}, MULTI_LABELS, PROBABILITIES),
        ("CategoricalAccuracy", {}, F.one_hot(CLASSES, C), PROBABILITIES),
        ("CategoricalAccuracy", {}, F.one_hot(STEPS[0], C), STEPS[1]),
        ("SparseCategoricalAccuracy", {}, CLASSES, PROBABILITIES),
        ("SparseCategoricalAccuracy", {}, CLASSES.unsqueeze(-1), LOGITS),
        ("SparseCategoricalAccuracy", {}, *STEPS),
        ("TopKCategoricalAccuracy", {}, F.one_hot(CLASSES, C), PROBABILITIES),
        ("SparseTopKCategoricalAccuracy", {}, CLASSES, PROBABILITIES),
        ("SparseTopKCategoricalAccuracy", {"k": 2}, CLASSES, LOGITS.round()),
        ("SparseTopKCategoricalAccuracy", {"k": 3}, *STEPS),
        ("MeanSquaredError", {}, BINARY, SCORES),
        ("MeanAbsoluteError", {}, MULTI_LABELS, LOGITS),
        ("AUC", {}, BINARY, SCORES.sigmoid()),
        ("AUC", {"num_thresholds": 7}, BINARY, SCORES.sigmoid()),
        ("AUC", {"from_logits": True}, BINARY.unsqueeze(-1), SCORES),
        ("AUC", {}, MULTI_LABELS, PROBABILITIES),
        ("AUC", {}, BINARY, SCORES.clamp(0, 1) / 100),
        ("AUC", {}, torch.ones(N), SCORES.sigmoid()),
        ("Precision", {}, BINARY, SCORES.sigmoid()),
        ("Recall", {}, BINARY, SCORES.sigmoid()),
        ("F1Score", {}, F.one_hot(CLASSES, C), PROBABILITIES),
        ("F1Score", {"average": "macro"}, F.one_hot(CLASSES, C), PROBABILITIES),
        ("F1Score", {"average": "weighted", "threshold": 0.2}, MULTI_LABELS, PROBABILITIES),
        ("F1Score", {"average": "micro", "threshold": 0.2}, MULTI_LABELS, PROBABILITIES),
    ],
)
def test_equals_keras(name, arguments, y_true, y_pred, weights):
    ours = gather(getattr(metrics, name)(**arguments), y_true, y_pred, weights)
    theirs = gather_keras(getattr(keras.metrics, name)(**arguments), y_true, y_pred, weights)
    assert ours == pytest.approx(theirs, rel=1e-5, abs=1e-6)


@pytest.mark.parametrize("name", ["Precision", "Recall"])
def test_every_output_by_itself_equals_keras(name):
    ours = getattr(metrics, name)(average="micro", threshold=0.3)
    theirs = getattr(keras.metrics, name)(thresholds=0.3)
    expected = gather_keras(theirs, MULTI_LABELS, PROBABILITIES, WEIGHTS)
    assert gather(ours, MULTI_LABELS, PROBABILITIES, WEIGHTS) == pytest.approx(expected, rel=1e-5)


@weighted
@pytest.mark.parametrize("average", AVERAGES)
@pytest.mark.parametrize("labels", [CLASSES, CLASSES.float().unsqueeze(-1), F.one_hot(CLASSES, C)])
def test_per_class_and_averaged_equal_scikit_learn(average, labels, weights):
    expected = sklearn.metrics.precision_recall_fscore_support(
        CLASSES, PROBABILITIES.argmax(-1), labels=LABELS, average=average, sample_weight=weights, zero_division=0
    )
    for metric, value in zip((metrics.Precision, metrics.Recall, metrics.F1Score), expected, strict=False):
        assert gather(metric(average=average), labels, LOGITS, weights) == pytest.approx(value, abs=1e-9)


@weighted
@pytest.mark.parametrize("average", AVERAGES)
@pytest.mark.parametrize("threshold", [None, 0.7])
@pytest.mark.parametrize("from_logits", [False, True])
def test_one_output_equals_scikit_learn(average, threshold, from_logits, weights):
    scores = SCORES.sigmoid()
    decisions = (scores > (threshold or 0.5)).int()
    expected = sklearn.metrics.precision_recall_fscore_support(
        BINARY, decisions, average="binary", sample_weight=weights, zero_division=0
    )
    arguments = {"average": average, "threshold": threshold, "from_logits": from_logits}
    for metric, value in zip((metrics.Precision, metrics.Recall, metrics.F1Score), expected, strict=False):
        result = gather(metric(**arguments), BINARY, SCORES if from_logits else scores, weights)
        assert result == pytest.approx(value, abs=1e-9)


@weighted
@pytest.mark.parametrize("average", AVERAGES)
def test_multi_label_equals_scikit_learn(average, weights):
    expected = sklearn.metrics.precision_recall_fscore_support(
        MULTI_LABELS, LOGITS.sigmoid() > 0.4, average=average, sample_weight=weights, zero_division=0
    )
    for metric, value in zip((metrics.Precision, metrics.Recall, metrics.F1Score), expected, strict=False):
        result = gather(metric(average=average, threshold=0.4, from_logits=True), MULTI_LABELS, LOGITS, weights)
        assert result == pytest.approx(value, abs=1e-9)


@weighted
@pytest.mark.parametrize("decimals", [0, 1, 6])  # few decimals make ties
@pytest.mark.parametrize("from_logits", [False, True])
def test_exact_auc_equals_scikit_learn(decimals, from_logits, weights):
    scores = SCORES.round(decimals=decimals)
    expected = sklearn.metrics.roc_auc_score(BINARY, scores, sample_weight=weights)
    result = gather(metrics.AUC(num_thresholds=None, from_logits=from_logits), BINARY, scores, weights)
    assert result == pytest.approx(expected, abs=1e-9)


def test_exact_auc_tells_saturated_logits_apart():
    metric = metrics.AUC(num_thresholds=None, from_logits=True)
    metric.update(torch.tensor([0, 1]), torch.tensor([100.0, 200.0]))
    assert metric.compute() == 1


@weighted
def test_confusion_matrix_equals_scikit_learn(weights):
    expected = sklearn.metrics.confusion_matrix(CLASSES, LOGITS.argmax(-1), labels=LABELS, sample_weight=weights)
    for labels in (CLASSES, CLASSES.unsqueeze(-1), F.one_hot(CLASSES, C)):
        for num_classes in (None, C):
            result = gather(metrics.ConfusionMatrix(num_classes), labels, LOGITS, weights)
            assert np.allclose(result, expected)
    assert np.allclose(gather(metrics.ConfusionMatrix(C), CLASSES, LOGITS.argmax(-1), weights), expected)
    expected = sklearn.metrics.confusion_matrix(BINARY, SCORES > 0, sample_weight=weights)
    assert np.allclose(gather(metrics.ConfusionMatrix(from_logits=True), BINARY, SCORES, weights), expected)
    assert np.allclose(gather(metrics.ConfusionMatrix(), BINARY, SCORES.sigmoid(), weights), expected)


def test_confusion_matrix_counts_are_integers():
    result = gather(metrics.ConfusionMatrix(), CLASSES, LOGITS)
    assert {type(count) for row in result for count in row} == {int}
    steps = gather(metrics.ConfusionMatrix(), *STEPS)
    assert sum(map(sum, steps)) == N * T


def test_classification_table_equals_scikit_learn():
    predicted = LOGITS.argmax(-1)
    report = sklearn.metrics.classification_report(CLASSES, predicted, labels=LABELS, output_dict=True, zero_division=0)
    rows = metrics.classification_table(sklearn.metrics.confusion_matrix(CLASSES, predicted, labels=LABELS).tolist())
    assert [row.name for row in rows] == [*"012345", "macro average", "weighted average"]
    for row, name in zip(rows, [*"012345", "macro avg", "weighted avg"], strict=True):
        expected = [report[name][key] for key in ("precision", "recall", "f1-score", "support")]
        assert list(row[1:]) == pytest.approx(expected, abs=1e-12)


@weighted
def test_mean_equals_keras(weights):
    values = torch.randn(N, T, generator=generator(7))
    ours, theirs = metrics.Mean(), keras.metrics.Mean()
    for rows in BATCHES:
        batch_weights = None if weights is None else weights[rows]
        ours.update(values[rows], batch_weights)
        theirs.update_state(values[rows], batch_weights)
    assert ours.compute() == pytest.approx(theirs.result().item(), rel=1e-5)


def test_mean_of_losses_weighted_by_batch_size():
    mean = metrics.Mean()
    loss = losses.MeanSquaredError()
    for rows in BATCHES:
        y_pred = SCORES[rows].clone().requires_grad_()
        mean.update(loss(BINARY[rows], y_pred), sample_weight=len(y_pred))
    assert mean.compute() == pytest.approx(loss(BINARY, SCORES).item(), rel=1e-6)


def test_state_holds_no_graph_and_survives_inference_mode():
    metric = metrics.MeanSquaredError()
    with torch.inference_mode():
        metric.update(BINARY[:50], SCORES[:50])
    metric.update(BINARY[50:], SCORES[50:].clone().requires_grad_())
    assert metric.compute() == pytest.approx(((BINARY - SCORES.squeeze()) ** 2).mean().item(), rel=1e-6)
    assert not metric._state["total"].requires_grad


def test_counts_stay_exact_beyond_single_precision():
    metric = metrics.Mean()
    metric.update(torch.tensor(0.0), sample_weight=2.0**24)
    for _ in range(4):
        metric.update(torch.ones(1))
    assert metric.compute() == 4 / (2**24 + 4)


class NoSync(TorchDispatchMode):
    """Refuses the operations that make a GPU report to Python."""

    WAITING = ("_local_scalar_dense", "nonzero", "bincount", "unique", "masked_select", "equal.default")

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        assert not any(word in str(func) for word in self.WAITING), f"{func} waits for the device"
        return func(*args, **kwargs or {})


@pytest.mark.parametrize("name", NAMES)
def test_update_never_waits_for_the_device(name):
    metric = metrics.get({"class": name, "config": {}})
    if isinstance(metric, (metrics.CategoricalAccuracy, metrics.TopKCategoricalAccuracy)):
        y_true, y_pred = F.one_hot(CLASSES, C), LOGITS
    elif isinstance(metric, (metrics.SparseCategoricalAccuracy, metrics.SparseTopKCategoricalAccuracy)):
        y_true, y_pred = CLASSES, LOGITS
    else:
        y_true, y_pred = BINARY, SCORES
    with NoSync():
        metric.update(y_true, y_pred, WEIGHTS)
        if not isinstance(metric, metrics.MeanMetric | metrics.AUC):
            metric.reset()
            metric.update(CLASSES, LOGITS, WEIGHTS)


@pytest.mark.parametrize("name", NAMES)
def test_no_batches_give_zero(name):
    assert metrics.get({"class": name, "config": {}}).compute() in (0.0, [])


@pytest.mark.parametrize("name", NAMES)
def test_config_round_trip(name):
    metric = metrics.get({"class": name, "config": {}})
    again = metrics.get(json.loads(json.dumps(to_config(metric))))
    assert type(again) is type(metric)
    assert again.get_config() == metric.get_config()


SPARSE, CATEGORICAL, BINARY_ACCURACY = "SparseCategoricalAccuracy", "CategoricalAccuracy", "BinaryAccuracy"


@pytest.mark.parametrize(
    ("y_true_shape", "y_pred_shape"),
    [((N, 1), (N, 1)), ((N,), (N, 1)), ((N,), (N, C)), ((N, 1), (N, C)), ((N, C), (N, C)), ((N, T), (N, T, C))],
)
def test_accuracy_is_chosen_from_shapes_as_keras_does(y_true_shape, y_pred_shape):
    from keras.src.trainers.compile_utils import get_metric

    expected = get_metric("accuracy", torch.zeros(y_true_shape), torch.zeros(y_pred_shape))
    metric = metrics.get("accuracy", losses.get("mse"), y_true_shape, y_pred_shape)
    assert type(metric).__name__ == type(expected).__name__
    assert metric.name == expected.name == "accuracy"


@pytest.mark.parametrize(
    ("loss", "expected", "from_logits"),
    [
        ("binary_crossentropy", BINARY_ACCURACY, False),
        (losses.BinaryCrossentropy(from_logits=True), BINARY_ACCURACY, True),
        (nn.BCEWithLogitsLoss(), BINARY_ACCURACY, True),
        ("hinge", BINARY_ACCURACY, True),
        ("categorical_crossentropy", CATEGORICAL, None),
        ("kl_divergence", CATEGORICAL, None),
        ("sparse_categorical_crossentropy", SPARSE, None),
        ("cross_entropy", SPARSE, None),
        (nn.CrossEntropyLoss(), SPARSE, None),
    ],
)
def test_accuracy_is_chosen_from_the_loss(loss, expected, from_logits):
    for name in ("accuracy", "acc", "Accuracy"):
        metric = metrics.get(name, losses.get(loss), (N,), (N, C))
        assert type(metric).__name__ == expected
        assert metric.name == "accuracy"
        assert getattr(metric, "from_logits", None) == from_logits


def test_names_take_the_decision_of_the_loss():
    logits = losses.BinaryCrossentropy(from_logits=True)
    for name in ("precision", "recall", "f1", "auc", "confusion_matrix"):
        assert metrics.get(name, logits).from_logits
        assert not metrics.get(name, losses.get("bce")).from_logits
    for name, average in (("precision", "macro"), ("recall", "macro"), ("f1", "macro"), ("f1_score", None)):
        metric = metrics.get(name, logits)
        assert (metric.name, metric.average, metric.threshold) == (name, average, 0.5)
        assert metrics.get(name, losses.get("cross_entropy")).threshold is None
    mine = metrics.Precision()
    assert metrics.get(mine, logits) is mine
    assert not mine.from_logits


def test_hinge_accuracy_reads_signs():
    metric = metrics.get("accuracy", losses.Hinge())
    expected = ((SCORES.squeeze() > 0) == BINARY.bool()).float().mean().item()
    assert gather(metric, 2 * BINARY - 1, SCORES) == pytest.approx(expected)


def test_top_k_by_name():
    sparse = metrics.get("top_3_accuracy", losses.get("cross_entropy"))
    one_hot = metrics.get("top_3_accuracy", None, (N, C), (N, C))
    expected = sklearn.metrics.top_k_accuracy_score(CLASSES, LOGITS, k=3, labels=LABELS)
    assert (sparse.name, sparse.k) == ("top_3_accuracy", 3)
    assert gather(sparse, CLASSES, LOGITS) == pytest.approx(expected)
    assert gather(one_hot, F.one_hot(CLASSES, C), LOGITS) == pytest.approx(expected)
    assert gather(metrics.SparseTopKCategoricalAccuracy(k=C + 1), CLASSES, LOGITS) == 1
    with pytest.raises(ArgumentError, match="one output for each class"):
        metrics.get("top_3_accuracy", losses.get("bce"))


def test_not_a_number_is_never_right():
    nan = torch.full((N, C), torch.nan)
    assert gather(metrics.SparseTopKCategoricalAccuracy(), CLASSES, nan) == 0
    assert gather(metrics.Recall(), BINARY, nan[:, :1]) == 0
    assert 0 <= gather(metrics.AUC(), BINARY, nan[:, 0]) <= 1


@pytest.mark.parametrize("scalar", [False, True])
def test_functions_are_averaged(scalar):
    def largest_error(y_true, y_pred):
        values = (y_true - y_pred).abs().amax(-1)
        return values.mean() if scalar else values

    metric = metrics.get(largest_error)
    assert metric.name == "largest_error"
    expected = (MULTI_LABELS - LOGITS).abs().amax(-1).mean().item()
    assert gather(metric, MULTI_LABELS, LOGITS) == pytest.approx(expected, rel=1e-6)


@weighted
def test_losses_are_averaged(weights):
    expected = gather_keras(keras.metrics.SparseCategoricalCrossentropy(from_logits=True), CLASSES, LOGITS, weights)
    for loss in (losses.SparseCategoricalCrossentropy(from_logits=True), nn.CrossEntropyLoss()):
        assert gather(metrics.get(loss), CLASSES, LOGITS, weights) == pytest.approx(expected, rel=1e-5)
    again = metrics.get(to_config(metrics.get(losses.get("cross_entropy"))))
    assert gather(again, CLASSES, LOGITS, weights) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("name", ["mae", "mse", "auc", "BinaryAccuracy", "precision"])
def test_keeps_the_name_it_was_asked_for(name):
    assert metrics.get(name).name == name


def test_mistakes():
    with pytest.raises(UnknownNameError, match="Did you mean 'precision'"):
        metrics.get("precisoin")
    with pytest.raises(ArgumentError, match="expected a name"):
        metrics.get(3)
    with pytest.raises(ArgumentError, match="give the shapes"):
        metrics.get("accuracy")
    with pytest.raises(ArgumentError, match="average='mean'"):
        metrics.F1Score(average="mean")
    with pytest.raises(ArgumentError, match="num_thresholds=1"):
        metrics.AUC(num_thresholds=1)
    with pytest.raises(ShapeError, match="Class numbers"):
        metrics.SparseCategoricalAccuracy().update(F.one_hot(CLASSES, C), LOGITS)
    with pytest.raises(ShapeError, match="do not fit"):
        metrics.BinaryAccuracy().update(BINARY, SCORES.expand(N, N))
    for metric in (metrics.ConfusionMatrix(C + 1), metrics.ConfusionMatrix()):
        with pytest.raises(ShapeError, match="one output per class, or num_classes"):
            metric.update(CLASSES, LOGITS if metric.num_classes else LOGITS.argmax(-1))
