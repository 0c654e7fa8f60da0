"""Masks as image files: the values of grey and palette images, or the colours of others, to classes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
from PIL import Image, UnidentifiedImageError

from striate.data.annotated.masks import IGNORED, ReadMask, SegmentationDataset, read_masked
from striate.data.annotated.parts import joined, part_of
from striate.data.dataset import SkippedFile
from striate.data.image import FORMATS
from striate.errors import DataError

_COLOUR = 1 << 24
"""Added to a colour of three bytes, which no value of a grey or palette image is then taken for."""
_MOST_COLOURS = 254
_CLASSES_FILE = "classes.txt"
_MASK_ENDING = "_mask"

Value = TypeVar("Value", int, np.ndarray)


@dataclass(frozen=True)
class MaskClasses:
    """What the values of masks mean.

    Attributes:
        names: the classes.
        codes: the class of each value, and of each colour.
    """

    names: tuple[str, ...]
    codes: Mapping[int, int]

    @classmethod
    def numbered(cls, names: Sequence[str], colours: Sequence[Sequence[int]] = ()) -> MaskClasses:
        """Classes whose values are their numbers, and whose colours may be known."""
        codes = {number: number for number in range(len(names))} | {IGNORED: IGNORED}
        return cls(tuple(names), codes | {colour_code(*colour): number for number, colour in enumerate(colours)})

    def mask(self, codes: np.ndarray) -> np.ndarray:
        """The classes, uint8, of values and colours.

        Raises:
            DataError: a value or colour is of no class; the reason alone.
        """
        values, places = np.unique(codes, return_inverse=True)
        strange = [value for value in values.tolist() if value not in self.codes]
        if strange:
            raise DataError(f"its mask holds {', '.join(map(_text, strange[:3]))}, which is no class")
        return np.array([self.codes[value] for value in values.tolist()], np.uint8)[places].reshape(codes.shape)


def mask_reader(path: Path, classes: MaskClasses) -> ReadMask:
    """What makes the mask of an image from a file."""
    return lambda size: classes.mask(_codes(path))


def named_classes(folder: Path) -> MaskClasses | None:
    """The classes of a folder's `classes.txt`: a name in each line, the first that of the value 0, each with three
    numbers after it where masks are coloured.

    Raises:
        DataError: only some names have a colour, or it is none.
    """
    file = folder / _CLASSES_FILE
    if not file.is_file():
        return None
    lines = [
        line.replace(",", " ").split() for line in file.read_text(encoding="utf-8-sig").splitlines() if line.strip()
    ]
    coloured = [line for line in lines if len(line) > 3 and all(word.isdecimal() for word in line[-3:])]
    if not coloured:
        return MaskClasses.numbered([" ".join(line) for line in lines])
    colours = [[int(word) for word in line[-3:]] for line in coloured]
    if len(coloured) < len(lines) or max(map(max, colours)) > 255:
        raise DataError(f"{file}: expected a name and three numbers from 0 to 255 in each line, or names alone.")
    return MaskClasses.numbered([" ".join(line[:-3]) for line in coloured], colours)


def mask_folders(folder: Path) -> dict[str, tuple[Path, Path]]:
    """Folders of images and of their masks, by part: `images/` and `masks/`, or both for `train/`, `val/`, `test/`."""
    inside = [path for path in sorted(folder.iterdir()) if path.is_dir()]
    deeper = folder / "images"
    below = [path for path in sorted(deeper.iterdir()) if path.is_dir()] if deeper.is_dir() else []
    pairs = {part: (path / "images", path / "masks") for path in inside if (part := part_of(path.name))}
    pairs |= {part: (path, folder / "masks" / path.name) for path in below if (part := part_of(path.name))}
    pairs = pairs or {"train": (deeper, folder / "masks")}
    return {part: pair for part, pair in pairs.items() if pair[0].is_dir() and pair[1].is_dir()}


def read_mask_folders(folder: Path, size: int | tuple[int, int] | None) -> SegmentationDataset:
    """Images and masks of the same name in two folders.

    The classes are those of `classes.txt`. Without it they are the values or colours that occur; where all masks hold
    0 and 255 alone, 255 is the foreground, and else it is ignored.

    Raises:
        DataError: no image can be read together with its mask, or masks have more values than classes can be.
    """
    parts = {part: _paired(images, masks) for part, (images, masks) in mask_folders(folder).items()}
    classes = named_classes(folder) or _found_classes([mask for pairs, _ in parts.values() for _, mask in pairs])
    name = folder.resolve().name
    read = {}
    for part, (pairs, alone) in parts.items():
        masks = [mask_reader(mask, classes) for _, mask in pairs]
        read[part] = read_masked(f"{name} ({part})", [image for image, _ in pairs], masks, classes.names, size, alone)
    return joined(name, read)


def _paired(images: Path, masks: Path) -> tuple[list[tuple[Path, Path]], list[SkippedFile]]:
    """Files of the same name, whatever their endings, and those that have no other."""
    mask_of = {path.stem.removesuffix(_MASK_ENDING): path for path in _files(masks)}
    files = _files(images)
    alone = [SkippedFile(file, f"it has no mask in {masks}") for file in files if file.stem not in mask_of]
    stems = {file.stem for file in files}
    alone += [SkippedFile(mask, f"it has no image in {images}") for stem, mask in mask_of.items() if stem not in stems]
    return [(file, mask_of[file.stem]) for file in files if file.stem in mask_of], alone


def _files(folder: Path) -> list[Path]:
    return [path for path in sorted(folder.iterdir()) if path.is_file() and not path.name.startswith(".")]


def _found_classes(masks: Sequence[Path]) -> MaskClasses:
    """The classes that masks show."""
    found: set[int] = set()
    for path in masks:
        try:
            found |= set(np.unique(_codes(path)).tolist())
        except DataError:
            continue  # reading it will fail again, and give the reason
        if len(found) > _MOST_COLOURS:
            raise DataError(
                f"The masks up to {path} have over {_MOST_COLOURS} values or colours; expected one for each class. "
                f"Give {_CLASSES_FILE} beside the masks, so that those with others are skipped."
            )
    if found == {0, IGNORED}:
        return MaskClasses(("background", "foreground"), {0: 0, IGNORED: 1})
    colours = sorted(value for value in found if value >= _COLOUR)
    if colours:
        return MaskClasses(tuple(map(_text, colours)), {value: number for number, value in enumerate(colours)})
    return MaskClasses.numbered([str(number) for number in range(max(found - {IGNORED}, default=0) + 1)])


def _codes(path: Path) -> np.ndarray:
    """The values of a mask, or its colours; a `DataError` with the reason alone."""
    try:
        with path.open("rb") as file, Image.open(file, formats=FORMATS) as image:
            if image.format == "JPEG":
                raise DataError(f"its mask {path.name} is a JPEG, which changes values; save masks as PNG")
            if image.mode in ("1", "L", "P", "I;16", "I"):
                return np.asarray(image).astype(np.int64)
            red, green, blue = np.moveaxis(np.asarray(image.convert("RGB")).astype(np.int64), -1, 0)
    except DataError:
        raise
    except UnidentifiedImageError as error:
        raise DataError(f"its mask {path.name} is no {', '.join(FORMATS)} image") from error
    except Exception as error:  # on broken files Pillow's decoders raise errors of a dozen types
        reason = error.strerror if isinstance(error, OSError) else None
        raise DataError(f"its mask {path.name} cannot be read: {reason or error or type(error).__name__}") from error
    return colour_code(red, green, blue)


def colour_code(red: Value, green: Value, blue: Value) -> Value:
    """A colour as one number."""
    return _COLOUR + (red << 16) + (green << 8) + blue


def _text(value: int) -> str:
    """A value or colour as people write it.

    >>> _text(7), _text(_COLOUR + 0xFF0080)
    ('7', '#ff0080')
    """
    return str(value) if value < _COLOUR else f"#{value - _COLOUR:06x}"
