"""Models: `Sequential` for stacks, `Model` for graphs, and their files."""

from striate.layers.input import Input
from striate.models.model import Model
from striate.models.saving import load
from striate.models.sequential import Sequential

__all__ = ["Input", "Model", "Sequential", "load"]
