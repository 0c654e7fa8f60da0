"""Weights by name or path into a network, with what is known of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from torch import nn

from striate.zoo.padding import tf_same_padding
from striate.zoo.weights.download import fetch
from striate.zoo.weights.fitting import fit_weights
from striate.zoo.weights.reading import READERS, read_weights
from striate.zoo.weights.records import WeightsRecord, record, record_of_file


@dataclass(frozen=True)
class LoadedWeights:
    """What a network was given.

    Attributes:
        path: of the file.
        record: what is known of the weights, as they now are: the classes are those of the network's classifier, the
            preprocessing is for its channels; None where the file does not say and is no published one.
        notes: what was done, one sentence each.
    """

    path: Path
    record: WeightsRecord | None
    notes: tuple[str, ...]


def load_weights(
    network: nn.Module,
    weights: str | Path,
    *,
    architecture: str = "",
    adapt_classes: bool = False,
    adapt_channels: bool = False,
    ask: Callable[[str], bool] | None = None,
) -> LoadedWeights:
    """Give a network published weights, or those of a file; where they do not fit, it stays as it was.

    Args:
        network: of the zoo, or any other torch module.
        weights: a name, such as `"imagenet"` or `"imagenet1k_v1"`, or the path of a file.
        architecture: the network's name in the zoo, which names of weights belong to.
        adapt_classes: see `fit_weights`.
        adapt_channels: see `fit_weights`.
        ask: whether to download; see `fetch`.

    Raises:
        UnknownNameError: there are no such weights for this network.
        DownloadError: they are not on this machine, and were not downloaded.
        WeightsFileError: the file is broken, or none of weights.
        WeightKeysError: they are another network's.
        WeightShapeError: some have other shapes than in the network.
    """
    if Path(weights).suffix in READERS:
        path, known = Path(weights), None
    else:
        known = record(architecture, str(weights))
        path = fetch(known, ask)
    file = read_weights(path)
    known = known or file.record or record_of_file(path)
    fitted = fit_weights(network, file.tensors, adapt_classes=adapt_classes, adapt_channels=adapt_channels)
    notes = [*file.notes, *fitted.notes]
    if known and known.padding == "tf_same":
        tf_same_padding(network)
        notes.append("Strided layers pad as TensorFlow does, where the weights were trained.")
    if known and fitted.new_classifier:
        known = replace(known, num_classes=getattr(network, "num_classes", 0), class_names=())
    if known and fitted.in_channels:
        known = replace(known, preprocessing=known.preprocessing.for_channels(fitted.in_channels))
    return LoadedWeights(path, known, tuple(notes))
