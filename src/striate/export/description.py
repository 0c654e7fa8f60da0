"""What an exported file says of itself, in its metadata, so that it can be used without the program that made it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from torch import Tensor

from striate import __version__
from striate.data.dataset import Task
from striate.errors import SavedModelError
from striate.shapes import text

KEY = "striate"
"""The entry of an ONNX file's metadata; in a `.pt2` file it is the extra file `striate.json`."""

Meaning = Literal["probabilities", "scores", "label_scores", "numbers"]
"""What the outputs are: probabilities of the classes, scores that softmax makes into them, scores of labels that do not
exclude each other, each of which sigmoid makes into its probability, or numbers to predict."""
ACTIVATIONS = {"scores": "softmax", "label_scores": "sigmoid"}
"""What makes outputs of each meaning into probabilities."""
MEANINGS: tuple[Meaning, ...] = ("probabilities", "scores", "label_scores", "numbers")

Function = Callable[[Sequence[Tensor]], list[Tensor]]
"""A file that can be run: from the inputs in their order to the outputs in theirs."""


@dataclass(frozen=True)
class Port:
    """One input or output.

    Example:
        >>> print(Port("input", (None, 28, 28, 1), "uint8"))
        input: uint8 (None, 28, 28, 1)
    """

    name: str
    shape: tuple[int | None, ...]
    """With the batch, which is None if it is free."""
    dtype: str

    def __str__(self) -> str:
        return f"{self.name}: {self.dtype} {text(self.shape)}"


@dataclass(frozen=True)
class Description:
    """What goes in and out of an exported model, and what it means.

    Attributes:
        inputs: in the order in which the model takes them.
        outputs: in the order in which it gives them.
        layout: `"NHWC"` or `"NCHW"` where the input is images.
        values: `"bytes"` from 0 to 255, or `"floats"`.
        preprocessing: what an image goes through first, as `striate.zoo.preprocessing.Preprocessing.to_config()`
            has it. Without one an image is scaled until it covers the input's size, and its centre is cut out.
        task: what was learned.
        class_names: in the order of the outputs; empty where there are none.
        meaning: see `Meaning`; None if it is not known.
        precision: `"float32"` or `"int8"`.
        striate: the version that wrote the file.
    """

    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    layout: Literal["NHWC", "NCHW"] | None = None
    values: Literal["bytes", "floats"] = "floats"
    preprocessing: Mapping[str, Any] | None = None
    task: Task | None = None
    class_names: tuple[str, ...] = ()
    meaning: Meaning | None = None
    precision: Literal["float32", "int8"] = "float32"
    striate: str = __version__

    @property
    def batch(self) -> int | None:
        """How many samples it takes at once; None for any number."""
        return self.inputs[0].shape[0]

    @property
    def image_shape(self) -> tuple[int, int, int] | None:
        """Height, width and channels of the images that it takes; None if it takes something else."""
        shape = self.inputs[0].shape[1:]
        if self.layout is None or any(size is None for size in shape):
            return None
        first, second, third = (size or 0 for size in shape)
        return (second, third, first) if self.layout == "NCHW" else (first, second, third)

    def to_json(self) -> str:
        """The text that lies in the file."""
        return json.dumps(asdict(self), ensure_ascii=False)

    @classmethod
    def from_json(cls, content: str) -> Description:
        """What `to_json` wrote.

        Raises:
            SavedModelError: it did not.

        Example:
            >>> own = Description((Port("x", (None, 3), "float32"),), (Port("y", (None, 1), "float32"),))
            >>> Description.from_json(own.to_json()) == own
            True
        """
        try:
            fields = json.loads(content)
            for ports in ("inputs", "outputs"):
                fields[ports] = tuple(Port(**{**port, "shape": tuple(port["shape"])}) for port in fields[ports])
            return cls(**{**fields, "class_names": tuple(fields["class_names"])})
        except (ValueError, TypeError, LookupError) as error:
            raise SavedModelError(
                f"its description of itself cannot be read ({type(error).__name__}: {error}); "
                "export it again with this version of Striate"
            ) from error

    def lines(self) -> list[str]:
        """What goes in and out, for people."""
        range_text = ", from 0 to 255" if self.values == "bytes" else ""
        taken = [f"takes {port}{f', {self.layout}{range_text}' if self.layout else range_text}" for port in self.inputs]
        given = [f"gives {port}" for port in self.outputs]
        if self.meaning is not None:
            of = f" of {len(self.class_names):,} classes" if self.class_names else ""
            given[0] += f", {self.meaning.replace('_', ' ')}{of}"
        return [*taken, *given]


def described(path: str | Path, metadata: Mapping[str, str]) -> Description:
    """What a file says of itself.

    Raises:
        SavedModelError: it says nothing, or nothing that can be read.
    """
    if KEY not in metadata:
        raise SavedModelError(
            f"{path} was not exported by Striate: its metadata has no entry {KEY!r}, which names the classes, the "
            "preprocessing and what the outputs mean. Export the model with: striate export RUN, or in Python with "
            "striate.export.to_onnx."
        )
    try:
        return Description.from_json(metadata[KEY])
    except SavedModelError as error:
        raise SavedModelError(f"{path}: {error}.") from error
