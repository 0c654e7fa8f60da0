"""What `striate see` does: ask the network about an image, and write a page on how it came to its answer."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import typer

from striate import _files
from striate.cli import screen
from striate.cli.trained import Trained, open_trained
from striate.data import load_image
from striate.errors import ArgumentError
from striate.see.attribution import output_of
from striate.see.places import path_of
from striate.shapes import times

_TOLD = 3  # classes


def see_image(
    run_name: str, image: str, layer: str | None, class_name: str | None, output: str | None, runs_folder: str
) -> None:
    """Print what a run's model says of an image file, and write the page on it."""
    if output is not None and Path(output).suffix.lower() not in (".html", ".htm"):
        raise ArgumentError(f"--out {output}: expected a name that ends in .html.")
    if output is not None and not Path(output).parent.is_dir():
        raise ArgumentError(f"--out {output}: there is no folder {str(Path(output).parent)!r}.")
    trained = open_trained(run_name, runs_folder)
    shape = trained.input_shape
    if len(shape) != 3 or shape[2] not in (1, 3):
        raise ArgumentError(f"The run {trained.run.name!r} takes samples of {times(shape)}, which are no images.")
    pixels = load_image(image, (shape[0], shape[1], shape[2]))
    if layer is not None:
        path_of(trained.model, layer)
    values = trained.predict(pixels[None])[0]
    target = None if class_name is None else _target(trained, class_name, len(values))
    from striate.report import Answer, image_page  # matplotlib takes a second to import, and was not needed yet

    probabilities = _probabilities(trained, values)
    answer = Answer(_said(trained, values, probabilities), probabilities)
    with screen.waiting_bar("Looking into the network"):
        page = image_page(
            Path(image).name,
            trained.model,
            pixels,
            answer,
            origin=f"An image for the run {trained.run.name} with the model {trained.config['model']}.",
            class_names=trained.class_names,
            target=target,
            layer=layer,
        )
    path = Path(output) if output else trained.run.folder / f"see-{Path(image).stem}.html"
    try:
        _files.write_text(path, page)
    except OSError as error:
        raise ArgumentError(f"{path} cannot be written: {error.strerror or error}.") from error
    listed = ", ".join(f"{name}: {share:.1%}" for name, share in list(probabilities.items())[:_TOLD])
    typer.echo(f"{image}: {answer.said}{f' ({listed})' if listed else ''}\nPage: {path}")


def _probabilities(trained: Trained, values: np.ndarray) -> dict[str, float]:
    """By class, the greatest first; empty for regression."""
    names = trained.class_names
    if not names:
        return {}
    if len(values) == 1:
        values = np.concatenate([1 - values, values])
    return {names[index]: float(values[index]) for index in np.argsort(-values, kind="stable")}


def _said(trained: Trained, values: np.ndarray, probabilities: dict[str, float]) -> str:
    if not probabilities:
        return ", ".join(f"{value:.4g}" for value in values.ravel())
    if trained.config["task"] == "multilabel":
        return ", ".join(name for name, probability in probabilities.items() if probability > 0.5) or "(none)"
    return next(iter(probabilities))


def _target(trained: Trained, class_name: str, outputs: int) -> int:
    """The output of the network that speaks for a class."""
    if not trained.class_names:
        raise ArgumentError(f"--class {class_name}: {trained.run.name!r} predicts numbers, it has no classes.")
    return output_of(class_name, trained.class_names, outputs, "--class ")
