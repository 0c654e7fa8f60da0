"""Detection for the commands: `striate train --task detection`, and `evaluate` and `predict` on its runs."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import typer
from torch import nn

from striate import _files, zoo
from striate.cli import annotated, screen
from striate.cli.networks import image_size
from striate.cli.plan import Plan
from striate.cli.reading import Parts, split
from striate.cli.task_runs import Result, SingleStageJob
from striate.data.annotated import BoxDataset, load_detection
from striate.data.augment import WithBoxes
from striate.data.shapes import scenes
from striate.detection import (
    DetectionLoss,
    Detections,
    DetectionSheet,
    Detector,
    detect,
    mean_average_precision,
    truth_of,
)
from striate.errors import ArgumentError, DataError
from striate.track import Run
from striate.zoo import Backbone

_LEAST_SCORE = 0.05
"""Of detections that count in the mean average precision."""
_SMALL_IMAGES = 160
_LARGEST = 320
"""Height and width of images that come in many sizes, if nothing else is asked for."""
_SHAPES = (((4, 8, 16), 64, 1), ((8, 16, 32), 128, 2))
"""Strides, width and depth of the head, for small images and for others."""
_DRAWN = (1500, 300)
"""Scenes of shapes to train on, and to test on."""


@dataclass(frozen=True)
class _Tested(Result):
    """A test with what was found, which the report shows."""

    found: Sequence[Detections] = ()


class Detecting(SingleStageJob[BoxDataset]):
    """What is particular to detection.

    What is trained and validated on is of one size, what is tested on of its own: COCO counts objects as small or large
    in the pixels of the image as it is.
    """

    task = "detection"
    usual_model = "squeezenet1_1"
    usual_rate = 5e-3

    def read(self, plan: Plan) -> Parts[BoxDataset]:
        parts = split(_load(plan.data), plan.test_fraction, plan.seed, plan.validation_fraction)
        annotated.tell(parts, plan.seed)
        size = _size(plan, parts.everything)
        readable = parts.test.resized(size)  # without files that are damaged
        return Parts(
            parts.everything,
            parts.train.resized(size),
            None if parts.validation is None else parts.validation.resized(size),
            parts.test.chosen(np.isin(_ids(parts.test), _ids(readable))),
        )

    def samples(self, parts: Parts[BoxDataset]) -> int:
        everything = parts.everything
        return sum(len(part) for part in (everything, everything.validation, everything.test) if part)

    def build(self, backbone: Backbone, plan: Plan, parts: Parts[BoxDataset]) -> Detector:
        if not (parts.train.targets()[..., 0] >= 0).any():
            raise DataError(f"{parts.everything.name} has no boxes to train on.")
        height, width = parts.train.sizes[0].tolist()
        strides, channels, depth = _SHAPES[min(height, width) > _SMALL_IMAGES]
        return Detector(backbone, len(parts.train.class_names), (height, width), strides, channels, depth)

    def describe(self, module: nn.Module) -> dict[str, Any]:
        assert isinstance(module, Detector)
        return {"backbone": module.backbone.config, **module.config}

    def rebuild(self, description: Mapping[str, Any]) -> Detector:
        own = dict(description)
        return Detector(zoo.create(**own.pop("backbone")), **own)

    def loss(self, module: nn.Module, parts: Parts[BoxDataset]) -> DetectionLoss:
        assert isinstance(module, Detector)
        return DetectionLoss(module.image_size, module.strides)

    def arrays(self, module: nn.Module, data: BoxDataset) -> tuple[Any, Any]:
        return data.images, data.targets()

    def augmentation(self, module: nn.Module, parts: Parts[BoxDataset]) -> WithBoxes:
        return WithBoxes(["flip"], "most objects are as likely the other way round")

    def test(self, module: nn.Module, data: BoxDataset) -> _Tested:
        assert isinstance(module, Detector)
        found = detect(module, data.images, _LEAST_SCORE)
        result = mean_average_precision(found, truth_of(data), data.class_names)
        rows = [
            (name, f"{objects:,}", *(f"{share:.3f}" for share in shares))
            for name, objects, *shares in result.of_classes
        ]
        numbers = {name: value for name, value in result.numbers.items() if not math.isnan(value)}
        told = f"AP {result.ap:.3f}, AP50 {result.ap50:.3f}, AP75 {result.ap75:.3f}"
        return _Tested(numbers, told, (("Class", "Objects", "AP", "AP50", "AR@100"), rows), found)

    def predict(self, run: Run, module: nn.Module, images: Sequence[str], as_json: bool, output: str | None) -> None:
        """Print what is found on image files; `output` gets a picture of each."""
        assert isinstance(module, Detector)
        pixels = [annotated.read_image(path) for path in images]
        found = detect(module, pixels)
        names = run.config["class_names"]
        answers: list[dict[str, Any]] = [
            {"image": path, "objects": _objects(one, names)} for path, one in zip(images, found, strict=True)
        ]
        files = annotated.output_names(output, images) if output else []
        for answer, file, image, one in zip(answers, files, pixels, found, strict=False):
            answer["picture"] = f"{file}.png"
            DetectionSheet([image], [one], names).save(answer["picture"])
        if as_json:
            typer.echo(json.dumps(answers, indent=2, ensure_ascii=False))
            return
        table = screen.table(["Image", "Object"], ["Score", "Left", "Top", "Right", "Bottom"])
        for answer in answers:
            for seen in answer["objects"]:
                edges = (f"{edge:.0f}" for edge in seen["box"])
                table.add_row(answer["image"], seen["class"], f"{seen['score']:.2f}", *edges)
            if not answer["objects"]:
                table.add_row(answer["image"], "(nothing found)", *[""] * 5)
        screen.show(table)

    def report(self, run: Run, module: nn.Module, parts: Parts[BoxDataset], result: Result) -> None:
        from striate.report.detected import DetectionReport  # matplotlib takes a second to import

        assert isinstance(result, _Tested)
        train, test = parts.train, parts.test
        origin = f"Trained on {len(train):,} images of {parts.everything.name}, tested on {len(test):,}."
        page = DetectionReport(run.name, origin, test, result.found, run.history, run.config, run.config["seed"])
        _files.write_text(run.report_file, page.html())


JOB = Detecting()


def _load(source: str) -> BoxDataset:
    """Images with boxes: drawn scenes for `shapes`, else what lies at a path."""
    if source != "shapes":
        return load_detection(source)
    train, test = (scenes(number, seed=seed).detection() for seed, number in enumerate(_DRAWN))
    return replace(train, test=replace(test, name="shapes (test)"))


def _size(plan: Plan, data: BoxDataset) -> tuple[int, int]:
    """What all images are brought to: as asked, as the weights want it, or their own size where all have one."""
    size = image_size(plan)
    if size is not None:
        if len(size) > 2:
            raise ArgumentError(f"--image-size {plan.image_size}: expected a height and a width, such as 96x128.")
        return size[0], size[-1]
    height, width = data.sizes.max(axis=0).tolist()
    if (data.sizes == [height, width]).all() and max(height, width) <= _LARGEST:
        return height, width
    return _LARGEST, _LARGEST


def _ids(data: BoxDataset) -> np.ndarray:
    assert data.image_ids is not None  # images that have none are numbered
    return data.image_ids


def _objects(found: Detections, names: Sequence[str]) -> list[dict[str, Any]]:
    return [
        {"class": names[label], "score": round(float(score), 4), "box": [round(float(x), 2) for x in box]}
        for box, label, score in zip(found.boxes, found.labels, found.scores, strict=True)
    ]
