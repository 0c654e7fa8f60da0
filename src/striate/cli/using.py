"""What `striate evaluate` and `striate predict` do."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import typer

from striate.cli import reading, screen
from striate.cli.trained import Trained, open_trained
from striate.data import Dataset, load_image
from striate.errors import ArgumentError, DataError
from striate.shapes import times


def evaluate_run(run_name: str, source: str | None, runs_folder: str) -> None:
    """Test a run's model and print how good it is, over all and class by class."""
    from striate.report import Classification, MultiLabel, assess

    trained = open_trained(run_name, runs_folder)
    test, origin = _test_data(trained, source)
    result = assess(test, trained.predict(test.x))
    if isinstance(result, Classification | MultiLabel):
        table = screen.table(["Class"], ["Precision", "Recall", "F1", "Samples"])
        for row in result.table:
            table.add_row(row.name, f"{row.precision:.3f}", f"{row.recall:.3f}", f"{row.f1:.3f}", f"{row.support:,.0f}")
        screen.show(table)
        print()
    print(result.told(f"on {len(test):,} samples of {test.name} ({origin})"))


def predict_images(run_name: str, paths: list[str], as_json: bool, runs_folder: str) -> None:
    """Print what a run's model says about image files."""
    trained = open_trained(run_name, runs_folder)
    shape = trained.input_shape
    if len(shape) != 3:
        raise ArgumentError(f"The run {trained.run.name!r} takes samples of {times(shape)}, which are no images.")
    images = np.stack([load_image(path, (shape[0], shape[1], shape[2])) for path in paths])
    predictions = _by_class(trained, images)
    if as_json:
        answers = [{"image": path, **answer} for path, answer in zip(paths, predictions, strict=True)]
        typer.echo(json.dumps(answers, indent=2, ensure_ascii=False))
        return
    best_columns = ["Most probable", "Second", "Third"][: len(trained.class_names)]
    labels = ["Labels"] if trained.config["task"] == "multilabel" else []
    table = screen.table(["Image", *labels, *(best_columns or ["Prediction"])])
    for path, answer in zip(paths, predictions, strict=True):
        said = [", ".join(answer["labels"]) or "(none)"] if labels else []
        best = list(answer.get("probabilities", {}).items())[: len(best_columns)]
        table.add_row(path, *said, *([f"{name}  {share:.1%}" for name, share in best] or [str(answer["value"])]))
    screen.show(table)


def _by_class(trained: Trained, images: np.ndarray) -> list[dict[str, Any]]:
    """For each image the class or labels, and all probabilities, the highest first; of a regression the numbers."""
    values = trained.predict(images)
    names = trained.class_names
    if not names:
        return [{"value": row.tolist() if row.size > 1 else row.item()} for row in values]
    if values.shape[1] == 1:
        values = np.concatenate([1 - values, values], axis=1)
    answers = []
    for row in values:
        probabilities = {names[index]: float(row[index]) for index in np.argsort(-row, kind="stable")}
        said: dict[str, Any] = {"class": next(iter(probabilities))}
        if trained.config["task"] == "multilabel":
            said = {"labels": [name for name, probability in probabilities.items() if probability > 0.5]}
        answers.append({**said, "probabilities": probabilities})
    return answers


def _test_data(trained: Trained, source: str | None) -> tuple[Dataset, str]:
    """What to test on, and where it is from."""
    config = trained.config
    own = source is None or reading.absolute(source) == config["data"]
    shape = trained.input_shape
    image = {"image_size": shape[:2], "channels": shape[2]} if len(shape) == 3 else {}
    same_kind = own or Path(str(source)).suffix == Path(config["data"]).suffix
    columns = config.get("columns") if same_kind else None
    everything = reading.read(config["data"] if own else str(source), columns=columns, **image)  # type: ignore[arg-type]
    if own:
        samples = len(everything) + len(everything.test or ())
        if samples != config["samples"]:
            raise DataError(
                f"{config['data']} has {samples:,} samples, and had {config['samples']:,} when {trained.run.name!r} "
                "was trained: its test part cannot be drawn again. Test on other data: striate evaluate RUN DATA."
            )
        return reading.split(everything, config["test_fraction"], config["seed"]).test, "held out from the training"
    origin = "its test part" if everything.test else "all of it"
    test = everything.test or everything
    if test.x.shape[1:] != shape:
        raise DataError(f"{test.name} has samples of {times(test.x.shape[1:])}; the model takes {times(shape)}.")
    return (test.aligned_to(trained.class_names) if trained.class_names else test), origin
