"""Captioning for the commands: `striate train --task caption`, and `evaluate` and `predict` on its runs."""

from __future__ import annotations

import math
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from torch import nn

from striate import _files
from striate.caption import (
    CaptionDataset,
    Captioner,
    CaptionScores,
    Decoder,
    Description,
    Reward,
    RewardLoss,
    SelfCritical,
    Vocabulary,
    WordAccuracy,
    arrays,
    describe,
    embedded_scenes,
    human_agreement,
    load_captions,
    losses,
    score_captions,
    tokenize,
)
from striate.cli import annotated, screen
from striate.cli.networks import image_size
from striate.cli.plan import Plan
from striate.cli.reading import Parts, split
from striate.cli.task_runs import Job, Result, Stage
from striate.data.shapes import judge_all
from striate.errors import ArgumentError
from striate.track import Run
from striate.train.policy import Choice
from striate.transfer import features, rate_scales
from striate.transfer import parts as parts_of
from striate.zoo import Backbone

_MANY_WORDS = 1_000


@dataclass(frozen=True)
class _Usual:
    """What a decoder is made and trained with if nothing else is asked for.

    Attributes:
        decoder: its sizes.
        coverage: what doubly stochastic attention counts.
        rate: the top of one cycle.
        steps: of a training.
    """

    decoder: Mapping[str, Any]
    coverage: float
    rate: float
    steps: int


_DRAWN = _Usual({"size": 128, "embedding": 64, "dropout": 0.0}, 0.0, 5e-3, 2_700)
_LANGUAGE = _Usual({"size": 512, "embedding": 256, "dropout": 0.5}, 1.0, 1e-3, 6_000)
"""For a few words, most of a drawn scene being background that no word is about; and for a language."""
_RARE = ((10_000, 5), (1_000, 2), (0, 1))
"""From how many captions on, how often a word must occur."""
_THAWED, _DECAY = 0.1, 0.6
"""The rate of a published backbone that thaws, as a part of the decoder's; and by what it falls from part to part."""
_REWARDED = 0.02
"""The rate of the self-critical stage, as a part of that of the first."""


@dataclass(frozen=True)
class _Tested(Result):
    """A test with its captions, which the report shows."""

    found: Sequence[Description] = ()
    columns: Mapping[str, CaptionScores] = field(default_factory=dict)
    notes: Sequence[str] = ()


