"""What an image goes through before a network sees it: resized, cropped at its centre, normalised channel by channel.

Published weights work only with the preprocessing they were trained with, so each file's record names its own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from striate.data.image import decode, displayed_size, pixels
from striate.errors import ArgumentError, DataError
from striate.shapes import one_of, times

INTERPOLATIONS = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class Preprocessing:
    """From an image to the numbers a network was trained on, as torchvision does it.

    Calling it gives N × C × H × W float32. A training that keeps its images as bytes, N × H × W × C, fits them to
    `size` and normalises with `scale` and `offset`, as `striate.layers.Rescaling` takes them.

    Args:
        crop: (height, width) in pixels of the part at the centre that the network sees; where the image is smaller,
            black surrounds it.
        resize: to how many pixels the shorter side is brought first; None leaves the size.
        interpolation: `"bilinear"` or `"bicubic"`, both averaging over all pixels where the image shrinks.
        mean: of each channel, of values from 0 to 1.
        std: the standard deviation of each channel, of values from 0 to 1.

    Raises:
        ArgumentError: a value that cannot be used.

    Example:
        >>> preprocessing = Preprocessing(crop=(4, 4), resize=6)
        >>> preprocessing(np.zeros((12, 10, 3), np.uint8)).shape
        torch.Size([1, 3, 4, 4])
        >>> print(preprocessing.describe())
        shorter side to 6 pixels (bilinear), the 4 × 4 at the centre, (x/255 − mean)/std with mean 0.485, 0.456, 0.406
        and std 0.229, 0.224, 0.225
    """

    crop: tuple[int, int] = (224, 224)
    resize: int | None = 256
    interpolation: str = "bilinear"
    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD

    def __post_init__(self) -> None:
        one_of(self.interpolation, tuple(INTERPOLATIONS), "interpolation")
        if len(self.crop) != 2 or min(self.crop) < 1 or (self.resize is not None and self.resize < 1):
            raise ArgumentError(f"crop={self.crop}, resize={self.resize}: expected (height, width) and pixels or None.")
        if not self.mean or len(self.mean) != len(self.std) or min(self.std) <= 0:
            raise ArgumentError(
                f"mean={self.mean}, std={self.std}: expected one number a channel in both, the latter above 0."
            )

    @property
    def channels(self) -> int:
        """How many channels the network takes."""
        return len(self.mean)

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of what the network sees."""
        return self.crop

    @property
    def scale(self) -> tuple[float, ...]:
        """By what each channel's byte values are multiplied; `offset` is then added."""
        return tuple(1 / (255 * std) for std in self.std)

    @property
    def offset(self) -> tuple[float, ...]:
        """What is added to each channel after `scale`."""
        return tuple(-mean / std for mean, std in zip(self.mean, self.std, strict=True))

    def for_channels(self, channels: int) -> Preprocessing:
        """The same for images of another number of channels, each with the average mean and standard deviation."""
        if channels == self.channels:
            return self
        return replace(
            self,
            mean=(sum(self.mean) / self.channels,) * channels,
            std=(sum(self.std) / self.channels,) * channels,
        )

    def describe(self) -> str:
        """The steps in words."""
        steps = [] if self.resize is None else [f"shorter side to {self.resize} pixels ({self.interpolation})"]
        steps.append(f"the {times(self.crop)} at the centre")
        mean, std = (", ".join(f"{value:g}" for value in values) for values in (self.mean, self.std))
        return ", ".join([*steps, f"(x/255 − mean)/std with mean {mean} and std {std}"])

    def to_config(self) -> dict[str, Any]:
        """The arguments, as JSON can hold them."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """What `to_config` described.

        Raises:
            ArgumentError: the description is not one of a preprocessing.
        """
        arguments: dict[str, Any] = {n: tuple(v) if isinstance(v, list) else v for n, v in config.items()}
        try:
            return cls(**arguments)
        except TypeError as error:
            raise ArgumentError(f"{dict(config)} describes no preprocessing: {error}.") from error

    def __call__(self, images: Any) -> Tensor:
        """Images to what the network takes.

        Args:
            images: a PIL image, a path, a uint8 array of H × W × C (or H × W, for grey), or a batch: a list of those,
                or an array of N × H × W × C. Grey images become colours where the network takes colours, and the
                other way round.

        Returns:
            N × C × H × W float32, N being 1 for a single image.

        Raises:
            DataError: a file that is no image, or an array that holds none.
        """
        if isinstance(images, np.ndarray | Tensor):
            images = np.asarray(images)
            batch: Sequence[Any] = images if images.ndim == 4 else [images]
        else:
            batch = images if isinstance(images, list | tuple) else [images]
        if not len(batch):
            raise DataError("There are no images in the batch.")
        seen = torch.from_numpy(np.stack([self._cropped(self._resized(self._bytes(image))) for image in batch]))
        mean, std = (torch.tensor(values).view(1, -1, 1, 1) for values in (self.mean, self.std))
        return (seen.permute(0, 3, 1, 2).float() / 255 - mean) / std

    def _bytes(self, image: Any) -> np.ndarray:
        """One image as H × W × C bytes, with the channels that the network takes."""
        if isinstance(image, str | Path):
            if not Path(image).is_file():
                raise DataError(f"There is no file {str(image)!r}.")
            path = Path(image)
            try:
                array = decode(path, displayed_size(path), 1 if self.channels == 1 else 3)
            except DataError as error:
                raise DataError(f"{path}: {error}") from error
        elif isinstance(image, Image.Image):
            upright = ImageOps.exif_transpose(image)
            array = pixels(upright, (upright.height, upright.width), 1 if self.channels == 1 else 3)
        else:
            array = np.asarray(image)
        array = array[..., None] if array.ndim == 2 else array
        if array.dtype != np.uint8 or array.ndim != 3 or not array.size:
            raise DataError(
                f"Received an array of {array.dtype} with shape {array.shape}: expected bytes (uint8), H × W × C."
            )
        if array.shape[2] == 1 and self.channels == 3:
            return np.repeat(array, 3, axis=2)
        if array.shape[2] == 3 and self.channels == 1:
            return np.asarray(Image.fromarray(array).convert("L"))[..., None]
        if array.shape[2] != self.channels:
            raise DataError(f"The image has {array.shape[2]} channels; the network takes {self.channels}.")
        return array

    def _resized(self, array: np.ndarray) -> np.ndarray:
        height, width = array.shape[:2]
        shorter = min(height, width)
        if self.resize is None or self.resize == shorter:
            return array
        size = [max(1, self.resize * side // shorter) for side in (width, height)]
        bands = [Image.fromarray(np.ascontiguousarray(band)) for band in np.moveaxis(array, 2, 0)]
        return np.stack([np.asarray(band.resize(size, INTERPOLATIONS[self.interpolation])) for band in bands], axis=2)

    def _cropped(self, array: np.ndarray) -> np.ndarray:
        missing = [max(0, crop - side) for crop, side in zip(self.crop, array.shape, strict=False)]
        # Of an odd number of pixels, black gets one more at the end; halves are rounded to even: torchvision's way.
        array = np.pad(array, [*((total // 2, (total + 1) // 2) for total in missing), (0, 0)])
        top, left = (round((side - crop) / 2) for side, crop in zip(array.shape, self.crop, strict=False))
        return array[top : top + self.crop[0], left : left + self.crop[1]]
