"""A colour for each class, which colour-blind eyes tell apart.

Okabe and Ito, Color Universal Design, 2008: seven colours. Further classes have them darker, then paler, then again.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

_COLOURS = ("#e69f00", "#56b4e9", "#009e73", "#f0e442", "#0072b2", "#d55e00", "#cc79a7")
_TONES = ((0, 1.0), (0, 0.55), (255, 0.45))
"""What each round of the colours is mixed with, and how much of them is left."""


def class_colours(class_names: Sequence[str], background: str) -> np.ndarray:
    """The colours of the classes, uint8 (classes, 3).

    Args:
        class_names: the classes; one that is called background takes no colour from the others.
        background: its colour, as `"#f0f2f5"`.

    Example:
        >>> class_colours(("background", "cat", "dog"), "#000000").tolist()
        [[0, 0, 0], [230, 159, 0], [86, 180, 233]]
    """
    colours, taken = [], 0
    for name in class_names:
        if name.lower() == "background":
            colours.append(rgb(background))
            continue
        mixed, left = _TONES[taken // len(_COLOURS) % len(_TONES)]
        colours.append(np.rint(rgb(_COLOURS[taken % len(_COLOURS)]) * left + mixed * (1 - left)))
        taken += 1
    return np.array(colours, np.uint8)


def rgb(colour: str) -> np.ndarray:
    """A colour's three numbers from 0 to 255.

    >>> rgb("#ff8000").tolist()
    [255, 128, 0]
    """
    return np.array([int(colour[start : start + 2], 16) for start in (1, 3, 5)])
