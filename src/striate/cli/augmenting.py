"""What is done to images at random while a network trains, and how they are shown again when it is tested."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from striate.data import augment
from striate.data.augment import CutMix, Flip, MixUp, PadCrop, Pipeline, RandomResizedCrop, Translate
from striate.errors import ArgumentError
from striate.train.augmented_prediction import Change, horizontal_flip, shifts


def choose_augmentation(asked: str, task: str, shape: Sequence[int], epochs: int | None) -> Pipeline:
    """What was asked for by name, or the preset for samples of this kind; it knows its reason.

    Args:
        asked: "auto", "none", or names with commas between them.
        task: what is learned.
        shape: of one sample.
        epochs: how many there will be, if that is known.

    Raises:
        UnknownNameError: no augmentation has a name that was given.
        ArgumentError: the samples are no images.

    Example:
        >>> print(choose_augmentation("flip, mixup", "multiclass", (28, 28, 1), epochs=10))
        flips horizontally (50%), mixup (100%)
    """
    if asked == "auto":
        return augment.preset(task, shape, epochs)
    if asked == "none":
        return Pipeline([], "as asked")
    if len(shape) != 3:
        raise ArgumentError(f"--augment {asked} is for images, which these samples are not; leave it out.")
    # Padding in pixels goes by the size of the image; all else is in parts of it.
    padding = max(min(shape[:2]) // 8, 1)
    names = [name.strip() for name in asked.split(",")]
    for name in set(names) & {"normalize", "pipeline"}:
        raise ArgumentError(f"--augment {name}: not by name; in Python, see striate.data.augment.{name.title()}.")
    return Pipeline([PadCrop(padding) if name == "pad_crop" else augment.get(name) for name in names], "as asked")


def mixes_labels(augmentation: Pipeline) -> bool:
    """Whether images come to belong to several classes in shares."""
    return any(isinstance(step, MixUp | CutMix) for step in augmentation.steps)


def changes_when_tested(config: Mapping[str, Any]) -> list[Change]:
    """How each image is shown again when a run predicts: nothing, unless the run was asked to.

    A network should know the changes: it is shown mirror images if it was trained on them, and shifts by a pixel if it
    was trained on images that were moved.

    Args:
        config: the configuration of the run.

    Raises:
        ArgumentError: the training images are neither mirrored nor moved.
    """
    if not config.get("test_time_augmentation"):
        return []
    epochs = None if config["epochs"] == "auto" else config["epochs"]
    chosen = choose_augmentation(config["augment"], config["task"], config["input_shape"], epochs)
    mirrored = any(isinstance(step, Flip) and step.horizontal for step in chosen.steps)
    moved = any(isinstance(step, PadCrop | Translate | RandomResizedCrop) for step in chosen.steps)
    if not mirrored and not moved:
        raise ArgumentError(
            f"--test-time-augmentation: the training images are neither mirrored nor moved (augmentation: {chosen}), "
            "so there is nothing else to show the network. Name what fits your images: --augment flip,pad_crop."
        )
    return [horizontal_flip] * mirrored + (shifts(1) if moved else [])
