"""Boxes and masks from wherever they are: the path alone says in which format."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from striate._registry import suggestion
from striate.data.annotated import coco, mask_files, voc
from striate.data.annotated.boxes import BoxDataset
from striate.data.annotated.masks import SegmentationDataset
from striate.data.annotated.parts import T, joined, part_of
from striate.errors import DataError

if TYPE_CHECKING:
    from striate.data.shapes import Scenes

_EMBEDDED = "shapes"
_COCO = "COCO's instances (a JSON file, or a folder with instances*.json, *.coco.json or annotations/)"


def load_detection(source: str | Path) -> BoxDataset:
    """Read images with boxes; the images themselves are opened when they are used, as by `resized`.

    Args:
        source: one of

            - "shapes": 2,000 drawn scenes of 64 × 64, and 500 to test on (see `striate.data.shapes.scenes`);
            - a JSON file of COCO's instances, with the images beside it, in `images/`, or in a folder of the file's
              part such as `train2017/`; or a folder with such files, of which train, val and test become parts;
            - a folder of Pascal VOC, or one above it: `Annotations/*.xml` and `JPEGImages/`, and the parts as
              `ImageSets/Main/train.txt` and so on;
            - a folder with either of these in each of `train/`, `val/` (or `valid/`) and `test/`.

    Returns:
        The data; images and boxes that cannot be used are in its `skipped`, with the reasons.

    Raises:
        DataError: nothing at that path, or nothing that can be used.

    Example:
        >>> load_detection("shapes").describe()
        '2,000 + 500 test images of 64 × 64, 3,969 boxes of 6 classes, 1 to 3 on an image'
    """
    if source == _EMBEDDED:
        train, test = (part.detection() for part in _embedded_scenes())
        return replace(train, test=replace(test, name=f"{_EMBEDDED} (test)"))

    def read(path: Path) -> BoxDataset | None:
        if path.is_file():
            return coco.read_boxes(path) if path.suffix == ".json" else None
        if files := coco.coco_files(path):
            return joined(path.resolve().name, {part: coco.read_boxes(file) for part, file in files.items()})
        folder = voc.voc_folder(path, "Annotations")
        return voc.read_boxes(folder) if folder else None

    return _load(source, read, f"{_COCO}, or Pascal VOC's Annotations/ and JPEGImages/")


def load_segmentation(source: str | Path, size: int | tuple[int, int] | None = None) -> SegmentationDataset:
    """Read images with masks, into memory, all in one size.

    Args:
        source: one of

            - "shapes", as for `load_detection`;
            - COCO's instances, as for `load_detection`: 0 is the background, and a smaller object lies on a larger one;
            - a folder of Pascal VOC, or one above it: `SegmentationClass/*.png` and `JPEGImages/`, and the parts as
              `ImageSets/Segmentation/train.txt` and so on;
            - a folder with `images/` and `masks/`, files of the same name in both, or with both in each of `train/`,
              `val/` and `test/`. Masks are grey or palette images, or have a colour for each class; `classes.txt` names
              the classes, one in a line, with three numbers after each where masks have colours.
        size: height and width of all images, or one number for both: images are scaled as a whole and centred, and what
            lies around is ignored. By default their own size where all have the same of up to 256 pixels a side, else a
            square of the median shorter side, at most 256.

    Returns:
        The data; images that cannot be used are in its `skipped`, with the reasons.

    Raises:
        DataError: nothing at that path, or nothing that can be used.
    """

    if source == _EMBEDDED:
        train, test = (part.segmentation() for part in _embedded_scenes())
        whole = replace(train, test=replace(test, name=f"{_EMBEDDED} (test)"))
        return whole if size is None else whole.resized(size)

    def read(path: Path) -> SegmentationDataset | None:
        if path.is_file():
            return coco.read_masks(path, size) if path.suffix == ".json" else None
        if mask_files.mask_folders(path):
            return mask_files.read_mask_folders(path, size)
        if files := coco.coco_files(path):
            return joined(path.resolve().name, {part: coco.read_masks(file, size) for part, file in files.items()})
        folder = voc.voc_folder(path, "SegmentationClass")
        return voc.read_masks(folder, size) if folder else None

    return _load(source, read, f"images/ and masks/, {_COCO}, or Pascal VOC's SegmentationClass/ and JPEGImages/")


def _embedded_scenes() -> tuple[Scenes, Scenes]:
    from striate.data.shapes import scenes  # which makes the data sets of this package

    return scenes(2000), scenes(500, seed=1)


def _load(source: str | Path, read: Callable[[Path], T | None], expected: str) -> T:
    path = Path(source).expanduser()
    if not path.exists():
        near = [entry.name for entry in path.parent.iterdir()] if path.parent.is_dir() else []
        raise DataError(f"There is no file or folder {str(path)!r}.{suggestion(path.name, [_EMBEDDED, *near])}")
    try:
        data = read(path)
        if data is None and path.is_dir():
            folders = {
                part: inside for inside in sorted(path.iterdir()) if inside.is_dir() and (part := part_of(inside.name))
            }
            parts = {part: found for part, folder in folders.items() if (found := read(folder)) is not None}
            data = joined(path.resolve().name, parts) if parts else None
    except OSError as error:
        raise DataError(f"{error.filename or path} cannot be read: {error.strerror or error}") from error
    if data is None:
        raise DataError(f"{path} holds no boxes or masks that are known: expected {expected}.")
    return data
