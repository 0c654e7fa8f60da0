"""Segmentation for the commands: `striate train --task segmentation`, and `evaluate` and `predict` on its runs."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import typer
from PIL import Image
from torch import nn

from striate import _files, zoo
from striate.cli import annotated, screen
from striate.cli.options import sizes
from striate.cli.plan import Plan
from striate.cli.reading import Parts, split
from striate.cli.task_runs import Result, SingleStageJob
from striate.data.annotated import SegmentationDataset, load_segmentation
from striate.data.augment import WithMasks
from striate.data.shapes import scenes
from striate.errors import ArgumentError
from striate.segmentation import (
    MeanIoU,
    PixelAccuracy,
    SegmentationLoss,
    SegmentationSheet,
    Segmenter,
    class_colours,
    segment,
    segmentation_scores,
)
from striate.track import Run
from striate.zoo import Backbone

_SMALL_IMAGES = 128
_WIDTHS = (8, 16)
"""Of the U-Net, for small images and for others."""
_DRAWN = (1500, 300)
"""Scenes of shapes to train on, and to test on."""


@dataclass(frozen=True)
class _Tested(Result):
    """A test with its masks, which the report shows."""

    masks: Sequence[np.ndarray] = ()


class Segmenting(SingleStageJob[SegmentationDataset]):
    """What is particular to segmentation."""

    task = "segmentation"
    usual_model = "resnet18"
    usual_rate = 1e-2
    usual_steps = 1_500

    def read(self, plan: Plan) -> Parts[SegmentationDataset]:
        parts = split(_load(plan), plan.test_fraction, plan.seed, plan.validation_fraction)
        annotated.tell(parts, plan.seed)
        return parts

    def samples(self, parts: Parts[SegmentationDataset]) -> int:
        everything = parts.everything
        return sum(len(part) for part in (everything, everything.validation, everything.test) if part)

    def build(self, backbone: Backbone, plan: Plan, parts: Parts[SegmentationDataset]) -> Segmenter:
        height, width = parts.train.sizes[0].tolist()
        channels = _WIDTHS[min(height, width) >= _SMALL_IMAGES]
        shares = parts.train.class_shares
        return Segmenter(backbone, len(shares), (height, width), width=channels, class_shares=shares)

    def describe(self, module: nn.Module) -> dict[str, Any]:
        assert isinstance(module, Segmenter)
        return {"backbone": module.backbone.config, **module.config}

    def rebuild(self, description: Mapping[str, Any]) -> Segmenter:
        own = dict(description)
        return Segmenter(zoo.create(**own.pop("backbone")), **own)

    def loss(self, module: nn.Module, parts: Parts[SegmentationDataset]) -> SegmentationLoss:
        return SegmentationLoss()

    def metrics(self, module: nn.Module, parts: Parts[SegmentationDataset]) -> list[Any]:
        return [MeanIoU(), PixelAccuracy()]

    def arrays(self, module: nn.Module, data: SegmentationDataset) -> tuple[Any, Any]:
        return data.images, data.masks

    def augmentation(self, module: nn.Module, parts: Parts[SegmentationDataset]) -> WithMasks:
        return WithMasks(["flip"], "most areas are as likely the other way round")

    def test(self, module: nn.Module, data: SegmentationDataset) -> _Tested:
        assert isinstance(module, Segmenter)
        masks = [one.mask for one in segment(module, data.images)]
        scores = segmentation_scores(masks, data.masks, data.class_names)
        columns = ("Class", "Pixels", "IoU", "Dice")
        rows: list[tuple[str, ...]] = [
            (name, f"{pixels:,}", f"{iou:.3f}", f"{dice:.3f}") for name, pixels, iou, dice in scores.of_classes
        ]
        told = f"Mean IoU {scores.mean_iou:.3f}, {scores.pixel_accuracy:.1%} of the pixels right"
        return _Tested(scores.numbers, told, (columns, rows), masks)

    def predict(self, run: Run, module: nn.Module, images: Sequence[str], as_json: bool, output: str | None) -> None:
        """Print which classes are on image files; `output` gets a mask of each, and a picture to look at."""
        assert isinstance(module, Segmenter)
        pixels = [annotated.read_image(path) for path in images]
        masks = [one.mask for one in segment(module, pixels)]
        names = run.config["class_names"]
        answers: list[dict[str, Any]] = [
            {"image": path, "classes": _shares(mask, names)} for path, mask in zip(images, masks, strict=True)
        ]
        files = annotated.output_names(output, images) if output else []
        for answer, file, image, mask in zip(answers, files, pixels, masks, strict=False):
            SegmentationSheet([image], [mask], names).save(f"{file}.png")
            answer["mask"] = f"{file}_mask.png"
            _write_mask(answer["mask"], mask, names)
        if as_json:
            typer.echo(json.dumps(answers, indent=2, ensure_ascii=False))
            return
        table = screen.table(["Image", "Classes", *(["Mask"] if output else [])])
        for answer in answers:
            classes = ", ".join(f"{name} {share:.1%}" for name, share in answer["classes"].items())
            table.add_row(answer["image"], classes, *([answer["mask"]] if output else []))
        screen.show(table)

    def report(self, run: Run, module: nn.Module, parts: Parts[SegmentationDataset], result: Result) -> None:
        from striate.report.segmented import SegmentationReport  # matplotlib takes a second to import

        assert isinstance(result, _Tested)
        train, test = parts.train, parts.test
        origin = f"Trained on {len(train):,} images of {parts.everything.name}, tested on {len(test):,}."
        page = SegmentationReport(run.name, origin, test, result.masks, run.history, run.config, run.config["seed"])
        _files.write_text(run.report_file, page.html())


JOB = Segmenting()


def _load(plan: Plan) -> SegmentationDataset:
    """Images with masks: drawn scenes for `shapes`, else what lies at a path."""
    size = None if plan.image_size is None else sizes(plan.image_size, "--image-size")
    if size is not None and len(size) > 2:
        raise ArgumentError(f"--image-size {plan.image_size}: expected a height and a width, such as 96x128.")
    if plan.data != "shapes":
        return load_segmentation(plan.data, None if size is None else (size[0], size[-1]))
    train, test = (scenes(number, seed=seed).segmentation() for seed, number in enumerate(_DRAWN))
    drawn = replace(train, test=replace(test, name="shapes (test)"))
    return drawn if size is None else drawn.resized((size[0], size[-1]))


def _shares(mask: np.ndarray, names: Sequence[str]) -> dict[str, float]:
    """The part of the image that each class has, the largest first."""
    counts = np.bincount(mask.ravel(), minlength=len(names))
    order = np.argsort(-counts, kind="stable")
    return {names[number]: round(counts[number] / mask.size, 4) for number in order if counts[number]}


def _write_mask(path: str, mask: np.ndarray, names: Sequence[str]) -> None:
    """A PNG whose values are the numbers of the classes, each shown in its colour."""
    picture, content = Image.fromarray(mask), io.BytesIO()
    picture.putpalette(class_colours(names, "#000000").tobytes())
    picture.save(content, "PNG")
    _files.write_bytes(path, content.getvalue())
