"""Networks for a budget, and what to change in a model that is over it."""

from striate.budget.changes import Change
from striate.budget.designs import DenseDesign, Design, ImageDesign
from striate.budget.limits import Limits
from striate.budget.search import Proposal, propose, score
from striate.budget.shrinking import Plan, shrink

__all__ = ["Change", "DenseDesign", "Design", "ImageDesign", "Limits", "Plan", "Proposal", "propose", "score", "shrink"]
