"""Data sets for the commands: read with a bar, split, told in lines."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from striate import data
from striate.cli.screen import reading_bar
from striate.data import Dataset, leakage_note
from striate.errors import DataError
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
    """Hold out a test part, and one to validate on: the data's own, or a tenth of the training part unless it is tiny.

    Raises:
        DataError: each sample may have several labels.
    """
    if everything.task == "multilabel":
        raise DataError(
            f"{everything.name} has several labels for a sample; the command line learns one. In Python: "
            "data = striate.data.load(...), then fit(data.x, data.y) with a sigmoid and the loss binary_crossentropy."
        )
    train, test = everything.split(test_fraction, seed)
    if everything.validation:
        return Parts(everything, train, everything.validation, test)
    if len(train) < _LEAST_TO_VALIDATE:
        return Parts(everything, train, None, test)
    return Parts(everything, *train.split(_VALIDATION_FRACTION, seed), test)


def tell(parts: Parts, seed: int) -> None:
    """Say what was read, what was skipped, and how it was split."""
    everything, validation = parts.everything, parts.validation
    print(f"{everything.name}: {everything.describe()}")
    if everything.class_names and len(set(everything.class_counts.tolist())) > 1:
        print(f"Classes: {everything.balance()}")
    for note in everything.notes:
        print(note)
    for name, part in (("validation", validation), ("test", parts.test)):
        leak = leakage_note(parts.train, name, part) if part else None
        if leak:
            print(leak)
    skipped = everything.skipped
    if skipped:
        print(f"Skipped {len(skipped):,} file{'s' * (len(skipped) > 1)} that cannot be read:")
        for file in skipped[:_SKIPPED_SHOWN]:
            print(f"  {file}")
        if len(skipped) > _SKIPPED_SHOWN:
            print(f"  and {len(skipped) - _SKIPPED_SHOWN:,} more, listed in the report")
    uses = ((parts.train, "train"), (validation, "validate"), (parts.test, "test"))
    drawn = "each class in proportion" if everything.class_names else "drawn at random"
    drawn = drawn if everything.groups is None else "in whole groups"
    how = "the data's own test part" if everything.test else drawn
    counts = [f"{len(part):,} to {use}" for part, use in uses if part]
    print(Choice("split", ", ".join(counts), f"{how}, seed {seed}"))
    if validation:
        tenth = "the data's own" if everything.validation else "a tenth of the training data"
        print(f"The curves use the validation part, {tenth}; the test part is used once, at the end.")
