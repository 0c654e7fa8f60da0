"""COCO's instances: a JSON file of images, categories, boxes and outlines, with the images beside it."""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from striate.data.annotated.boxes import BoxDataset, Flag, padded
from striate.data.annotated.files import ImageFiles, size_or_reason
from striate.data.annotated.masks import IGNORED, ReadMask, SegmentationDataset, read_masked
from striate.data.annotated.parts import part_of
from striate.data.annotated.run_lengths import mask_of
from striate.data.dataset import SkippedFile
from striate.errors import DataError

_KEYS = ("images", "annotations", "categories")


def coco_files(folder: Path) -> dict[str, Path]:
    """The instances files in a folder or in its `annotations/`, by the part that their name says; else "train"."""
    places = [folder, folder / "annotations"]
    files = [path for place in places for path in sorted([*place.glob("instances*.json"), *place.glob("*.coco.json")])]
    return {part_of(_part(path)) or "train": path for path in files}


def read_boxes(path: Path) -> BoxDataset:
    """The images of an instances file that are there, with their boxes.

    Boxes are cut at the edges of their image. What cannot be used is skipped: images that are missing, broken or of
    another size than the file says, boxes outside of their image or without an area, categories that are not listed.

    Raises:
        DataError: no instances file of COCO, or no image of it can be used.
    """
    coco = _Coco.read(path)
    found = [
        (file, size, image["id"], [box for place in coco.of_image[image["id"]] if (box := coco.box(place, size))])
        for image, file, size in coco.images()
    ]
    if not found:
        raise coco.nothing()
    files, sizes, ids, boxes = zip(*found, strict=True)
    return BoxDataset(
        path.stem,
        ImageFiles(files, np.array(sizes)),
        padded([np.array([box.edges for box in own]) for own in boxes], (4,), 0, np.float32),
        padded([np.array([box.label for box in own]) for own in boxes], (), -1, np.int64),
        padded([np.array([box.flags for box in own]) for own in boxes], (), 0, np.uint8),
        padded([np.array([box.area for box in own]) for own in boxes], (), 0, np.float32),
        np.array(ids),
        class_names=coco.class_names,
        skipped=tuple(coco.skipped),
    )


def read_masks(path: Path, size: int | tuple[int, int] | None) -> SegmentationDataset:
    """The images of an instances file, with the category of each pixel; 0 is the background.

    Where objects overlap, the smaller one is seen. Crowds are ignored.

    Raises:
        DataError: as `read_boxes`, or over 254 categories.
    """
    coco = _Coco.read(path)
    if len(coco.class_names) >= IGNORED:
        raise DataError(f"{path} has {len(coco.class_names)} categories; a mask has room for {IGNORED - 1}.")
    files: list[Path] = []
    masks: list[ReadMask] = []
    for image, file, _ in coco.images():
        files.append(file)
        masks.append(coco.mask_reader(image["id"]))
    if not files:
        raise coco.nothing()
    return read_masked(path.stem, files, masks, ("background", *coco.class_names), size, coco.skipped)


class _Box(NamedTuple):
    edges: np.ndarray
    label: int
    flags: int
    area: float


