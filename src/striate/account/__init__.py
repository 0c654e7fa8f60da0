"""What a network costs, before it is trained: neurons, parameters, operations and memory of any module."""

from striate.account.comparison import Comparison, compare, dense_equivalent
from striate.account.counting import count
from striate.account.entry import Entry, Step
from striate.account.formulas import Cost, register
from striate.account.ledger import Ledger
from striate.account.peak import Memory, Saving, memory
from striate.account.receptive import ReceptiveField

__all__ = [
    "Comparison",
    "Cost",
    "Entry",
    "Ledger",
    "Memory",
    "ReceptiveField",
    "Saving",
    "Step",
    "compare",
    "count",
    "dense_equivalent",
    "memory",
    "register",
]
