"""How the last hidden layer sees samples: a map in which those that it takes for alike lie side by side."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from striate._nested import leaves
from striate.see.batches import batches
from striate.see.watching import untouched

MOST_SAMPLES = 1000
"""Of as many, t-SNE takes four seconds on one core."""

_LEAST_SAMPLES = 10
_STEPS = 500  # of t-SNE
_PERPLEXITY = 30
_BATCH = 32


@dataclass(frozen=True, eq=False)
class Hidden:
    """What comes into the last layer with weights.

    Attributes:
        layer: the path of that layer.
        values: one row for each sample.
    """

    layer: str
    values: np.ndarray


@dataclass(frozen=True, eq=False)
class Embedding:
    """Maps of samples by their values in the last hidden layer.

    Attributes:
        hidden: the values.
        chosen: which samples they are.
        maps: by the name of the method, two coordinates for each sample.
        kept: the share of the variance that the first two principal components hold.
        nearest: of each of them its nearest neighbour in the hidden layer, by its place among them.
    """

    hidden: Hidden
    chosen: np.ndarray
    maps: dict[str, np.ndarray]
    kept: float
    nearest: np.ndarray


def last_hidden(network: nn.Module, x: Any) -> Hidden | None:
    """What comes into the last layer with weights, where that is not the input of the network itself.

    Example:
        >>> net = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2), nn.Softmax(1))
        >>> hidden = last_hidden(net, np.ones((5, 4), np.float32))
        >>> hidden.layer, hidden.values.shape
        ('2', (5, 3))
        >>> last_hidden(net[2:], np.ones((5, 3), np.float32)) is None
        True
    """
    latest: list[tuple[str, Tensor]] = []
    ran = 0

    def note(path: str, args: Any) -> None:
        nonlocal ran
        values = next((value for value in leaves(args) if isinstance(value, Tensor)), None)
        if values is not None:
            latest[:] = [(path, values)]  # of the layers before, nothing is held
            ran += 1

    rows: list[np.ndarray] = []
    with ExitStack() as hooks, untouched(network), torch.no_grad():
        for path, part in network.named_modules():
            if any(parameter.ndim > 1 for parameter in part.parameters(recurse=False)):
                hook = part.register_forward_pre_hook(lambda _, args, path=path: note(path, args))
                hooks.callback(hook.remove)
        for batch in batches(network, x, _BATCH):
            ran = 0
            network(batch)
            if ran < 2 or len(latest[0][1]) != len(batch):
                return None
            rows.append(latest[0][1].flatten(1).float().cpu().numpy())
    return Hidden(latest[0][0], np.concatenate(rows))


def embed(network: nn.Module, x: Any, seed: int) -> Embedding | None:
    """Map samples by the last hidden layer, with PCA and with t-SNE.

    Args:
        network: what was trained.
        x: samples; of more than 1,000, as many are drawn.
        seed: what they are drawn with, and t-SNE begins with.

    Returns:
        None where the network has no hidden layer, or there are too few samples.
    """
    from sklearn.decomposition import PCA
    from sklearn.manifold import TSNE
    from sklearn.neighbors import NearestNeighbors
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

    chosen = np.sort(np.random.default_rng(seed).permutation(len(x))[:MOST_SAMPLES])
    if len(chosen) < _LEAST_SAMPLES:
        return None
    hidden = last_hidden(network, np.asarray(x[chosen]))
    if hidden is None or hidden.values.shape[1] < 2 or not np.ptp(hidden.values, axis=0).any():
        return None
    values = hidden.values
    nearest = NearestNeighbors(n_neighbors=1).fit(values).kneighbors(return_distance=False)[:, 0]
    components = PCA(min(50, *values.shape), random_state=seed).fit(values)
    reduced = components.transform(values)
    perplexity = min(_PERPLEXITY, (len(values) - 1) / 3)
    with threadpool_limits(1, user_api="openmp"):  # sums of several threads differ from run to run
        scattered = TSNE(
            init="pca", max_iter=_STEPS, perplexity=perplexity, random_state=seed, learning_rate="auto"
        ).fit_transform(reduced)
    return Embedding(
        hidden,
        chosen,
        {"PCA": reduced[:, :2], "t-SNE": scattered},
        float(components.explained_variance_ratio_[:2].sum()),
        nearest,
    )
