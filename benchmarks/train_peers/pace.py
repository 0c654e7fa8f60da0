"""How a contender is told to train: it waits before each epoch for a line on its standard input.

Its answer is one line of JSON. Contenders of other frameworks run this in environments of their own: the standard
library alone.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time

EPOCHS = 1_000_000  # of `fit`, which is asked for one after the other and is ended from outside


def arguments() -> tuple[str, int]:
    """The net's name and the steps of an epoch, as the benchmark gives them."""
    parser = argparse.ArgumentParser()
    parser.add_argument("net")
    parser.add_argument("steps", type=int)
    parsed = parser.parse_args()
    return parsed.net, parsed.steps


class Pace:
    """Waits, times and answers.

    Args:
        amount: what one epoch gets done: images or operations.
    """

    def __init__(self, amount: float) -> None:
        self.amount = amount
        self._answers = os.fdopen(os.dup(1), "w")
        os.dup2(2, 1)  # what a framework prints is no answer

    def begin(self) -> None:
        """Wait for the word to go; leave when there will be none."""
        if not sys.stdin.readline():
            sys.exit()
        self._start = time.perf_counter()

    def end(self, loss: float | None = None) -> None:
        """Answer with the rate since `begin` and the loss, its mean over the epoch."""
        rate = self.amount / (time.perf_counter() - self._start)
        print(json.dumps({"rate": rate, "loss": loss}), file=self._answers, flush=True)
