"""Captions from a step function that gives the next word's log-probabilities: the best ones, or drawn ones."""

from striate.caption.search.beams import beam_search
from striate.caption.search.hypothesis import Hypothesis
from striate.caption.search.prefixes import State, Step
from striate.caption.search.sampling import sample

__all__ = ["Hypothesis", "State", "Step", "beam_search", "sample"]
