"""Face recognition for the commands: `striate train --task faces`, and `evaluate` and `predict` on its runs.

People are split, not images: those who are tested on were never seen in the training.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import typer
from torch import nn

from striate import _files, zoo
from striate.cli import reading, screen
from striate.cli.networks import image_size
from striate.cli.plan import Plan
from striate.cli.reading import Parts
from striate.cli.task_runs import Result, SingleStageJob
from striate.data import Dataset, load_image
from striate.data.augment import ColorJitter, Flip, Pipeline, Rotate, Scale, Translate
from striate.data.shapes import identities
from striate.errors import ArgumentError, DataError
from striate.faces import (
    ArcFaceLoss,
    Embedder,
    Recognizer,
    Verification,
    embed,
    rank1_with_one_image,
    split_people,
    verify,
)
from striate.track import Run
from striate.train.policy import Choice
from striate.zoo import Backbone, Preprocessing

FALSE_ACCEPTS = 0.01
"""The share of pairs of strangers that pass at the threshold of a run."""
_MANY_PEOPLE = 1_000
_SIZES = (128, 512)
"""Of an embedding, for some people and for many."""
_SCALES = (16.0, 64.0)
_VALIDATION_FRACTION = 0.1
_SKIPPED_SHOWN = 10


@dataclass(frozen=True)
class _Tested(Result):
    """A test with its pairs, which the report shows."""

    verification: Verification | None = None


class Recognising(SingleStageJob[Dataset]):
    """What is particular to face recognition."""

    task = "faces"
    usual_model = "resnet18"
    for_new_classes = True

    def read(self, plan: Plan) -> Parts[Dataset]:
        parts = _parts(plan)
        _tell(parts, plan.seed)
        return parts

    def samples(self, parts: Parts[Dataset]) -> int:
        return sum(len(part) for part in (parts.train, parts.validation, parts.test) if part)

    def build(self, backbone: Backbone, plan: Plan, parts: Parts[Dataset]) -> Recognizer:
        people, (height, width) = len(parts.train.class_names), parts.train.x.shape[1:3]
        embedder = Embedder(backbone, _SIZES[people >= _MANY_PEOPLE], (height, width))
        return Recognizer(embedder, people)

    def describe(self, module: nn.Module) -> dict[str, Any]:
        embedder = embedder_of(module)
        return {
            "backbone": embedder.backbone.config,
            "preprocessing": embedder.preprocessing.to_config(),
            "size": embedder.size,
            "people": len(module.get_parameter("directions")),
        }

    def rebuild(self, description: Mapping[str, Any]) -> Recognizer:
        backbone = zoo.create(**description["backbone"])
        backbone.preprocessing = Preprocessing.from_config(description["preprocessing"])
        return Recognizer(Embedder(backbone, description["size"]), description["people"])

    def loss(self, module: nn.Module, parts: Parts[Dataset]) -> ArcFaceLoss:
        return ArcFaceLoss(scale=_SCALES[len(parts.train.class_names) >= _MANY_PEOPLE])

    def metrics(self, module: nn.Module, parts: Parts[Dataset]) -> list[Any]:
        return ["accuracy"]

    def arrays(self, module: nn.Module, data: Dataset) -> tuple[Any, Any]:
        return data.x, data.y

    def augmentation(self, module: nn.Module, parts: Parts[Dataset]) -> Pipeline:
        moves = [Translate(0.1, "edge"), Scale((0.9, 1.1), "edge"), Rotate(10, "edge")]
        return Pipeline([Flip(), *moves, ColorJitter(0.3, 0.3, 0)], "a face is cut out and lit a little otherwise")

    def test(self, module: nn.Module, data: Dataset) -> _Tested:
        embeddings = embed(embedder_of(module), data.x)
        result, rank1 = verify(embeddings, data.y), rank1_with_one_image(embeddings, data.y)
        numbers = {**result.numbers, "rank1": rank1, "threshold": result.threshold_at(FALSE_ACCEPTS)}
        rows: list[tuple[str, ...]] = [
            (name, f"{value:.4f}") for name, value in numbers.items() if not math.isnan(value)
        ]
        told = f"EER {result.eer:.2%}, AUC {result.auc:.4f}, rank-1 {rank1:.1%} (one image of each enrolled)"
        return _Tested(numbers, told, (("Measure", "Value"), rows), result)

    def predict(self, run: Run, module: nn.Module, images: Sequence[str], as_json: bool, output: str | None) -> None:
        """Print of each two of the images whether they show one person."""
        if output is not None:
            raise ArgumentError(f"--output {output}: there is nothing to draw of faces; leave it out.")
        if len(images) < 2:
            raise ArgumentError(
                f"{images[0]}: a run of faces says whether two images show one person; give two or more. To find the "
                "person among those you know: striate faces enrol, then striate faces match."
            )
        threshold, embeddings = threshold_of(run), embed_files(embedder_of(module), images)
        answers: list[dict[str, Any]] = []
        for first, second in combinations(range(len(images)), 2):
            similarity = float(embeddings[first] @ embeddings[second])
            pair = [images[first], images[second]]
            answers.append({"images": pair, "similarity": similarity, "same": similarity >= threshold})
        if as_json:
            typer.echo(json.dumps(answers, indent=2, ensure_ascii=False))
            return
        table = screen.table(["Image", "Image"], ["Similarity"], ["One person"])
        for answer in answers:
            table.add_row(*answer["images"], f"{answer['similarity']:.3f}", "yes" if answer["same"] else "no")
        screen.show(table)
        told = "which at most 1 in 100 pairs of strangers reached in its test"
        print(f"\nOne person from a similarity of {threshold:.3f} on, {told}.")

    def report(self, run: Run, module: nn.Module, parts: Parts[Dataset], result: Result) -> None:
        from striate.report.recognised import FacesReport  # matplotlib takes a second to import

        assert isinstance(result, _Tested) and result.verification is not None
        train, test = parts.train, parts.test
        origin = (
            f"Trained on {len(train):,} images of {len(train.class_names):,} people from {parts.everything.name}, "
            f"tested on {len(test):,} of {len(test.class_names):,} other people."
        )
        rank1 = result.numbers["rank1"]
        page = FacesReport(run.name, origin, test, result.verification, rank1, run.history, run.config)
        _files.write_text(run.report_file, page.html())


JOB = Recognising()


def embedder_of(module: nn.Module) -> Embedder:
    """What is used of a trained network."""
    assert isinstance(module, Recognizer)
    return module.embedder


def threshold_of(run: Run) -> float:
    """The similarity from which on two images are taken for one person's, as the run's test found it.

    Raises:
        DataError: the run was not tested yet.
    """
    if "threshold" not in run.metrics:
        raise DataError(f"The run {run.name!r} is unfinished, so that no threshold is known: striate train --resume.")
    return float(run.metrics["threshold"])


def embed_files(embedder: Embedder, paths: Sequence[str]) -> np.ndarray:
    """The embeddings of image files, which are read as a folder of them is for the training."""
    return embed(embedder, np.stack([load_image(path, embedder.image_shape) for path in paths]))


def _parts(plan: Plan) -> Parts[Dataset]:
    """People to train on, some of whose images are held out, and others to test on.

    Raises:
        DataError: the data has no people, or a test part of its own.
    """
    if plan.data == "shapes":
        train, test = identities(seed=plan.seed)
        everything = train
    else:
        everything = reading.read(plan.data, image_size(plan), channels=zoo.card(JOB.model(plan)).input_shape[0])
        if everything.task not in ("binary", "multiclass") or everything.x.ndim != 4:
            raise DataError(f"{everything.name} holds no images of people: expected a folder with one folder for each.")
        if everything.test or everything.validation:
            raise DataError(
                f"{everything.name} has parts of its own, with the same people in each. Here people are split: give a "
                "folder with one folder for each of all people."
            )
        train, test = split_people(everything, plan.test_fraction, plan.seed)
    fraction = _VALIDATION_FRACTION if plan.validation_fraction is None else plan.validation_fraction
    validation = None
    if fraction:
        train, validation = train.split(fraction, plan.seed)
    return Parts(everything, train, validation, test)


def _tell(parts: Parts[Dataset], seed: int) -> None:
    everything, train, test = parts.everything, parts.train, parts.test
    print(f"{everything.name}: {everything.describe()}")
    for note in everything.notes:
        print(note)
    for file in everything.skipped[:_SKIPPED_SHOWN]:
        print(f"  skipped {file}")
    held_out = f" and {len(parts.validation):,} to validate" if parts.validation else ""
    to_train = f"{len(train):,} images of {len(train.class_names):,} people to train{held_out}"
    to_test = f"{len(test):,} of {len(test.class_names):,} other people to test"
    print(Choice("split", f"{to_train}, {to_test}", f"nobody is in both, seed {seed}"))
