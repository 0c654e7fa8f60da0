"""Pascal VOC's folders: Annotations/*.xml or SegmentationClass/*.png beside JPEGImages/, and lists in ImageSets/."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from xml.etree import ElementTree

import numpy as np

from striate.data.annotated.boxes import BoxDataset, Flag, padded
from striate.data.annotated.files import ImageFiles, size_or_reason
from striate.data.annotated.mask_files import MaskClasses, colour_code, mask_reader, named_classes
from striate.data.annotated.masks import IGNORED, SegmentationDataset, read_masked
from striate.data.annotated.parts import joined
from striate.data.dataset import SkippedFile
from striate.errors import DataError

CLASSES = tuple(
    "aeroplane bicycle bird boat bottle bus car cat chair cow diningtable dog horse motorbike person pottedplant sheep "
    "sofa train tvmonitor".split()
)
"""The classes of Pascal VOC itself; 0 is the background in its masks, 1 an aeroplane."""

_NO_IMAGE = "there is no image of this name"
_LISTS = {"train": ("train.txt", "trainval.txt"), "validation": ("val.txt",), "test": ("test.txt",)}


def voc_folder(folder: Path, kind: str) -> Path | None:
    """The folder that has JPEGImages and "Annotations" or "SegmentationClass": this one, or the only one below it."""
    inside = [folder, *sorted(folder.glob("*")), *sorted(folder.glob("VOCdevkit/*"))]
    found = [path for path in inside if (path / "JPEGImages").is_dir() and (path / kind).is_dir()]
    return found[0] if found and (found[0] == folder or len(found) == 1) else None


def read_boxes(folder: Path) -> BoxDataset:
    """The images that an XML file is there for, with their boxes; the classes are the names that occur, in order.

    Pascal VOC counts pixels from 1, and the last one belongs to the box: 1, 1, 3, 3 there is 0, 0, 3, 3 here. Boxes are
    cut at the edges of their image. Where `ImageSets/Main` lists train, val or test, these are the parts.

    Raises:
        DataError: no image can be used.
    """
    images, name = _images(folder), folder.resolve().name
    parts = {}
    for part, stems in _stems(folder, "Annotations", "Main").items():
        parts[part] = read = _Part()
        for stem in stems:
            read.add(folder / "Annotations" / f"{stem}.xml", images.get(stem))
    classes = tuple(sorted({name for read in parts.values() for names in read.names for name in names}))
    return joined(name, {part: read.data(f"{name} ({part})", classes) for part, read in parts.items()})


def read_masks(folder: Path, size: int | tuple[int, int] | None) -> SegmentationDataset:
    """The images that a mask is there for; the classes are those of `classes.txt`, or else of Pascal VOC.

    Where `ImageSets/Segmentation` lists train, val or test, these are the parts.

    Raises:
        DataError: no image can be read together with its mask.
    """
    classes = named_classes(folder) or _voc_classes()
    images, name = _images(folder), folder.resolve().name
    read = {}
    for part, stems in _stems(folder, "SegmentationClass", "Segmentation").items():
        masks = {stem: folder / "SegmentationClass" / f"{stem}.png" for stem in stems}
        missing = [SkippedFile(mask, _NO_IMAGE) for stem, mask in masks.items() if stem not in images]
        files = [images[stem] for stem in stems if stem in images]
        readers = [mask_reader(masks[stem], classes) for stem in stems if stem in images]
        read[part] = read_masked(f"{name} ({part})", files, readers, classes.names, size, missing)
    return joined(name, read)


def palette(number: int) -> tuple[int, int, int]:
    """The colour of a class in Pascal VOC's masks: the bits of its number, dealt to red, green and blue in turn.

    >>> palette(0), palette(1), palette(15), palette(255)
    ((0, 0, 0), (128, 0, 0), (192, 128, 128), (224, 224, 192))
    """
    red, green, blue = (
        sum((number >> (3 * place + channel) & 1) << (7 - place) for place in range(8)) for channel in range(3)
    )
    return red, green, blue


def _voc_classes() -> MaskClasses:
    names = ("background", *CLASSES)
    classes = MaskClasses.numbered(names, [palette(number) for number in range(len(names))])
    return MaskClasses(names, {**classes.codes, colour_code(*palette(IGNORED)): IGNORED})


@dataclass
class _Part:
    """What the XML files of one part say."""

    files: list[Path] = field(default_factory=list)
    sizes: list[tuple[int, int]] = field(default_factory=list)
    names: list[list[str]] = field(default_factory=list)
    boxes: list[np.ndarray] = field(default_factory=list)
    flags: list[np.ndarray] = field(default_factory=list)
    skipped: list[SkippedFile] = field(default_factory=list)

    def data(self, name: str, classes: tuple[str, ...]) -> BoxDataset:
        """The data set of these images."""
        if not self.files:
            first = f", such as {self.skipped[0]}" if self.skipped else ""
            raise DataError(f"{name} has no image that can be used{first}.")
        labels = [np.array([classes.index(each) for each in names]) for names in self.names]
        return BoxDataset(
            name,
            ImageFiles(self.files, np.array(self.sizes)),
            padded(self.boxes, (4,), 0, np.float32),
            padded(labels, (), -1, np.int64),
            padded(self.flags, (), 0, np.uint8),
            image_ids=np.array([file.stem for file in self.files]),
            class_names=classes,
            skipped=tuple(self.skipped),
        )

    def add(self, xml: Path, file: Path | None) -> None:
        """Read one XML file, whose image this is."""
        if file is None:
            self.skipped.append(SkippedFile(xml, _NO_IMAGE))
            return
        size = size_or_reason(file)
        if isinstance(size, str):
            self.skipped.append(SkippedFile(file, size))
            return
        try:
            root = ElementTree.parse(xml).getroot()
        except (OSError, ElementTree.ParseError, ValueError, LookupError) as error:
            self.skipped.append(SkippedFile(xml, f"it is no XML: {error}"))
            return
        said = (_value(root, "size/height"), _value(root, "size/width"))
        if all(value > 0 for value in said) and said != size:
            reason = f"it says {said[1]:g} × {said[0]:g} pixels, the image is {size[1]} × {size[0]}"
            self.skipped.append(SkippedFile(xml, reason))
            return
        objects = [
            found for place, one in enumerate(root.iter("object"), 1) if (found := self._object(xml, place, one, size))
        ]
        self.files.append(file)
        self.sizes.append(size)
        self.names.append([name for name, _, _ in objects])
        self.boxes.append(np.array([edges for _, edges, _ in objects]))
        self.flags.append(np.array([flags for _, _, flags in objects]))

    def _object(
        self, xml: Path, place: int, one: ElementTree.Element, size: tuple[int, int]
    ) -> tuple[str, np.ndarray, int] | None:
        """The name, edges and flags of an object, or nothing where it cannot be used."""
        name = (one.findtext("name") or "").strip()
        first_x, first_y, last_x, last_y = (_value(one, f"bndbox/{side}") for side in ("xmin", "ymin", "xmax", "ymax"))
        edges = np.array([first_x - 1, first_y - 1, last_x, last_y])
        inside = edges.clip(0, [size[1], size[0], size[1], size[0]])
        reason = None
        if not name:
            reason = "it has no name"
        elif not np.isfinite(edges).all():
            reason = "its box lacks a number"
        elif (edges[2:] <= edges[:2]).any():
            reason = f"its box has no area: {first_x:g}, {first_y:g} to {last_x:g}, {last_y:g}"
        elif (inside[2:] <= inside[:2]).any():
            reason = f"its box lies outside of the image of {size[1]} × {size[0]} pixels"
        if reason:
            self.skipped.append(SkippedFile(xml, f"object {place}: {reason}"))
            return None
        flags = Flag.DIFFICULT * (_value(one, "difficult") == 1) | Flag.TRUNCATED * (_value(one, "truncated") == 1)
        return name, inside, int(flags)


def _stems(folder: Path, kind: str, lists: str) -> dict[str, list[str]]:
    """The names of the annotated images by part; all are for training where no list says otherwise."""
    there = {path.stem for path in (folder / kind).iterdir() if not path.name.startswith(".")}
    parts = {}
    for part, names in _LISTS.items():
        listed = next((path for name in names if (path := folder / "ImageSets" / lists / name).is_file()), None)
        words = [line.split() for line in listed.read_text(encoding="utf-8").splitlines()] if listed else []
        stems = [line[0] for line in words if line and line[0] in there]
        if stems:
            parts[part] = stems
    return parts or {"train": sorted(there)}


def _images(folder: Path) -> dict[str, Path]:
    """The images by their names, whatever their endings."""
    return {path.stem: path for path in sorted((folder / "JPEGImages").iterdir()) if not path.name.startswith(".")}


def _value(element: ElementTree.Element, path: str) -> float:
    """The number at a path; NaN where there is none."""
    try:
        value = float(element.findtext(path) or "")
    except ValueError:
        return math.nan
    return value
