"""What a network answers, as methods that explain it take it: one number, or a probability for each label.

Several outputs are otherwise taken for the scores of classes that exclude each other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from striate.report.results import Classification, MultiLabel, Result
from striate.see.images import as_batch
from striate.see.watching import untouched

_SEEN = 8  # samples that tell scores from probabilities


@contextmanager
def answering(network: nn.Module, x: Any, result: Result, index: int) -> Iterator[tuple[int | None, tuple[str, ...]]]:
    """Inside, the network answers so that a prediction can be explained: the number or label that is furthest off.

    Args:
        network: what was trained.
        x: the test samples.
        result: what was predicted for them.
        index: which of them is explained.

    Yields:
        The output to explain, None for the likeliest class; and what the outputs are called.
    """
    if isinstance(result, Classification):
        yield None, result.class_names
    elif isinstance(result, MultiLabel):
        right = (result.said[index] == result.actual[index]).all()
        label = int(result.probability[index].argmax() if right else result.furthest[index])
        with labels(network, np.asarray(x[:_SEEN]), result.probability[:_SEEN]):
            yield label, result.class_names
    else:
        column = int(result.furthest[index])
        with one_number(network, column):
            yield 0, (f"number {column}" if result.actual.shape[1] > 1 else "the number",)


@contextmanager
def one_number(network: nn.Module, column: int) -> Iterator[None]:
    """Inside, a network that predicts numbers gives one of them alone.

    >>> network = nn.Linear(2, 3)
    >>> with one_number(network, 1):
    ...     network(torch.ones(4, 2)).shape
    torch.Size([4, 1])
    """
    with _changed(network, lambda output: output.flatten(1)[:, [column]]):
        yield


@contextmanager
def labels(network: nn.Module, samples: np.ndarray, probabilities: np.ndarray) -> Iterator[None]:
    """Inside, a network that scores labels gives their probabilities; one that does so anyway is left alone.

    Args:
        network: what gives one value for each label.
        samples: images to tell which of the two it is.
        probabilities: of their labels.
    """
    with untouched(network), torch.no_grad():
        outputs = torch.cat([network(as_batch(network, image)) for image in samples]).cpu()
    expected = torch.as_tensor(probabilities)
    if (outputs - expected).abs().sum() <= (outputs.sigmoid() - expected).abs().sum():
        yield
        return
    with _changed(network, torch.sigmoid):
        yield


@contextmanager
def _changed(network: nn.Module, change: Callable[[Tensor], Tensor]) -> Iterator[None]:
    hook = network.register_forward_hook(lambda _module, _inputs, output: change(output))
    try:
        yield
    finally:
        hook.remove()
