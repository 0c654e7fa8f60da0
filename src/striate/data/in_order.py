"""Work done ahead by a pool, handed over in the order in which it was asked for."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def in_order(
    function: Callable[[Item], Result], items: Iterable[Item], *, threads: int, ahead: int
) -> Iterator[Result]:
    """`function` of each item, in the items' order, computed by threads.

    Unlike `ThreadPoolExecutor.map`, no more than `ahead` results wait to be used, so that memory is bounded.

    Example:
        >>> list(in_order(abs, [-3, 2, -1], threads=2, ahead=1))
        [3, 2, 1]
    """
    waiting: deque[Future[Result]] = deque()
    with ThreadPoolExecutor(threads) as pool:
        try:
            for item in items:
                waiting.append(pool.submit(function, item))
                if len(waiting) > ahead:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()
