"""One linear layer fitted to features to the end: no learning rate, no epochs, the same result each time.

The loss, plus λ/2 times the squared weights, is convex, so L-BFGS finds its one minimum. Features are standardised
first, that one λ suits all of them; the layer that is returned takes them as they were.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from striate.data import Task

PENALTIES = (1e-4, 1e-3, 1e-2, 1e-1)
"""What λ is chosen from."""
_ITERATIONS = 200
_LEAST_DEVIATION = 1e-6
_HELD_OUT = 5  # every so many-th sample chooses λ


@dataclass(frozen=True)
class Linear:
    """A fitted layer.

    Attributes:
        weight: K × F.
        bias: K.
        penalty: the λ that was chosen.
    """

    weight: Tensor
    bias: Tensor
    penalty: float

    def __call__(self, features: np.ndarray) -> np.ndarray:
        """N × F features to N × K scores, or numbers."""
        return F.linear(torch.as_tensor(features), self.weight, self.bias).numpy()


def fit(
    features: np.ndarray, y: np.ndarray, task: Task, outputs: int, penalties: Sequence[float] = PENALTIES
) -> Linear:
    """Fit a linear layer.

    Args:
        features: N × F.
        y: labels or targets, as a data set holds them.
        task: which loss: cross-entropy, binary cross-entropy (for each label, if there are several) or squared error.
        outputs: K: the classes; 1 for "binary"; the numbers to predict.
        penalties: λ is the one of these that does best on a fifth of the samples, which is held out for it.

    Example:
        >>> x = np.array([[-2.0], [-1.0], [1.0], [2.0]], np.float32)
        >>> layer = fit(x, np.array([0, 0, 1, 1]), "binary", 1, [1e-2])
        >>> (layer(x)[:, 0] > 0).tolist()
        [False, False, True, True]
    """
    x, targets = torch.as_tensor(features, dtype=torch.float32), _targets(y, task)
    if len(penalties) == 1 or len(x) < 2 * _HELD_OUT:
        return _minimum(x, targets, task, outputs, penalties[len(penalties) // 2])
    # Samples often lie class by class.
    order = torch.from_numpy(np.random.default_rng(0).permutation(len(x)))
    held_out = torch.zeros(len(x), dtype=torch.bool)
    held_out[order[::_HELD_OUT]] = True

    def tested(penalty: float) -> float:
        layer = _minimum(x[~held_out], targets[~held_out], task, outputs, penalty)
        return float(_loss(F.linear(x[held_out], layer.weight, layer.bias), targets[held_out], task))

    return _minimum(x, targets, task, outputs, min(penalties, key=tested))


def _minimum(x: Tensor, targets: Tensor, task: Task, outputs: int, penalty: float) -> Linear:
    mean, deviation = x.mean(0), x.std(0, correction=0).clamp(min=_LEAST_DEVIATION)
    standard = (x - mean) / deviation
    weight = torch.zeros(outputs, x.shape[1], requires_grad=True)
    bias = torch.zeros(outputs, requires_grad=True)
    optimizer = torch.optim.LBFGS(
        [weight, bias], max_iter=_ITERATIONS, tolerance_grad=1e-6, line_search_fn="strong_wolfe"
    )

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = _loss(F.linear(standard, weight, bias), targets, task) + penalty / 2 * weight.square().sum()
        loss.backward()
        return loss

    with torch.enable_grad():
        optimizer.step(closure)
    scaled = weight.detach() / deviation
    return Linear(scaled, bias.detach() - scaled @ mean, penalty)


def _targets(y: np.ndarray, task: Task) -> Tensor:
    if task == "multiclass":
        return torch.as_tensor(y, dtype=torch.int64)
    return torch.as_tensor(y, dtype=torch.float32).reshape(len(y), -1)


def _loss(scores: Tensor, targets: Tensor, task: Task) -> Tensor:
    """The mean over the samples."""
    if task == "multiclass":
        return F.cross_entropy(scores, targets)
    if task == "regression":
        return F.mse_loss(scores, targets)
    return F.binary_cross_entropy_with_logits(scores, targets)