class Captioning(Job[CaptionDataset]):
    """What is particular to captions."""

    task = "caption"
    usual_model = "resnet18"
    trains_weights = False
    takes = ("label_smoothing", "cell", "attention", "thaw_after", "self_critical")
    use = "caption"

    def read(self, plan: Plan) -> Parts[CaptionDataset]:
        if plan.thaw_after is not None and plan.weights is None:
            raise ArgumentError(
                f"--thaw-after {plan.thaw_after}: fresh weights learn from the first epoch on. Leave it out, or give "
                "--weights."
            )
        size = image_size(plan)
        if size is not None and len(size) > 2:
            raise ArgumentError(f"--image-size {plan.image_size}: expected a height and a width, such as 96x128.")
        with screen.reading_bar() as progress:
            everything = load_captions(plan.data).resized(None if size is None else (size[0], size[-1]), progress)
        parts = split(everything, plan.test_fraction, plan.seed, plan.validation_fraction)
        annotated.tell(parts, plan.seed)
        return parts

    def samples(self, parts: Parts[CaptionDataset]) -> int:
        everything = parts.everything
        return sum(len(part) for part in (everything, everything.validation, everything.test) if part)

    def build(self, backbone: Backbone, plan: Plan, parts: Parts[CaptionDataset]) -> Captioner:
        if backbone.preprocessing.channels != 3:
            raise ArgumentError(f"--model {plan.model} takes grey images; those with captions are read in colour.")
        captions = [caption for own in parts.train.captions for caption in own]
        count = next(count for number, count in _RARE if len(captions) >= number)
        vocabulary = Vocabulary.of(captions, minimum_count=count)
        often = f"those that {len(captions):,} training captions have {count} times or more"
        print(
            Choice("vocabulary", f"{len(vocabulary):,} words", often if count > 1 else "all of the training captions")
        )
        height, width = parts.train.sizes[0].tolist()
        return Captioner(backbone, vocabulary, (height, width), plan.cell, plan.attention, **_usual(vocabulary).decoder)

    def rate(self, module: nn.Module) -> float:
        return _usual(captioner_of(module).vocabulary).rate

    def steps(self, module: nn.Module) -> int:
        return _usual(captioner_of(module).vocabulary).steps

    def describe(self, module: nn.Module) -> dict[str, Any]:
        return captioner_of(module).get_config()

    def rebuild(self, description: Mapping[str, Any]) -> Captioner:
        return Captioner.from_config(description)

    def stages(
        self, module: nn.Module, plan: Plan, parts: Parts[CaptionDataset], epochs: int, rate: float
    ) -> Iterator[Stage]:
        """The network; of published weights the decoder first, and the backbone later; then rewards: as was asked."""
        whole, frozen = captioner_of(module), plan.weights is not None
        alone = 0 if not frozen else epochs if plan.thaw_after is None else min(plan.thaw_after, epochs)
        loss, metrics = losses(plan.label_smoothing, _usual(whole.vocabulary).coverage), {"words": [WordAccuracy()]}
        scales: dict[str, float] = {}
        if alone:
            learner: Captioner | Decoder = whole.decoder
            seen: list[Any] = [_grids(whole, data, plan) for data in _taught(parts)]
            why = f"as published; the decoder learns from its features for {_epochs(alone)}"
            told = [Choice("backbone", "frozen", why)]
            yield Stage("decoder", learner, loss, *_arrays(whole, seen, parts), alone, rate, metrics, choices=told)
        if alone < epochs:
            learner = whole
            seen = [data.images for data in _taught(parts)]
            if frozen:
                depths = rate_scales(parts_of(whole.backbone), _DECAY, "encoder.backbone.")
                scales = {path: _THAWED * scale for path, scale in depths.items()}
            why = f"it learns as well, at {_THAWED:g} of the rate, and less in each part below its last"
            told = [Choice("backbone", "thawed", why)] if frozen else []
            train, checked = _arrays(whole, seen, parts)
            left = epochs - alone
            yield Stage("network", whole, loss, train, checked, left, rate, metrics, None, scales, choices=told)
        if plan.self_critical:
            held_out = parts.validation.captions if parts.validation else ()
            stage = SelfCritical(learner, whole.vocabulary, parts.train.captions, held_out)
            train, *validation = [stage.arrays(of_part, bool(index)) for index, of_part in enumerate(seen)]
            epochs, rate = plan.self_critical, rate * _REWARDED
            told = [Choice("reward", "CIDEr-D", f"of captions that the decoder draws, for {_epochs(epochs)}")]
            checked = validation[0] if validation else None
            scales = {f"learner.{path}": scale for path, scale in scales.items()}
            yield Stage("reward", stage, RewardLoss(), train, checked, epochs, rate, [Reward()], None, scales, (), told)

    def test(self, module: nn.Module, data: CaptionDataset) -> _Tested:
        found = describe(captioner_of(module), data.images)
        references = [[tokenize(caption) for caption in own] for own in data.captions]
        scores = score_captions([one.words for one in found], references)
        columns = {"Captions": scores}
        drawn = embedded_scenes(data)
        if drawn is None and min(map(len, references)) > 1:
            columns["People"] = human_agreement(references)
        rows = [(name, *(f"{100 * of.numbers[name]:.1f}" for of in columns.values())) for name in scores.numbers]
        rows += [(name, *("not computed" for _ in columns)) for name in scores.not_computed]
        numbers, notes = dict(scores.numbers), []
        if drawn is not None:
            judged = judge_all(drawn, [one.words for one in found])
            numbers["words_right"] = judged.share
            notes.append(judged.told)
        told = "; ".join([*notes, f"BLEU-4 {100 * numbers['BLEU-4']:.1f}, CIDEr-D {100 * numbers['CIDEr-D']:.1f}"])
        return _Tested(numbers, told, (("× 100", *columns), rows), found, columns, notes)

    def predict(self, run: Run, module: nn.Module, images: Sequence[str], as_json: bool, output: str | None) -> None:
        """As `striate caption` says what is on image files; `output` gets a picture of each."""
        command = shlex.join(["striate", "caption", str(run.folder), *images])
        raise ArgumentError(f"The run {run.name!r} writes captions: {command}")

    def report(self, run: Run, module: nn.Module, parts: Parts[CaptionDataset], result: Result) -> None:
        from striate.report.captioned import CaptionReport  # matplotlib takes a second to import

        assert isinstance(result, _Tested)
        train, test = parts.train, parts.test
        captions = sum(map(len, train.captions))
        origin = (
            f"Trained on {len(train):,} images of {train.name} with {captions:,} captions, tested on {len(test):,}."
        )
        page = CaptionReport(
            run.name,
            origin,
            test,
            result.found,
            result.columns["Captions"],
            _word_epochs(run.history),
            run.config,
            run.config["seed"],
            result.columns.get("People"),
            [*result.notes, *_rewards_told(run.history)],
        )
        _files.write_text(run.report_file, page.html())


