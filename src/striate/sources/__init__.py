"""Where a model can come from: a name of Striate's, of torchvision or timm, a function, a file, a folder.

No weights are downloaded, and no code runs that a file brings with it; a `path.py:function` is the user's own.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import torch

from striate import models, zoo
from striate._registry import suggestion
from striate.errors import SavedModelError, UnknownNameError
from striate.models import Model, small
from striate.sources.exported import read_exported
from striate.sources.functions import is_function, model_from
from striate.sources.hugging_face import hugging_face_model
from striate.sources.keras_models import keras_file
from striate.sources.library import timm_model, torchvision_model, zoo_model
from striate.sources.safetensors_header import INDEX, read_header, read_parameters
from striate.sources.small_networks import names, small_network
from striate.sources.source import Source, only_shape, sample

__all__ = ["Source", "find", "of_model"]

_LIBRARIES = {"torchvision": torchvision_model, "timm": timm_model}
_IMAGE, _CLASSES = (28, 28, 1), 10  # for functions of the user's
_PICKLED = (".pt", ".pth", ".bin", ".ckpt", ".pkl")
EXPECTED = (
    "Expected a small network (perceptron, dense, lenet, cnn, rnn), also with a data set's shape (dense-mnist), "
    "a backbone (`striate zoo` lists them), torchvision:NAME, timm:NAME, path.py:function, a .safetensors, .pt2, .onnx "
    "or .keras file, or a folder with a config.json."
)


def find(
    name: str,
    input_shape: Sequence[int] | None = None,
    classes: int | None = None,
    others: Iterable[str] = (),
) -> Source:
    """A model by what people call it.

    | name | what it is |
    |---|---|
    | `lenet`, `dense-mnist`, `cnn-cifar10` | a small network of Striate's |
    | `resnet18` | a backbone of `striate.zoo`, without weights |
    | `torchvision:resnet50`, `timm:convnext_tiny` | a network of these libraries, without weights |
    | `path.py:function` | what a function of the user's makes |
    | `model.safetensors` | a model that Striate saved; of any other, the parameters |
    | `model.pt2`, `model.onnx`, `model.keras` | what torch.export, ONNX exporters and Keras write |
    | a folder | its config.json of Hugging Face, or its index of safetensors files |

    Args:
        name: one of these.
        input_shape: the shape of one sample, without the batch, in the model's own order of axes; by default the one
            that the model was made for.
        classes: the number of classes; by default the model's own, or 10.
        others: names that the caller knows besides, to suggest where none fits.

    Raises:
        UnknownNameError: it is none of these; the nearest names are suggested.
        SavedModelError: a file is broken.
        MissingExtraError: the package that reads it is not installed.
        ArgumentError: the model has no input shape of its own.

    Example:
        >>> find("dense-mnist").ledger().parameters, find("lenet-mnist").ledger().parameters
        (101770, 61706)
        >>> find("lenett")
        Traceback (most recent call last):
        striate.errors.UnknownNameError: Unknown model 'lenett'. Did you mean 'lenet' or 'lenet5' ...
    """
    shape = None if input_shape is None else tuple(input_shape)
    network = small_network(name, shape, classes)
    if network is not None:
        return of_model(name, "small network", network)
    if name in zoo.names():
        return zoo_model(name, shape, classes)
    if is_function(name):
        made = model_from(name, shape or _IMAGE, classes or _CLASSES, rescale=len(shape or _IMAGE) == 3)
        return of_model(name, "function", made)
    library, colon, rest = name.partition(":")
    if library in _LIBRARIES and colon:
        return _LIBRARIES[library](rest, shape, classes)
    path = Path(name).expanduser()
    if path.is_file():
        return _of_file(name, path, shape)
    if path.is_dir() and (path / "config.json").is_file():
        return hugging_face_model(path, shape)
    if path.is_dir() and any((path / file).is_file() for file in (INDEX, "model.safetensors")):
        return _of_parameters(name, path)
    known = [*small.names(), *zoo.names(), *others, *(f"{each}:{rest}" for each in _LIBRARIES if colon)]
    if path.parent.is_dir():
        known += [str(path.with_name(file.name)) for file in path.parent.iterdir() if path.suffix and file.is_file()]
    near = suggestion(name, known) or suggestion(name, names())
    raise UnknownNameError(f"Unknown model {name!r}.{near} {EXPECTED}")


def of_model(name: str, family: str, model: Model, input_shape: Sequence[int] | None = None) -> Source:
    """A model of Striate's layers as a source."""
    shapes = only_shape(name, [layer.shape for layer in model.input_layers], input_shape)
    dtypes = [getattr(torch, layer.dtype) for layer in model.input_layers]
    tensors = [sample(shape, dtype) for shape, dtype in zip(shapes, dtypes, strict=True)]
    return Source(name, family, model, (tensors,) if len(tensors) > 1 else tuple(tensors))


def _of_file(name: str, path: Path, shape: tuple[int, ...] | None) -> Source:
    ending = path.suffix.lower()
    if ending == ".pt2":
        module, inputs = read_exported(path)
        if shape is not None:
            (size,) = only_shape(name, [tensor.shape[1:] for tensor in inputs], shape)
            inputs = (sample(size, inputs[0].dtype, inputs[0].shape[0]),)
        return Source(name, "exported program", module, inputs)
    if ending == ".onnx":
        from striate.sources.onnx import read_onnx

        return Source(name, "ONNX file", read=lambda: read_onnx(path, shape))
    if ending == ".keras":
        return keras_file(path, shape)
    if ending in (".h5", ".hdf5"):
        raise SavedModelError(f"{path}: of Keras's files, .keras is read; load it in Keras and save it as .keras.")
    if ending in _PICKLED:
        raise SavedModelError(
            f"{path} may hold pickled code, which is not run here. Save it with torch.export.save as .pt2, or its "
            "weights as .safetensors."
        )
    if path.name.endswith(".index.json"):
        return _of_parameters(name, path)
    if "striate" in read_header(path)[1]:
        return of_model(name, "saved model", models.load(path), shape)
    return _of_parameters(name, path)


def _of_parameters(name: str, path: Path) -> Source:
    return Source(name, "safetensors header", read=lambda: read_parameters(path))
