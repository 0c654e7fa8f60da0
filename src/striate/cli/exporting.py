"""What `striate export` does: write a run's model as a file, check it, and say how near it is to the model."""

from __future__ import annotations

import shlex
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from striate.cli.trained import Trained, open_trained
from striate.cli.using import own_parts
from striate.errors import ArgumentError
from striate.export import quantize, to_onnx, to_torch_export
from striate.export.writing import writable
from striate.shapes import one_of

_ENDINGS = {"onnx": ".onnx", "torch": ".pt2"}
_CALIBRATED = 256  # samples


def export_run(
    run_name: str,
    to: str,
    output: str | None,
    batch: Any,
    opset: int | None,
    int8: bool,
    max_drop: float,
    runs_folder: str,
) -> None:
    """Export the model of a run and print what came of it."""
    one_of(to, tuple(_ENDINGS), "--to")
    if to != "onnx" and (int8 or opset is not None):
        raise ArgumentError(f"{'--int8' if int8 else '--opset'} is for ONNX: leave it out, or give --to onnx.")
    trained = open_trained(run_name, runs_folder)
    name = f"model{'-int8' if int8 else ''}{_ENDINGS[to]}"
    path = trained.run.folder / name if output is None else Path(output)
    config = trained.config
    asked: dict[str, Any] = {
        "input_shape": trained.input_shape,
        "values": "bytes" if config["rescale"] else "floats",
        "task": config["task"],
        "class_names": trained.class_names,
        "outputs": config["outputs"],
        "batch": batch,
    }
    if int8:
        print(_quantized(trained, path, {**asked, "opset": opset}, max_drop))
    elif to == "onnx":
        print(to_onnx(trained.model, path, **asked, opset=opset))
    else:
        print(to_torch_export(trained.model, path, **asked))
    if config.get("test_time_augmentation"):
        print("  shows each image once: the changes of --test-time-augmentation are not in the file")
    if len(trained.input_shape) == 3:
        print(f"Next:\n  striate predict {shlex.quote(str(path))} IMAGE")


def _quantized(trained: Trained, path: Path, asked: dict[str, Any], max_drop: float) -> Any:
    """The int8 file, calibrated on training samples and judged on the run's test part."""
    writable(path, ".onnx")
    parts = own_parts(trained)
    count = len(parts.train)
    rows = np.random.default_rng(trained.config["seed"]).permutation(count)[:_CALIBRATED]
    calibration = np.stack([np.asarray(parts.train.x[row]) for row in np.sort(rows).tolist()])
    with tempfile.TemporaryDirectory() as folder:
        exported = to_onnx(trained.model, Path(folder, "model.onnx"), **asked)
        return quantize(exported.path, path, calibration, (parts.test.x, parts.test.y), max_drop=max_drop)
