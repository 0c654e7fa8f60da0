"""Striate: a neural-network workbench for computer vision, on PyTorch.

Names are imported when they are first used, so that `import striate` and the command line start at once: torch takes
seconds to import.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_MODULES = (
    "account",
    "activations",
    "budget",
    "callbacks",
    "caption",
    "constraints",
    "data",
    "detection",
    "distributed",
    "errors",
    "export",
    "faces",
    "inference",
    "initializers",
    "layers",
    "losses",
    "metrics",
    "models",
    "optimizers",
    "regularizers",
    "report",
    "schedules",
    "see",
    "segmentation",
    "sources",
    "track",
    "train",
    "transfer",
    "zoo",
)
_NAMES = {
    "Input": "striate.layers",
    "Model": "striate.models",
    "Neuron": "striate.neuron",
    "Sequential": "striate.models",
    "StriateError": "striate.errors",
    "compare": "striate.account",
    "count": "striate.account",
    "fit": "striate.train",
    "load": "striate.models",
    "memory": "striate.account",
    "optimize": "striate.inference",
    "wrap": "striate.layers",
}
__all__ = [*_MODULES, *_NAMES, "__version__"]

if TYPE_CHECKING:
    from striate import account as account
    from striate import activations as activations
    from striate import budget as budget
    from striate import callbacks as callbacks
    from striate import caption as caption
    from striate import constraints as constraints
    from striate import data as data
    from striate import detection as detection
    from striate import distributed as distributed
    from striate import errors as errors
    from striate import export as export
    from striate import faces as faces
    from striate import inference as inference
    from striate import initializers as initializers
    from striate import layers as layers
    from striate import losses as losses
    from striate import metrics as metrics
    from striate import models as models
    from striate import optimizers as optimizers
    from striate import regularizers as regularizers
    from striate import report as report
    from striate import schedules as schedules
    from striate import see as see
    from striate import segmentation as segmentation
    from striate import sources as sources
    from striate import track as track
    from striate import train as train
    from striate import transfer as transfer
    from striate import zoo as zoo
    from striate.account import compare as compare
    from striate.account import count as count
    from striate.account import memory as memory
    from striate.errors import StriateError as StriateError
    from striate.inference import optimize as optimize
    from striate.layers import Input as Input
    from striate.layers import wrap as wrap
    from striate.models import Model as Model
    from striate.models import Sequential as Sequential
    from striate.models import load as load
    from striate.neuron import Neuron as Neuron
    from striate.train import fit as fit


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return importlib.import_module(f"striate.{name}")
    if name in _NAMES:
        return getattr(importlib.import_module(_NAMES[name]), name)
    raise AttributeError(f"module 'striate' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
