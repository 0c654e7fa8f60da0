"""What a network costs, before it is trained: neurons, parameters, operations and memory of any module."""

from striate.account.comparison import Comparison, compare, dense_equivalent
from striate.account.counting import count
from striate.account.formulas import Cost, register
from striate.account.ledger import Entry, Ledger
from striate.account.peak import Memory, memory

__all__ = [
    "Comparison",
    "Cost",
    "Entry",
    "Ledger",
    "Memory",
    "compare",
    "count",
    "dense_equivalent",
    "memory",
    "register",
]
