"""What `striate evaluate` and `striate predict` do, with runs and with exported files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import typer

from striate.cli import reading, screen, task_runs
from striate.cli.reading import Parts
from striate.cli.tasks import job_of_run
from striate.cli.trained import Trained, open_trained
from striate.data import Dataset, load_image
from striate.errors import ArgumentError, DataError
from striate.export import SUFFIXES, load
from striate.shapes import times


def evaluate_run(run_name: str, source: str | None, runs_folder: str) -> None:
    """Test a run's model and print how good it is, over all and class by class."""
    from striate.report import Classification, MultiLabel, assess

    job = job_of_run(run_name, runs_folder)
    if job is not None:
        task_runs.evaluate(job, run_name, source, runs_folder)
        return
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


def predict_images(name: str, paths: list[str], as_json: bool, output: str | None, runs_folder: str) -> None:
    """Print what a run's model, or an exported file, says about image files; draw it where there is more to see."""
    job = job_of_run(name, runs_folder)
    if job is not None:
        job.predict(*task_runs.open_task(job, name, runs_folder), paths, as_json, output)
        return
    if output is not None:
        raise ArgumentError(f"--output {output}: pictures are of segmentation and detection; {name} is neither.")
    exported = Path(name).suffix.lower() in SUFFIXES
    values, class_names, task = _by_file(name, paths) if exported else _by_run(name, paths, runs_folder)
    predictions = _answers(values, class_names, task)
    if as_json:
        answers = [{"image": path, **answer} for path, answer in zip(paths, predictions, strict=True)]
        typer.echo(json.dumps(answers, indent=2, ensure_ascii=False))
        return
    best_columns = ["Most probable", "Second", "Third"][: len(class_names)]
    labels = ["Labels"] if task == "multilabel" else []
    table = screen.table(["Image", *labels, *(best_columns or ["Prediction"])])
    for path, answer in zip(paths, predictions, strict=True):
        said = [", ".join(answer["labels"]) or "(none)"] if labels else []
        best = list(answer.get("probabilities", {}).items())[: len(best_columns)]
        table.add_row(path, *said, *([f"{name}  {share:.1%}" for name, share in best] or [str(answer["value"])]))
    screen.show(table)


def _by_run(name: str, paths: list[str], runs_folder: str) -> tuple[np.ndarray, tuple[str, ...], str | None]:
    """What a run's model gives for image files, the classes, and the task."""
    trained = open_trained(name, runs_folder)
    shape = trained.input_shape
    if len(shape) != 3:
        raise ArgumentError(f"The run {trained.run.name!r} takes samples of {times(shape)}, which are no images.")
    images = np.stack([load_image(path, (shape[0], shape[1], shape[2])) for path in paths])
    return trained.predict(images), trained.class_names, trained.config["task"]


def _by_file(name: str, paths: list[str]) -> tuple[np.ndarray, tuple[str, ...], str | None]:
    """The same of an exported file."""
    model = load(name)
    own = model.description
    if len(own.outputs) > 1:
        raise ArgumentError(
            f"{name} gives {len(own.outputs)} outputs, which are not told here; in Python: striate.export.load"
        )
    return model.predict(model.images(paths)), own.class_names, own.task


def _answers(values: np.ndarray, names: tuple[str, ...], task: str | None) -> list[dict[str, Any]]:
    """For each image the class or labels, and all probabilities, the highest first; of a regression the numbers."""
    if not names:
        return [{"value": row.tolist() if row.size > 1 else row.item()} for row in values]
    if values.shape[1] == 1:
        values = np.concatenate([1 - values, values], axis=1)
    answers = []
    for row in values:
        probabilities = {names[index]: float(row[index]) for index in np.argsort(-row, kind="stable")}
        said: dict[str, Any] = {"class": next(iter(probabilities))}
        if task == "multilabel":
            said = {"labels": [name for name, probability in probabilities.items() if probability > 0.5]}
        answers.append({**said, "probabilities": probabilities})
    return answers


def own_parts(trained: Trained) -> Parts[Dataset]:
    """The data that a run was trained, validated and tested on.

    Raises:
        DataError: it has another number of samples now.
    """
    config = trained.config
    everything = reading.read(config["data"], columns=config.get("columns"), **_image_options(trained))
    samples = len(everything) + len(everything.test or ())
    if samples != config["samples"]:
        raise DataError(
            f"{config['data']} has {samples:,} samples, and had {config['samples']:,} when {trained.run.name!r} "
            "was trained: its test part cannot be drawn again. Test on other data: striate evaluate RUN DATA."
        )
    return reading.split(everything, config["test_fraction"], config["seed"], config.get("validation_fraction"))


def _image_options(trained: Trained) -> dict[str, Any]:
    shape = trained.input_shape
    return {"image_size": shape[:2], "channels": shape[2]} if len(shape) == 3 else {}


def _test_data(trained: Trained, source: str | None) -> tuple[Dataset, str]:
    """What to test on, and where it is from."""
    config = trained.config
    if source is None or reading.absolute(source) == config["data"]:
        return own_parts(trained).test, "held out from the training"
    columns = config.get("columns") if Path(source).suffix == Path(config["data"]).suffix else None
    everything = reading.read(source, columns=columns, **_image_options(trained))
    origin = "its test part" if everything.test else "all of it"
    test = everything.test or everything
    shape = trained.input_shape
    if test.x.shape[1:] != shape:
        raise DataError(f"{test.name} has samples of {times(test.x.shape[1:])}; the model takes {times(shape)}.")
    return (test.aligned_to(trained.class_names) if trained.class_names else test), origin
