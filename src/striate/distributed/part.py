"""What one of several processes has of a batch."""

from __future__ import annotations

from typing import Any


class Part(tuple[Any, Any, Any]):
    """A process's part of a batch, `(x, y, sample_weight)`.

    Attributes:
        counted: how many of its samples count. None does where the batch has fewer samples than there are processes:
            the one sample of this part stands in, so that the process takes part in the step.
        whole: how many samples the batch has in all processes.
    """

    counted: int
    whole: int

    @staticmethod
    def of(batch: tuple[Any, Any, Any], counted: int, whole: int) -> Part:
        """A part of a batch of so many samples, of whose own samples so many count."""
        part = Part(batch)
        part.counted, part.whole = counted, whole
        return part
