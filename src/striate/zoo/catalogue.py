"""Backbones by name, with what is known of each before it is built: paper, size, cost, published accuracy."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from striate._registry import suggestion
from striate.errors import ArgumentError, UnknownNameError
from striate.shapes import one_of
from striate.zoo.backbone import Backbone
from striate.zoo.padding import PADDINGS, tf_same_padding
from striate.zoo.preprocessing import Preprocessing


@dataclass(frozen=True)
class Card:
    """What is known of a network.

    Attributes:
        name: what `create` takes.
        family: what `striate zoo --family` takes.
        paper: authors and title of the paper that introduced it.
        year: of that paper.
        url: where the paper is.
        parameters: with 1,000 classes and three channels (10 and one for LeNet-5).
        macs: multiply-accumulates for one image of `input_shape`.
        neurons: for one image of `input_shape`, by `striate.count`.
        input_shape: channels, height, width, as published.
        top1: published ImageNet accuracy in percent, single crop, of the weights "imagenet1k_v1"; None where
            there are none.
        build: makes it with fresh weights.
    """

    name: str
    family: str
    paper: str
    year: int
    url: str
    parameters: int
    macs: int
    neurons: int
    input_shape: tuple[int, int, int]
    top1: float | None
    build: Callable[..., Backbone]


_CARDS: dict[str, Card] = {}


@dataclass(frozen=True)
class Family:
    """Networks of one paper, which one file of the zoo makes."""

    name: str
    paper: str
    year: int
    url: str

    def add(
        self,
        name: str,
        build: Callable[..., Backbone],
        parameters: int,
        macs: int,
        neurons: int,
        top1: float | None = None,
        input_shape: tuple[int, int, int] = (3, 224, 224),
    ) -> None:
        """Enter a network into the catalogue."""
        if name in _CARDS:
            raise ArgumentError(f"The backbone {name!r} is in the zoo already; choose another name.")
        _CARDS[name] = Card(
            name, self.name, self.paper, self.year, self.url, parameters, macs, neurons, input_shape, top1, build
        )


def names() -> list[str]:
    """All networks of the zoo, family by family."""
    return list(_CARDS)


def card(name: str) -> Card:
    """What is known of a network.

    Raises:
        UnknownNameError: the zoo has no such network; the nearest names are suggested.

    Example:
        >>> card("resnet18").parameters
        11689512
        >>> card("resnet19")
        Traceback (most recent call last):
        striate.errors.UnknownNameError: Unknown backbone 'resnet19'. Did you mean 'resnet18' or 'resnet152' ...
    """
    if name not in _CARDS:
        raise UnknownNameError(
            f"Unknown backbone {name!r}.{suggestion(name, _CARDS)} `striate zoo` lists the {len(_CARDS)} there are."
        )
    return _CARDS[name]


def create(
    name: str,
    *,
    weights: str | Path | None = None,
    num_classes: int | None = None,
    in_channels: int | None = None,
    trainable: bool = True,
    padding: str = "torch",
    ask: Callable[[str], bool] | None = None,
    **options: Any,
) -> Backbone:
    """A network of the zoo, with fresh weights or with others.

    Args:
        name: one of `names()`.
        weights: the name of published ones, such as `"imagenet"`, which are downloaded if `ask` agrees; or the path of
            a file (see `striate.zoo.weights`). What was done to make them fit stands in `weights.notes` of the network,
            and what they expect of images in `preprocessing`.
        num_classes: by default as published: 1,000, and 10 for LeNet-5, or as many as the weights have; 0 leaves the
            classifier out. For other classes than those of the weights the classifier starts anew.
        in_channels: of the images; by default as published: three, and one for LeNet-5. To another number the first
            convolution of the weights is adapted.
        trainable: `False` freezes all but the classifier; frozen batch normalisations keep their statistics.
        padding: `"tf_same"` pads strided layers as TensorFlow does, which weights trained there need; of weights that
            say so it is done without asking.
        ask: gets a question and says whether to download; by default the user is asked at the terminal.
        options: what the family takes besides, such as `dropout=`.

    Raises:
        UnknownNameError: the zoo has no such network, or there are no such weights for it.
        ArgumentError: a number that cannot be used.
        DownloadError: the weights are not on this machine, and were not downloaded.
        SavedModelError: the weights are broken, or do not fit.

    Example:
        >>> create("resnet18", num_classes=10).get_classifier()
        Linear(in_features=512, out_features=10, bias=True)
    """
    from striate.zoo.weights import load_weights  # which needs the catalogue to tell networks apart

    known = card(name)
    for argument, value in (("num_classes", num_classes), ("in_channels", in_channels)):
        if value is not None and value < (argument == "in_channels"):
            raise ArgumentError(f"{argument}={value}: expected a number of at least {int(argument == 'in_channels')}.")
    one_of(padding, PADDINGS, "padding")
    classes = num_classes or (None if weights is None else _classes_in(known, Path(weights)))
    if classes is not None:
        options["num_classes"] = classes
    if in_channels is not None:
        options["in_channels"] = in_channels
    network = known.build(**options)
    network.config = {"name": name, **options, "num_classes": network.num_classes}
    network.preprocessing = Preprocessing(crop=known.input_shape[1:]).for_channels(in_channels or known.input_shape[0])
    if weights is not None:
        network.weights = load_weights(
            network,
            weights,
            architecture=name,
            adapt_classes=num_classes is not None,
            adapt_channels=in_channels is not None,
            ask=ask,
        )
        if network.weights.record is not None:
            network.preprocessing = network.weights.record.preprocessing
            padding = network.weights.record.padding
    elif padding == "tf_same":
        tf_same_padding(network)
    if padding != "torch":
        network.config["padding"] = padding
    if num_classes == 0:
        network.reset_classifier(0)
    if not trainable:
        network.requires_grad_(False)
        network.get_classifier().requires_grad_(True)
    return network


def _classes_in(known: Card, path: Path) -> int | None:
    """How many classes a file of weights has, where the weights are a file that says so."""
    from striate.zoo.weights import read_weights
    from striate.zoo.weights.reading import READERS

    if path.suffix not in READERS:
        return None
    file = read_weights(path)
    if file.record is not None:
        return file.record.num_classes or None
    with torch.device("meta"):
        classifier = known.build().classifier_name
    weight = file.tensors.get(f"{classifier}.weight")
    return None if weight is None else len(weight)
