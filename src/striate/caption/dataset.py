"""Images with captions: one to many sentences about each image, which no split ever parts."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from striate.data.annotated.files import ImageFiles
from striate.data.annotated.parts import Annotated
from striate.data.decoding import Progress, decode_files
from striate.errors import DataError


@dataclass(frozen=True, eq=False)
class CaptionDataset(Annotated):
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
        >>> import numpy as np
        >>> images = np.zeros((5, 8, 8, 3), np.uint8)
        >>> data = CaptionDataset("dots", images, (("a dot", "one dot"),) * 5, tuple("abcde"))
        >>> data.describe()
        '5 images of 8 × 8, 10 captions, 2 for each'
        >>> train, test = data.split()
        >>> len(train), test.captions
        (4, (('a dot', 'one dot'),))
    """

    captions: tuple[tuple[str, ...], ...]
    ids: tuple[str, ...]

    def __post_init__(self) -> None:
        if len(self.captions) != len(self.images):
            raise DataError(
                f"{self.name}: {len(self.images):,} images but {len(self.captions):,} lists of captions; expected one "
                "each."
            )
        super().__post_init__()
        for own_id, own in zip(self.ids, self.captions, strict=True):
            if isinstance(own, str) or not own or not all(caption.strip() for caption in own):
                raise DataError(f"{self.name}: the image {own_id} has the captions {own!r}; expected one or more.")
        seen: set[str] = set()
        for part in (self, self.validation, self.test):
            for own_id in part.ids if part else ():
                if own_id in seen:
                    raise DataError(f"{self.name}: the image {own_id} is there twice; expected each in one part, once.")
                seen.add(own_id)

    def describe(self) -> str:
        counts = [len(own) for own in self.captions]
        few, many = min(counts), max(counts)
        number = f"{sum(counts):,} caption{'s' * (sum(counts) != 1)}"
        return self._description(number, f"{few:,} for each" if few == many else f"{few:,} to {many:,} for each")

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
        parts = self._with_each_part(lambda part: part.resized((height, width), progress))
        skipped = sum((part.skipped for part in parts.values() if part), self.skipped + decoded.skipped)
        return replace(good, images=decoded.x, skipped=skipped, notes=self.notes + decoded.notes, **parts)

    def _each_image(self) -> dict[str, Any]:
        return {"captions": self.captions, "ids": self.ids}