JOB = Captioning()


def captioner_of(module: nn.Module) -> Captioner:
    """The network of a run."""
    assert isinstance(module, Captioner)
    return module


def _usual(vocabulary: Vocabulary) -> _Usual:
    return _LANGUAGE if len(vocabulary) >= _MANY_WORDS else _DRAWN


def _taught(parts: Parts[CaptionDataset]) -> list[CaptionDataset]:
    """What is trained on, and what is validated on, if anything is."""
    return [parts.train] if parts.validation is None else [parts.train, parts.validation]


def _grids(whole: Captioner, data: CaptionDataset, plan: Plan) -> np.ndarray:
    """What the backbone makes of images, from the cache where it has made it before."""
    return features(whole.backbone, data.images, grid=True, device=plan.device, verbose="auto")


def _arrays(whole: Captioner, seen: Sequence[Any], parts: Parts[CaptionDataset]) -> tuple[Any, Any]:
    """Inputs and targets to train on, and to validate on, if there are any."""
    train, *validation = [
        arrays(whole.vocabulary, of_part, data.captions) for of_part, data in zip(seen, _taught(parts), strict=True)
    ]
    return train, validation[0] if validation else None


def _epochs(number: int) -> str:
    return f"{number} epoch{'s' * (number != 1)}"


def _word_epochs(history: Mapping[str, Sequence[float]]) -> dict[str, list[float]]:
    """The curves of the epochs that learn words; those of rewards have another loss."""
    learned = [index for index, loss in enumerate(history["words_loss"]) if not math.isnan(loss)]
    names = ("loss", "val_loss", "words_accuracy", "val_words_accuracy")
    return {name: [history[name][index] for index in learned] for name in names if name in history}


def _rewards_told(history: Mapping[str, Sequence[float]]) -> Iterator[str]:
    """How the reward grew, if it was trained on."""
    named = (("cider_d", "drawn captions of training images"), ("val_cider_d", "captions of validation images"))
    rewards = {what: [100 * one for one in history.get(name, ()) if not math.isnan(one)] for name, what in named}
    grew = [f"of {what} from {of[0]:.1f} to {of[-1]:.1f}" for what, of in rewards.items() if of]
    if grew:
        yield f"In the self-critical training, the mean CIDEr-D × 100 went {', '.join(grew)}."
