"""Models as files for other programs: ONNX and `torch.export`, each run and held against the model before it stays.

`to_onnx` and `to_torch_export` write any torch module, `quantize` brings an ONNX file to 8-bit integers, `load` opens
what they wrote. `description` is what a file says of itself: classes, preprocessing, and what its outputs mean.
"""

from striate.export.description import Description, Port
from striate.export.quantizing import Measured, Quantized, quantize
from striate.export.reading import SUFFIXES, ExportedModel, load
from striate.export.writing import Exported, to_onnx, to_torch_export

__all__ = [
    "SUFFIXES",
    "Description",
    "Exported",
    "ExportedModel",
    "Measured",
    "Port",
    "Quantized",
    "load",
    "quantize",
    "to_onnx",
    "to_torch_export",
]
