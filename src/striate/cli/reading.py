"""Data sets for the commands: read with a bar, split, told in lines."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Generic, TypeVar

from striate import data
from striate.cli.screen import reading_bar
from striate.data import Dataset, leakage_notes
from striate.data.annotated import BoxDataset, SegmentationDataset
from striate.data.huggingface import PREFIX as HUGGING_FACE
from striate.errors import ArgumentError
from striate.train.policy import Choice

if TYPE_CHECKING:
    from striate.caption import CaptionDataset

_VALIDATION_FRACTION = 0.1
_LEAST_TO_VALIDATE = 20  # of fewer training samples, a tenth says nothing
_SKIPPED_SHOWN = 10


D = TypeVar("D")
S = TypeVar("S", Dataset, BoxDataset, SegmentationDataset, "CaptionDataset")


@dataclass(frozen=True)
class Parts(Generic[D]):
    """A data set, and what becomes of it."""

    everything: D
    train: D
    validation: D | None
    test: D


def read(
    source: str,
    image_size: tuple[int, ...] | None = None,
    channels: int | None = None,
    columns: str | None = None,
) -> Dataset:
    """The data set of a name, a folder or a file; the arguments are those of `striate.data.load` or of `--columns`."""
    size = image_size[0] if image_size and len(image_size) == 1 else image_size
    with reading_bar() as progress:
        named = None if columns is None else named_columns(columns)
        return data.load(source, image_size=size, channels=channels, columns=named, progress=progress)  # type: ignore[arg-type]


def absolute(source: str) -> str:
    """The same source, good in any folder."""
    named = source in data.embedded() or source.startswith(HUGGING_FACE)
    return source if named else str(Path(source).expanduser().resolve())


def absolute_weights(weights: str | None) -> str | None:
    """The same weights, good in any folder: names of published ones stay, files are found from anywhere."""
    return str(Path(weights).resolve()) if weights is not None and Path(weights).is_file() else weights


def named_columns(text: str) -> dict[str, str]:
    """What `--columns label=diagnosis,group=site` says.

    >>> named_columns("label=diagnosis, group=site")
    {'label': 'diagnosis', 'group': 'site'}
    """
    pairs = [part.partition("=") for part in text.split(",")]
    if not all(kind.strip() and name.strip() for kind, _, name in pairs):
        raise ArgumentError(f"--columns {text}: expected pairs with commas between them, such as label=diagnosis.")
    return {kind.strip(): name.strip() for kind, _, name in pairs}


def split(everything: S, test_fraction: float, seed: int, validation_fraction: float | None = None) -> Parts[S]:
    """Hold out a test part, and one to validate on: the data's own, or a fraction of the training part.

    By default the fraction is a tenth, and none of a tiny set; 0 holds nothing out.
    """
    train, test = everything.split(test_fraction, seed)
    if everything.validation:
        return Parts(everything, train, everything.validation, test)
    if validation_fraction is None:
        validation_fraction = 0.0 if len(train) < _LEAST_TO_VALIDATE else _VALIDATION_FRACTION
    if validation_fraction == 0:
        return Parts(everything, train, None, test)
    if not 0 < validation_fraction < 1:
        raise ArgumentError(f"--validation-fraction {validation_fraction:g}: expected a number from 0 to below 1.")
    return Parts(everything, *train.split(validation_fraction, seed), test)


def tell(parts: Parts[Dataset], seed: int) -> None:
    """Say what was read, what was skipped, and how it was split."""
    everything, validation = parts.everything, parts.validation
    print(f"{everything.name}: {everything.describe()}")
    if everything.class_names and len(set(everything.class_counts.tolist())) > 1:
        print(f"Classes: {everything.balance()}")
    for note in everything.notes:
        print(note)
    named = {"train": parts.train, "validation": validation, "test": parts.test}
    for leak in leakage_notes({name: part for name, part in named.items() if part}):
        print(leak)
    skipped = everything.skipped
    if skipped:
        print(f"Skipped {len(skipped):,} file{'s' * (len(skipped) > 1)} that cannot be read:")
        for file in skipped[:_SKIPPED_SHOWN]:
            print(f"  {file}")
        if len(skipped) > _SKIPPED_SHOWN:
            print(f"  and {len(skipped) - _SKIPPED_SHOWN:,} more, listed in the report")
    uses = ((parts.train, "train"), (validation, "validate"), (parts.test, "test"))
    drawn = "each class in proportion" if everything.task in ("binary", "multiclass") else "drawn at random"
    drawn = drawn if everything.groups is None else "in whole groups"
    how = "the data's own test part" if everything.test else drawn
    counts = [f"{len(part):,} to {use}" for part, use in uses if part]
    print(Choice("split", ", ".join(counts), f"{how}, seed {seed}"))
    if validation:
        origin = "the data's own" if everything.validation else "held out of the training data"
        print(f"The curves use the validation part, {origin}; the test part is used once, at the end.")
