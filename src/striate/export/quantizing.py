"""8-bit integers after training: weights and activations of an ONNX file, with ranges that real samples show.

Each product of a layer is taken on integers, with a scale for each output channel of the weights and one for each
activation (Jacob et al., 2018). Weights have 7 bits if the accuracy allows it: on x86 processors without VNNI, sums of
two products of 8 bits overflow in onnxruntime, unless it is told to take a slower way.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from striate._lazy import require
from striate.account.summary import size_text
from striate.errors import ArgumentError, SavedModelError
from striate.export.description import KEY, Description
from striate.export.onnx_file import EXTRA, onnx_function, onnxruntime
from striate.export.reading import ExportedModel, load
from striate.export.verifying import quiet, refused
from striate.export.writing import put, writable
from striate.inference.timing import race

MAX_DROP = 0.01
_LAST = ("Softmax", "Sigmoid")
_ADVICE = "The file that it was made of works as it is."


@dataclass(frozen=True)
class Measured:
    """What a file is worth, and what it costs.

    Attributes:
        quality: of the predictions for the test samples: the accuracy, the share of right labels, or R².
        size: in bytes.
        seconds: of the fastest of several runs with one sample (or as many as the file takes), in one thread.
    """

    quality: float
    size: int
    seconds: float


@dataclass(frozen=True)
class Quantized:
    """An int8 file beside the one that it was made of; it prints as a few lines.

    Attributes:
        path: where it lies.
        description: what it says of itself.
        measure: what `Measured.quality` is.
        before: the file that it was made of.
        after: the new one.
        weight_bits: 7, or 8 where 7 cost too much.
    """

    path: Path
    description: Description
    measure: str
    before: Measured
    after: Measured
    weight_bits: int

    def __str__(self) -> str:
        before, after = self.before, self.after
        caution = "  7 bits cost more. Where a processor lacks VNNI, set onnxruntime's session.x64quantprecision to 1"
        return "\n".join(
            [
                f"{self.path} ({size_text(after.size)})",
                *(f"  {line}" for line in self.description.lines()),
                f"  weights in {self.weight_bits} bits, activations in 8; beside float32:",
                f"  {self.measure} {before.quality:.2%} → {after.quality:.2%}",
                f"  size {size_text(before.size)} → {size_text(after.size)}",
                f"  time of a run, one thread {1e6 * before.seconds:,.0f} µs → {1e6 * after.seconds:,.0f} µs",
                *([caution] if self.weight_bits == 8 else []),
            ]
        )


def quantize(
    source: str | Path, path: str | Path, calibration: Any, test: tuple[Any, Any], *, max_drop: float = MAX_DROP
) -> Quantized:
    """Write an ONNX file in 8-bit integers, unless that costs too much of its accuracy.

    Args:
        source: a file of `to_onnx`.
        path: where to write; the name ends in `.onnx`.
        calibration: some hundred real samples, as the model takes them, for the ranges of activations.
        test: samples and their labels (indices of classes, or a row of 0 and 1 for each sample with several labels),
            or numbers, on which both files are judged.
        max_drop: by how much the accuracy, the share of right labels or R² may fall: 0.01 is one percentage point.

    Raises:
        ArgumentError: the path cannot be written, or the source is no ONNX file with one output of known meaning.
        SavedModelError: the accuracy falls further, or nothing in the model can be quantised; no file is left.

    Example:
        >>> print(quantize("digits.onnx", "digits-int8.onnx", train.x[:256], (test.x, test.y)))  # doctest: +SKIP
        digits-int8.onnx (66.94 KB)
          takes input: uint8 (None, 8, 8, 1), NHWC, from 0 to 255
          gives output: float32 (None, 10), probabilities of 10 classes
          weights in 7 bits, activations in 8; beside float32:
          accuracy 98.33% → 98.05%
          size 229.40 KB → 66.94 KB
          time of a run, one thread 23 µs → 25 µs
    """
    path = writable(path, ".onnx")
    if not 0 <= max_drop <= 1:
        raise ArgumentError(f"max_drop={max_drop}: expected a number from 0 to 1.")
    before = load(source)
    own = before.description
    if before.path.suffix.lower() != ".onnx":
        raise ArgumentError(f"{source}: 8-bit integers are for ONNX files; expected one that to_onnx wrote.")
    if own.meaning is None or len(own.outputs) != 1:
        raise ArgumentError(
            f"{source} does not say what its output means, so that its accuracy could be measured: export it with "
            "class_names or outputs."
        )
    description = replace(own, precision="int8")
    measure, first = _quality(before, *test)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        for bits in (7, 8):
            file = Path(folder, f"{bits}-{path.name}")
            with refused(path, _ADVICE), quiet():
                _write(before, calibration, description, bits, file)
                after = load(file)
            _, second = _quality(after, *test)
            if first - second <= max_drop:
                break
        else:
            raise SavedModelError(
                f"{path} was not written: in 8-bit integers the {measure} falls from {first:.2%} to {second:.2%}, by "
                f"more than {max_drop:.2%}. Calibrate with more samples, or allow it: max_drop=..., or --max-drop."
            )
        runs = {name: onnx_function(model.path, threads=1)[0] for name, model in (("before", before), ("after", after))}
        sample = torch.from_numpy(np.asarray(calibration[: own.batch or 1], dtype=own.inputs[0].dtype))
        seconds = race({name: partial(run, [sample]) for name, run in runs.items()}, torch.device("cpu"))
        content = file.read_bytes()
    put(content, path)
    size = Path(source).stat().st_size
    return Quantized(
        path,
        description,
        measure,
        Measured(first, size, min(seconds["before"])),
        Measured(second, len(content), min(seconds["after"])),
        bits,
    )


def _write(model: ExportedModel, calibration: Any, description: Description, bits: int, file: Path) -> None:
    library = onnxruntime(".quantization")
    prepare = onnxruntime(".quantization.shape_inference").quant_pre_process
    onnx = require("onnx", EXTRA)
    name, size = description.inputs[0].name, description.batch
    samples = np.asarray(calibration, dtype=description.inputs[0].dtype)
    size = size or min(len(samples), 32)
    batches = [samples[start : start + size] for start in range(0, len(samples) - size + 1, size)]
    if not batches:
        raise ArgumentError(f"The calibration has {len(samples)} samples; expected some hundred, of {size} at once.")

    class Reader(library.CalibrationDataReader):  # type: ignore[name-defined]
        def __init__(self) -> None:
            self.feeds: Iterator[dict[str, np.ndarray]] = ({name: batch} for batch in batches)

        def get_next(self) -> dict[str, np.ndarray] | None:
            return next(self.feeds, None)

    prepared = file.with_name(f"prepared-{file.name}")
    prepare(model.path, prepared, skip_symbolic_shape=True)
    graph = onnx.load(prepared).graph
    given = {output.name for output in graph.output}
    library.quantize_static(
        prepared,
        file,
        Reader(),
        per_channel=True,
        reduce_range=bits == 7,
        activation_type=library.QuantType.QUInt8,
        weight_type=library.QuantType.QInt8,
        nodes_to_exclude=[node.name for node in graph.node if node.op_type in _LAST and given & set(node.output)],
    )
    made = onnx.load(file)
    _free_outputs(made.graph)
    if not any(node.op_type == "QuantizeLinear" for node in made.graph.node):
        raise SavedModelError(f"Nothing in {model.path} can be brought to 8-bit integers. {_ADVICE}")
    onnx.helper.set_model_props(made, {KEY: description.to_json()})
    file.write_bytes(made.SerializeToString())


def _free_outputs(graph: Any) -> None:
    """Take the rounding from the outputs: it would hold numbers to the range that the calibration shows.

    Probabilities would all be multiples of 0.4 %, so that the function that makes them is left as it is, too.
    """
    makers = {output: node for node in graph.node for output in node.output}
    outputs = {value.name for value in graph.output}
    last = [makers[name] for name in outputs if name in makers and makers[name].op_type in _LAST]
    for name in outputs | {node.input[0] for node in last}:
        back = makers.get(name)
        if back is None or back.op_type != "DequantizeLinear":
            continue
        rounding = makers[back.input[0]]
        exact = rounding.input[0]
        graph.node.remove(back)
        if not any(rounding.output[0] in node.input for node in graph.node):
            graph.node.remove(rounding)
        for node in graph.node:
            for names in (node.input, node.output):
                names[:] = [name if each == exact else each for each in names]
    used = {name for node in graph.node for name in node.input}
    for item in [item for item in graph.initializer if item.name not in used]:
        graph.initializer.remove(item)


def _quality(model: ExportedModel, x: Any, y: Any) -> tuple[str, float]:
    """What is measured, and how much of it there is; 1 is the most."""
    values, truth = np.asarray(model.predict(x)), np.asarray(y)
    if model.description.meaning == "numbers":
        truth = truth.reshape(values.shape)
        spread = ((truth - truth.mean(0)) ** 2).sum()
        return "R²", float(1 - ((truth - values) ** 2).sum() / spread)
    if truth.ndim == 2:
        return "share of right labels", float(((values > 0.5) == (truth > 0.5)).mean())
    predicted = values[:, 0] > 0.5 if values.shape[1] == 1 else values.argmax(1)
    return "accuracy", float((predicted == truth).mean())
