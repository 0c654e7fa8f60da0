"""What `striate evaluate` and `striate predict` do with the run of a detector."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import typer
from safetensors import SafetensorError
from safetensors.torch import load as bytes_to_tensors

from striate import zoo
from striate.cli import screen
from striate.cli.detecting import LEAST_SCORE, PLAIN, read, read_parts
from striate.cli.plan import plan_of
from striate.data.image import decode, displayed_size
from striate.detection import Detections, DetectionSheet, Detector, detect, mean_average_precision, truth_of
from striate.errors import DataError, SavedModelError, WeightKeysError
from striate.track import Run
from striate.zoo.plain import Plain


def open_detector(run: Run) -> Detector:
    """The trained detector of a run.

    Raises:
        SavedModelError: the run has no weights, or they do not fit.
    """
    config = run.config
    if not run.model_file.is_file():
        raise SavedModelError(f"The run {run.name!r} has no model: its training was stopped before one was saved.")
    own = {name: value for name, value in config["backbone"].items() if name not in ("name", "num_classes")}
    plain = config["model"] == PLAIN
    backbone = Plain() if plain else zoo.create(config["backbone"]["name"], num_classes=0, **own)
    detector = Detector(backbone, len(config["class_names"]), **config["detector"])
    try:
        detector.load_state_dict(bytes_to_tensors(run.model_file.read_bytes()))
    except (RuntimeError, SafetensorError) as error:
        raise WeightKeysError(f"{run.model_file} is damaged, or does not fit what config.json says.") from error
    return detector.eval()


def evaluate(run: Run, source: str | None) -> None:
    """Test a run's detector, on its own test part or on other data, and print COCO's numbers, class by class.

    Raises:
        DataError: the data has other classes.
    """
    detector, config = open_detector(run), run.config
    if source is None:
        test = read_parts(plan_of(config, run.config_file, {})).test
    else:
        everything = read(source, config["seed"])
        test = everything.test or everything
    if list(test.class_names) != config["class_names"]:
        raise DataError(
            f"{test.name} has the classes {', '.join(test.class_names)}; the detector knows "
            f"{', '.join(config['class_names'])}."
        )
    result = mean_average_precision(detect(detector, test.images, LEAST_SCORE), truth_of(test), test.class_names)
    table = screen.table(["Class"], ["Objects", "AP", "AP50", "AR@100"])
    for name, objects, *shares in result.of_classes:
        table.add_row(name, f"{objects:,}", *(f"{share:.3f}" for share in shares))
    screen.show(table)
    print(f"\n{result} on {len(test):,} images of {test.name}")


def predict(
    run: Run, paths: list[str], as_json: bool = False, output: str | None = None, threshold: float = 0.5
) -> None:
    """Print what a run's detector finds on image files.

    Args:
        run: of a detector.
        paths: the files.
        as_json: print JSON.
        output: a PNG, SVG or PDF file to draw the boxes into.
        threshold: the least score that is told.

    Raises:
        DataError: a file that is no image.
    """
    names = run.config["class_names"]
    images = [_image(path) for path in paths]
    found = detect(open_detector(run), images, threshold)
    if output is not None:
        DetectionSheet(images, found, names, titles=[Path(path).name for path in paths]).save(output)
    if as_json:
        answers = [{"image": path, "objects": _objects(one, names)} for path, one in zip(paths, found, strict=True)]
        typer.echo(json.dumps(answers, indent=2, ensure_ascii=False))
        return
    table = screen.table(["Image", "Object"], ["Score", "Left", "Top", "Right", "Bottom"])
    for path, one in zip(paths, found, strict=True):
        for object_ in _objects(one, names):
            table.add_row(path, object_["class"], f"{object_['score']:.2f}", *(f"{x:.0f}" for x in object_["box"]))
        if not len(one):
            table.add_row(path, "(nothing found)", *[""] * 5)
    screen.show(table)


def _objects(found: Detections, names: list[str]) -> list[dict[str, Any]]:
    return [
        {"class": names[label], "score": round(float(score), 4), "box": [round(float(x), 2) for x in box]}
        for box, label, score in zip(found.boxes, found.labels, found.scores, strict=True)
    ]


def _image(path: str) -> np.ndarray:
    if not Path(path).is_file():
        raise DataError(f"There is no file {path!r}.")
    try:
        return decode(Path(path), displayed_size(Path(path)), 3)
    except DataError as error:
        raise DataError(f"{path}: {error}") from error
