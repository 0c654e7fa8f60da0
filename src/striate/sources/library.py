"""Models of the zoo, torchvision and timm: the network without its weights, and the input it was made for."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from striate import zoo
from striate._lazy import require
from striate._registry import suggestion
from striate.errors import ArgumentError, UnknownNameError
from striate.sources.source import Source, only_shape, sample

_CLIP = 16  # frames of a video, as the published networks were trained


def zoo_model(name: str, input_shape: tuple[int, ...] | None, classes: int | None) -> Source:
    """One of `striate.zoo.names()`.

    Raises:
        ArgumentError: the input shape is not that of images, channels first.
    """
    own = zoo.card(name).input_shape
    shape = input_shape or own
    if len(shape) != 3 or (shape[-1] in (1, 3) and shape[0] > shape[-1]):
        given = "x".join(map(str, shape))
        raise ArgumentError(
            f"{name} takes images with the channels first, such as {'x'.join(map(str, own))}; got {given}."
        )
    module, notes = _built(name, lambda: zoo.create(name, num_classes=classes, in_channels=shape[0]))
    if shape[0] != own[0]:
        notes += (f"Built with in_channels={shape[0]}; published with {own[0]}.",)
    return Source(name, "zoo", module, (sample(shape),), notes=notes)


def torchvision_model(name: str, input_shape: tuple[int, ...] | None, classes: int | None) -> Source:
    """One of `torchvision.models.list_models()`.

    Raises:
        MissingExtraError: torchvision is not installed.
        UnknownNameError: it has no such model.
        ArgumentError: it takes no such number of classes, or its input has no usual size.
    """
    models = require("torchvision", extra="zoo").models
    _check("torchvision", name, models.list_models())
    accepted = inspect.signature(models.get_model_builder(name)).parameters
    options: dict[str, Any] = {} if classes is None else {"num_classes": classes}
    if "weights_backbone" in accepted:
        options["weights_backbone"] = None
    if name in ("googlenet", "inception_v3"):
        options["init_weights"] = False  # else they warn, and draw weights for a minute
    module, notes = _built(name, lambda: models.get_model(name, weights=None, **options))
    transforms = next(iter(models.get_model_weights(name))).transforms()
    size = getattr(transforms, "crop_size", getattr(transforms, "resize_size", None))
    shapes: list[tuple[int, ...]] = []
    if hasattr(module, "image_size"):  # a transformer for images of one size; published weights may be for others
        shapes = [(3, module.image_size, module.image_size)]
    elif size is not None:
        shapes = [(3, size[0], size[0])] if len(size) == 1 else [(3, _CLIP, *size)]
    (shape,) = only_shape(f"torchvision:{name}", shapes, input_shape)
    # Detectors take images of several sizes, as a list.
    inputs = ([sample(shape)[0]],) if "Detection" in type(transforms).__name__ else (sample(shape),)
    return Source(f"torchvision:{name}", "torchvision", module, inputs, notes=notes)


def timm_model(name: str, input_shape: tuple[int, ...] | None, classes: int | None) -> Source:
    """One of `timm.list_models()`, with the tag of its weights or without.

    Raises:
        MissingExtraError: timm is not installed.
        UnknownNameError: it has no such model.
        ArgumentError: it takes no such number of classes.
    """
    timm = require("timm", extra="zoo")
    # A name such as hf-hub:... would be looked up on the network.
    _check("timm", name.partition(".")[0], timm.list_models())
    options = {} if classes is None else {"num_classes": classes}
    module, notes = _built(name, lambda: timm.create_model(name, pretrained=False, **options))
    (shape,) = only_shape(f"timm:{name}", [module.pretrained_cfg["input_size"]], input_shape)
    return Source(f"timm:{name}", "timm", module, (sample(shape),), notes=notes)


LIBRARIES = ("torchvision", "timm")


def is_library(name: str) -> bool:
    """Whether a model's name is of the form `torchvision:NAME` or `timm:NAME`."""
    return name.partition(":")[0] in LIBRARIES and ":" in name


def library_module(name: str, classes: int) -> nn.Module:
    """A network of torchvision or timm with fresh weights, to be trained: it gives one score for each class.

    Args:
        name: `torchvision:NAME` or `timm:NAME`.
        classes: how many.

    Raises:
        MissingExtraError: the library is not installed.
        UnknownNameError: it has no such model.
        ArgumentError: the model takes no number of classes, or cannot be built.
    """
    library, _, model = name.partition(":")
    package: Any = require(library, extra="zoo")
    _check(library, model, (package.models if library == "torchvision" else package).list_models())
    try:
        if library == "timm":
            return package.create_model(model, pretrained=False, num_classes=classes)
        options = {"aux_logits": False, "init_weights": True} if model in ("googlenet", "inception_v3") else {}
        return package.models.get_model(model, weights=None, num_classes=classes, **options)
    except Exception as error:
        raise ArgumentError(f"{name} cannot be built: {type(error).__name__}: {error}") from error


def _check(library: str, name: str, known: list[str]) -> None:
    if name not in known:
        raise UnknownNameError(f"{library} has no model {name!r}.{suggestion(name, known)} It has {len(known):,}.")


def _built(name: str, make: Callable[[], nn.Module]) -> tuple[Any, tuple[str, ...]]:
    """A module for inference, on the meta device where that can be done."""
    try:
        try:
            with torch.device("meta"):
                return make().eval(), ()
        except RuntimeError:
            return make().eval(), ("Built with real weights, as the network reads values while it is built.",)
    except Exception as error:
        raise ArgumentError(f"{name} cannot be built: {type(error).__name__}: {error}") from error
