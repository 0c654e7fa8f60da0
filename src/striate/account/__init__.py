"""What a network costs, before it is trained: neurons, parameters and operations of any module."""

from striate.account.compare import Comparison, compare, dense_equivalent
from striate.account.count import count
from striate.account.formulas import Cost, register
from striate.account.ledger import Entry, Ledger

__all__ = ["Comparison", "Cost", "Entry", "Ledger", "compare", "count", "dense_equivalent", "register"]
