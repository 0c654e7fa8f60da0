"""Inference at the machine's real speed: the engines that are at hand are built, checked, timed; the fastest stays.

`optimize` is the way in; `switching` is how predictions of many batches come to use it. `subject` holds what is
optimised and `exporting` the graph of its operations, `torch_engines`, `graph_engines` and `exported_engines` make the
engines, `exactness` says how near their outputs are, `timing` how fast they are, `report` what came of it.
"""

from striate.inference.exactness import TOLERANCES, Tolerance
from striate.inference.optimizing import ENGINES, Optimized, optimize
from striate.inference.report import Attempt, Report

__all__ = ["ENGINES", "TOLERANCES", "Attempt", "Optimized", "Report", "Tolerance", "optimize"]
