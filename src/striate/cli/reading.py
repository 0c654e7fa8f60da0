"""Data sets for the commands: read with a bar, split, told in lines."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from striate import data
from striate.cli.screen import reading_bar
from striate.data import Dataset
from striate.train.policy import Choice

_VALIDATION_FRACTION = 0.1
_LEAST_TO_VALIDATE = 20  # of fewer training samples, a tenth says nothing
_SKIPPED_SHOWN = 10


@dataclass(frozen=True)
class Parts:
    """A data set, and what becomes of it."""

    everything: Dataset
    train: Dataset
    validation: Dataset | None
    test: Dataset


def read(source: str, image_size: tuple[int, ...] | None = None, channels: int | None = None) -> Dataset:
    """The data set of a name, a folder or a file; the arguments are those of `striate.data.load`."""
    size = image_size[0] if image_size and len(image_size) == 1 else image_size
    with reading_bar() as progress:
        return data.load(source, image_size=size, channels=channels, progress=progress)  # type: ignore[arg-type]


def absolute(source: str) -> str:
    """The same source, good in any folder."""
    return source if source in data.embedded() else str(Path(source).expanduser().resolve())


def split(everything: Dataset, test_fraction: float, seed: int) -> Parts:
    """Hold out a test part, and a tenth of the training part to validate on unless it is tiny."""
    train, test = everything.split(test_fraction, seed)
    if len(train) < _LEAST_TO_VALIDATE:
        return Parts(everything, train, None, test)
    return Parts(everything, *train.split(_VALIDATION_FRACTION, seed), test)


def tell(parts: Parts, seed: int) -> None:
    """Say what was read, what was skipped, and how it was split."""
    everything, validation = parts.everything, parts.validation
    print(f"{everything.name}: {everything.describe()}")
    for note in everything.notes:
        print(note)
    skipped = everything.skipped
    if skipped:
        print(f"Skipped {len(skipped):,} file{'s' * (len(skipped) > 1)} that cannot be read:")
        for file in skipped[:_SKIPPED_SHOWN]:
            print(f"  {file}")
        if len(skipped) > _SKIPPED_SHOWN:
            print(f"  and {len(skipped) - _SKIPPED_SHOWN:,} more, listed in the report")
    uses = ((parts.train, "train"), (validation, "validate"), (parts.test, "test"))
    drawn = "each class in proportion" if everything.class_names else "drawn at random"
    how = "the data's own test part" if everything.test else drawn
    counts = [f"{len(part):,} to {use}" for part, use in uses if part]
    print(Choice("split", ", ".join(counts), f"{how}, seed {seed}"))
    if validation:
        print(
            "The curves use the validation part, a tenth of the training data; the test part is used once, at the end."
        )