@dataclass
class _Coco:
    """An instances file, checked piece by piece as it is used."""

    path: Path
    records: list[Any]
    annotations: list[Any]
    class_names: tuple[str, ...]
    labels: dict[Any, int]
    """The index of each category, by its id."""
    of_image: dict[Any, list[int]]
    """The places of the annotations of each image."""
    skipped: list[SkippedFile]

    @classmethod
    def read(cls, path: Path) -> _Coco:
        try:
            content = json.loads(path.read_bytes())
        except OSError as error:
            raise DataError(f"{path} cannot be read: {error.strerror}.") from error
        except (ValueError, RecursionError) as error:
            raise DataError(f"{path} is no JSON: {error}.") from error
        if not isinstance(content, dict) or not all(isinstance(content.get(key), list) for key in _KEYS):
            raise DataError(f"{path} is no instances file of COCO: expected lists named {', '.join(_KEYS)}.")
        try:
            categories = sorted((category["id"], str(category["name"])) for category in content["categories"])
            labels = {number: index for index, (number, _) in enumerate(categories)}
        except (TypeError, KeyError) as error:
            raise DataError(f"{path} has a category without an id or a name.") from error
        if not categories:
            raise DataError(f"{path} has no categories.")
        of_image: dict[Any, list[int]] = defaultdict(list)
        coco = cls(
            path,
            content["images"],
            content["annotations"],
            tuple(name for _, name in categories),
            labels,
            of_image,
            [],
        )
        known = {_id(image, "id") for image in coco.records}
        for place, annotation in enumerate(coco.annotations):
            if _id(annotation, "image_id") is None or annotation["image_id"] not in known:
                coco._skip(place, "it belongs to no image of the file")
            elif _id(annotation, "category_id") not in coco.labels:
                coco._skip(place, f"there is no category {annotation.get('category_id')!r}")
            else:
                of_image[annotation["image_id"]].append(place)
        return coco

    def images(self) -> Iterator[tuple[dict[str, Any], Path, tuple[int, int]]]:
        """The images that can be used, each with its file and its height and width."""
        places = _image_folders(self.path)
        for image in self.records:
            if _id(image, "id") is None or not isinstance(image.get("file_name"), str):
                self.skipped.append(SkippedFile(self.path, "an image without an id or a file name"))
                continue
            name = image["file_name"]
            file = next((found for place in places if (found := place / name).is_file()), None)
            if file is None:
                self.skipped.append(SkippedFile(Path(name), "there is no such file"))
                continue
            size = size_or_reason(file)
            said = (image.get("height"), image.get("width"))
            if isinstance(size, str):
                self.skipped.append(SkippedFile(file, size))
            elif None not in said and said != size:
                self.skipped.append(
                    SkippedFile(
                        file, f"it is {size[1]} × {size[0]} pixels, {self.path.name} says {said[1]} × {said[0]}"
                    )
                )
            else:
                yield image, file, size

    def box(self, place: int, size: tuple[int, int]) -> _Box | None:
        """The box of an annotation, or nothing where it cannot be used."""
        annotation, (height, width) = self.annotations[place], size
        given = annotation.get("bbox")
        if not isinstance(given, list) or len(given) != 4 or not all(_is_number(value) for value in given):
            self._skip(place, f"its box is {given!r}, not x, y, width and height")
            return None
        x, y, across, down = map(float, given)
        edges = np.array([x, y, x + across, y + down])
        inside = edges.clip(0, [width, height, width, height])
        if across <= 0 or down <= 0:
            self._skip(place, f"its box has no area: {across:g} × {down:g}")
        elif (inside[2:] <= inside[:2]).any():
            self._skip(place, f"its box lies outside of the image of {width} × {height} pixels")
        else:
            flags = Flag.CROWD if annotation.get("iscrowd") else 0
            area = annotation.get("area")
            known = _is_number(area) and 0 <= area <= height * width
            return _Box(
                inside,
                self.labels[annotation["category_id"]],
                int(flags),
                float(area) if known else math.prod(inside[2:] - inside[:2]),
            )
        return None

    def mask_reader(self, image: Any) -> ReadMask:
        """What makes the mask of an image."""

        def read(size: tuple[int, int]) -> np.ndarray:
            objects = []
            for place in self.of_image[image]:
                annotation = self.annotations[place]
                try:
                    seen = mask_of(annotation.get("segmentation"), size)
                except DataError as error:
                    self._skip(place, str(error))
                    continue
                value = IGNORED if annotation.get("iscrowd") else self.labels[annotation["category_id"]] + 1
                objects.append((int(seen.sum()), value, seen))
            mask = np.zeros(size, np.uint8)
            # The largest first, and crowds before all: a smaller object is rarely behind a larger one.
            for _, value, seen in sorted(objects, key=lambda one: (one[1] == IGNORED, one[0]), reverse=True):
                mask[seen] = value
            return mask

        return read

    def nothing(self) -> DataError:
        """The error that no image can be used."""
        first = f", such as {self.skipped[0]}" if self.skipped else ""
        return DataError(f"{self.path} has no image that can be used{first}.")

    def _skip(self, place: int, reason: str) -> None:
        annotation = self.annotations[place]
        number = annotation.get("id", place) if isinstance(annotation, dict) else place
        self.skipped.append(SkippedFile(self.path, f"annotation {number}: {reason}"))


def _image_folders(path: Path) -> list[Path]:
    """Where the images of an instances file may be, such as `train2017/` for `annotations/instances_train2017.json`."""
    part = _part(path)
    return [
        folder / inner
        for folder in (path.parent, path.parent.parent)
        for inner in ("", "images", part, f"images/{part}")
    ]


def _part(path: Path) -> str:
    """What an instances file says beside what it is: "train2017" of `instances_train2017.json`."""
    return path.name.split(".")[0].removeprefix("instances").strip("_")


def _id(entry: Any, name: str) -> int | str | None:
    """The number or text by which an entry calls itself or another, if it has one."""
    value = entry.get(name) if isinstance(entry, dict) else None
    return value if isinstance(value, int | str) else None


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
