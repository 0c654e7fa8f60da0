"""Random changes of batches of images, on the device where they lie: `augmentation(x, y, generator) -> (x, y)`."""

from striate.data.augment.augmentation import Augmentation, batch_generator, register
from striate.data.augment.colour import Blur, ColorJitter, Normalize
from striate.data.augment.geometric import (
    Flip,
    Geometric,
    PadCrop,
    RandomResizedCrop,
    Rotate,
    Scale,
    Translate,
)
from striate.data.augment.mixing import CutMix, Cutout, MixUp
from striate.data.augment.modules import Module
from striate.data.augment.pipeline import Pipeline, get
from striate.data.augment.policies import RandAugment, preset
from striate.data.augment.targets import WithBoxes, WithMasks

__all__ = [
    "Augmentation",
    "Blur",
    "ColorJitter",
    "CutMix",
    "Cutout",
    "Flip",
    "Geometric",
    "MixUp",
    "Module",
    "Normalize",
    "PadCrop",
    "Pipeline",
    "RandAugment",
    "RandomResizedCrop",
    "Rotate",
    "Scale",
    "Translate",
    "WithBoxes",
    "WithMasks",
    "batch_generator",
    "get",
    "preset",
    "register",
]
