"""Training on several processes, on one machine or many, with `torch.distributed`.

Each process runs the same program: `torchrun` starts them, or `striate train --devices N`. In a program of one's own,
`join()` comes first; `fit`, `evaluate` and `predict` are then called by all processes, and each does its part.
"""

from striate.distributed.batch_norm import synchronised
from striate.distributed.processes import World, join, joined, leave, world
from striate.distributed.sharding import is_sharded, like, shard, whole, whole_state

__all__ = [
    "World",
    "is_sharded",
    "join",
    "joined",
    "leave",
    "like",
    "shard",
    "synchronised",
    "whole",
    "whole_state",
    "world",
]
