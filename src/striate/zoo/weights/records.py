"""What is known of a file of weights: where it comes from, its hash and licence, its classes and its preprocessing.

`published.json` lists the ImageNet weights that torchvision publishes, as its release 0.29 states them, one line each.
Their names end in the first eight digits of their SHA-256, which torchvision itself verifies; where the whole hash is
known from two independent public sources, it stands in the table instead. Weights under licences that forbid commercial
use (SWAG) are left out.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any, Self

from striate._registry import suggestion
from striate.errors import ArgumentError, UnknownNameError
from striate.shapes import one_of
from striate.zoo.padding import PADDINGS
from striate.zoo.preprocessing import IMAGENET_MEAN, IMAGENET_STD, Preprocessing

_SITE = "https://download.pytorch.org/models/"
_LICENCE = "BSD-3-Clause (torchvision's; ImageNet, which they were trained on, has terms of its own)"


@dataclass(frozen=True)
class WeightsRecord:
    """One file of weights.

    Attributes:
        architecture: the network it is for, as `striate.zoo.create` names it.
        preprocessing: what an image goes through first.
        num_classes: of its classifier.
        class_names: of the classes, in the order of the scores; empty where nobody said.
        padding: `"torch"`, or `"tf_same"` for weights trained in TensorFlow (see `striate.zoo.padding`).
        licence: under what terms it may be used.
        source: where it comes from; of published files the URL.
        name: of the published weights, such as `"imagenet1k_v1"`; empty for other files.
        sha256: the published file's hash, or the first digits of it.
        mebibytes: the published file's size.
        top1: published ImageNet accuracy in percent, one crop.
        top5: the same, with the right class among the five highest.
    """

    architecture: str
    preprocessing: Preprocessing
    num_classes: int
    class_names: tuple[str, ...] = field(default=(), repr=False)
    padding: str = "torch"
    licence: str = "unknown"
    source: str = "unknown"
    name: str = ""
    sha256: str = ""
    mebibytes: float | None = None
    top1: float | None = None
    top5: float | None = None

    def __post_init__(self) -> None:
        one_of(self.padding, PADDINGS, "padding")
        if self.class_names and len(self.class_names) != self.num_classes:
            raise ArgumentError(
                f"{len(self.class_names)} class names for {self.num_classes} classes: expected one each, or none."
            )

    @property
    def file(self) -> str:
        """The published file's name."""
        return self.source.rpartition("/")[2]

    def matches(self, path: Path) -> bool:
        """Whether a file is the published one, by its hash."""
        with path.open("rb") as content:
            return hashlib.file_digest(content, "sha256").hexdigest().startswith(self.sha256)

    def to_config(self) -> dict[str, Any]:
        """What a file of weights says about itself, as JSON can hold it."""
        return {
            "architecture": self.architecture,
            "preprocessing": self.preprocessing.to_config(),
            "num_classes": self.num_classes,
            "class_names": list(self.class_names),
            "padding": self.padding,
            "licence": self.licence,
            "source": self.source,
        }

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """What `to_config` described.

        Raises:
            ArgumentError: the description is not one of weights.
        """
        try:
            preprocessing = Preprocessing.from_config(config["preprocessing"])
            return cls(**{**config, "preprocessing": preprocessing, "class_names": tuple(config["class_names"])})
        except (KeyError, TypeError) as error:
            raise ArgumentError(f"{dict(config)} describes no weights: {error}.") from error


@cache
def imagenet_classes() -> tuple[str, ...]:
    """The 1,000 classes of ImageNet, as torchvision names them, in the order of the scores."""
    return tuple((files(__package__) / "imagenet_classes.txt").read_text("utf-8").splitlines())


@cache
def published() -> tuple[WeightsRecord, ...]:
    """The records of all published files."""
    return tuple(_record(**row) for row in json.loads((files(__package__) / "published.json").read_text("utf-8")))


def _record(
    architecture: str,
    file: str,
    mib: float,
    crop: int,
    resize: int,
    interpolation: str,
    mean: float | None = None,
    std: float | None = None,
    **others: Any,
) -> WeightsRecord:
    return WeightsRecord(
        architecture=architecture,
        preprocessing=Preprocessing(
            (crop, crop),
            resize,
            interpolation,
            mean=IMAGENET_MEAN if mean is None else (mean,) * 3,
            std=IMAGENET_STD if std is None else (std,) * 3,
        ),
        num_classes=1000,
        class_names=imagenet_classes(),
        licence=_LICENCE,
        source=_SITE + file,
        mebibytes=mib,
        **others,
    )


def records(architecture: str) -> dict[str, WeightsRecord]:
    """The published weights of a network by name; `"imagenet"`, the first, are those of the highest accuracy.

    Example:
        >>> {name: record.top1 for name, record in records("resnet50").items()}
        {'imagenet': 80.858, 'imagenet1k_v1': 76.13, 'imagenet1k_v2': 80.858}
        >>> records("lenet5")
        {}
    """
    own = {record.name: record for record in published() if record.architecture == architecture}
    return {"imagenet": max(own.values(), key=lambda record: record.top1 or 0), **own} if own else {}


def record(architecture: str, name: str = "imagenet") -> WeightsRecord:
    """The record of a network's published weights.

    Raises:
        UnknownNameError: the network has no published weights, or none of this name.

    Example:
        >>> record("resnet18").source
        'https://download.pytorch.org/models/resnet18-f37072fd.pth'
        >>> record("lenet5")
        Traceback (most recent call last):
        striate.errors.UnknownNameError: lenet5 has no published weights: train it, or give a file of weights ...
    """
    own = records(architecture)
    if not own:
        raise UnknownNameError(
            f"{architecture or 'This network'} has no published weights: train it, or give a file of weights "
            "(.pth, .safetensors, .onnx)."
        )
    if name not in own:
        raise UnknownNameError(
            f"{architecture} has no weights {name!r}.{suggestion(name, own)} There are {', '.join(own)}; "
            "a file of weights ends in .pth, .safetensors or .onnx."
        )
    return own[name]


def record_of_file(path: Path) -> WeightsRecord | None:
    """The record of a published file that lies anywhere under its own name; None where it is another file."""
    return next((record for record in published() if record.file == path.name and record.matches(path)), None)
