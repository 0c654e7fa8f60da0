"""Images with captions: one to many sentences about each image, which no split ever parts."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from striate.data.annotated.files import ImageFiles
from striate.data.dataset import Dataset, SkippedFile
from striate.data.decoding import Progress, decode_files
from striate.data.on_disk import OnDisk
from striate.errors import DataError
from striate.shapes import times


@dataclass(frozen=True, eq=False)
class CaptionDataset:
    """Images with captions.

    Attributes:
        name: what reports call the data.
        images: uint8 (number, height, width, 3), in memory or on disk; or `ImageFiles`, which may be of any size.
        captions: the captions of each image, one or more, as people wrote them.
        ids: what the source calls each image, all different.
        skipped: the files and entries that were left out.
        notes: what was decided while reading, in sentences for the user.
        test, validation: the held-out parts that the source itself names, if it does.

    Raises:
        DataError: no images, another number of captions or ids, an image without a caption, or one in two parts.

    Example:
        >>> images = np.zeros((5, 8, 8, 3), np.uint8)
        >>> data = CaptionDataset("dots", images, (("a dot", "one dot"),) * 5, tuple("abcde"))
        >>> data.describe()
        '5 images of 8 × 8, 10 captions, 2 for each'
        >>> train, test = data.split()
        >>> len(train), test.captions
        (4, (('a dot', 'one dot'),))
    """

    name: str
    images: np.ndarray | OnDisk | ImageFiles
    captions: tuple[tuple[str, ...], ...]
    ids: tuple[str, ...]
    skipped: tuple[SkippedFile, ...] = field(default=(), kw_only=True)
    notes: tuple[str, ...] = field(default=(), kw_only=True)
    test: CaptionDataset | None = field(default=None, kw_only=True)
    validation: CaptionDataset | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        if not len(self.images):
            raise DataError(f"{self.name} holds no images.")
        for which, values in (("lists of captions", self.captions), ("ids", self.ids)):
            if len(values) != len(self.images):
                raise DataError(
                    f"{self.name}: {len(self.images):,} images but {len(values):,} {which}; expected one each."
                )
        for own_id, own in zip(self.ids, self.captions, strict=True):
            if isinstance(own, str) or not own or not all(caption.strip() for caption in own):
                raise DataError(f"{self.name}: the image {own_id} has the captions {own!r}; expected one or more.")
        seen: set[str] = set()
        for part in (self, self.validation, self.test):
            for own_id in part.ids if part else ():
                if own_id in seen:
                    raise DataError(f"{self.name}: the image {own_id} is there twice; expected each in one part, once.")
                seen.add(own_id)

    def __len__(self) -> int:
        return len(self.images)

    @property
    def sizes(self) -> np.ndarray:
        """Height and width of each image, int64 (number, 2)."""
        if isinstance(self.images, ImageFiles):
            return self.images.sizes
        return np.tile(np.array(self.images.shape[1:3]), (len(self), 1))

    def describe(self) -> str:
        """One line for people."""
        held_out = f" + {len(self.validation):,} validation" if self.validation else ""
        held_out += f" + {len(self.test):,} test" if self.test else ""
        sizes = np.unique(self.sizes, axis=0)
        size = f"of {times(sizes[0].tolist())}" if len(sizes) == 1 else f"of {len(sizes):,} sizes"
        counts = [len(own) for own in self.captions]
        few, many = min(counts), max(counts)
        number = f"{sum(counts):,} caption{'s' * (sum(counts) != 1)}"
        parts = [f"{len(self):,}{held_out} images {size}", number]
        parts.append(f"{few:,} for each" if few == many else f"{few:,} to {many:,} for each")
        if self.skipped:
            parts.append(f"{len(self.skipped):,} skipped")
        return ", ".join(parts)

    def split(self, test_fraction: float = 0.2, seed: int = 0) -> tuple[CaptionDataset, CaptionDataset]:
        """A part to train on and one to test on: the source's own, or else a random one, as the seed decides.

        All captions of an image are in its part.

        Raises:
            ArgumentError: `test_fraction` is not between 0 and 1.
            DataError: too few images for two parts.
        """
        if self.test:
            return replace(self, skipped=(), test=None, validation=None), self.test
        numbers = Dataset(self.name, np.arange(len(self)), np.zeros(len(self), np.float32))
        train, test = numbers.split(test_fraction, seed)
        return self.chosen(train.x), self.chosen(test.x)

    def chosen(self, indices: Any) -> CaptionDataset:
        """The images at these indices, or where a mask is true, without held-out parts and skipped files."""
        places = np.arange(len(self))[indices]
        captions = tuple(self.captions[place] for place in places)
        ids = tuple(self.ids[place] for place in places)
        images = self.images[places]
        return replace(self, images=images, captions=captions, ids=ids, skipped=(), test=None, validation=None)

    def resized(self, size: int | tuple[int, int] | None = None, progress: Progress | None = None) -> CaptionDataset:
        """The data with image files read, all in one size: scaled until they cover it, and their centre cut out.

        Images that are arrays already stay as they are. Large sets go to the cache on disk, see `striate.data`.

        Args:
            size: height and width, or one number for both; by default as `striate.data.load_folder` chooses, for the
                held-out parts as for this one.
            progress: called with how many images are done, and of how many.

        Returns:
            The same data; damaged files are in its `skipped`.

        Raises:
            DataError: no file can be read.
        """
        if not isinstance(self.images, ImageFiles):
            return self
        decoded = decode_files(list(self.images.paths), image_size=size, channels=3, progress=progress)
        if not decoded.readable.any():
            raise DataError(f"{self.name} holds no image that can be read, such as {decoded.skipped[0]}.")
        good = self.chosen(decoded.readable)
        height, width = decoded.x.shape[1:3]
        parts = {
            which: (part := getattr(self, which)) and part.resized((height, width), progress)
            for which in ("test", "validation")
        }
        skipped = sum((part.skipped for part in parts.values() if part), self.skipped + decoded.skipped)
        return replace(good, images=decoded.x, skipped=skipped, notes=self.notes + decoded.notes, **parts)
