"""The classic filters, made by hand long before kernels were learned, and which of them a learned kernel is like."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F

from striate.see.images import as_batch, to_picture
from striate.see.style import WIDTH, Drawn, Theme, bare, show, signed

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Classic:
    """A filter made by hand.

    Attributes:
        name: what it is called.
        does: what it does to an image.
        kernel: 3 × 3 numbers, laid over the image as they stand, as the kernels of a network are.
        shows_change: it answers to differences between pixels, and with nothing where there are none.
    """

    name: str
    does: str
    kernel: np.ndarray
    shows_change: bool

    def on(self, grey: np.ndarray) -> np.ndarray:
        """What it makes of a grey image; beyond its border, the outermost pixels go on."""
        image = F.pad(torch.tensor(grey, dtype=torch.float64)[None, None], (1, 1, 1, 1), "replicate")
        return F.conv2d(image, torch.tensor(self.kernel)[None, None])[0, 0].numpy()


def _classic(name: str, does: str, *rows: tuple[float, float, float], divided_by: float = 1) -> Classic:
    kernel = np.array(rows, dtype=np.float64) / divided_by
    return Classic(name, does, kernel, bool(abs(kernel.sum()) < 1e-12))


CLASSICS = (
    _classic("identity", "leaves the image as it is", (0, 0, 0), (0, 1, 0), (0, 0, 0)),
    _classic("box blur", "averages 9 pixels alike", (1, 1, 1), (1, 1, 1), (1, 1, 1), divided_by=9),
    _classic("Gaussian blur", "averages, the nearest most", (1, 2, 1), (2, 4, 2), (1, 2, 1), divided_by=16),
    _classic("sharpen", "adds what a blur takes away", (0, -1, 0), (-1, 5, -1), (0, -1, 0)),
    _classic("Sobel x", "brighter to the right: upright edges", (-1, 0, 1), (-2, 0, 2), (-1, 0, 1)),
    _classic("Sobel y", "brighter below: level edges", (-1, -2, -1), (0, 0, 0), (1, 2, 1)),
    _classic("Prewitt x", "upright edges, all rows alike", (-1, 0, 1), (-1, 0, 1), (-1, 0, 1)),
    _classic("Prewitt y", "level edges, all columns alike", (-1, -1, -1), (0, 0, 0), (1, 1, 1)),
    _classic("Laplacian", "edges and spots of all directions", (0, 1, 0), (1, -4, 1), (0, 1, 0)),
    _classic("emboss", "lights the image from one corner", (-2, -1, 0), (-1, 1, 1), (0, 1, 2)),
)


@dataclass(frozen=True)
class Nearest:
    """The classic filter that a kernel is most like.

    Attributes:
        name: its name.
        similarity: the cosine of the angle between the two, from −1 to 1; below zero the kernel is the classic turned
            to its opposite.
    """

    name: str
    similarity: float

    def __str__(self) -> str:
        return f"{'−' if self.similarity < 0 else ''}{self.name} {abs(self.similarity):.2f}"


def nearest(kernel: np.ndarray) -> Nearest | None:
    """The classic that a kernel (height, width) is most like; other sizes than 3 × 3 are compared with it scaled.

    Returns:
        `None` for kernels of less than 3 × 3 and for those that are all zero.

    Example:
        >>> print(nearest(np.array([[1.0, 0, -1], [2, 0, -2], [1, 0, -1]])))
        −Sobel x 1.00
    """
    length = np.linalg.norm(kernel)
    if min(kernel.shape) < 3 or not length:
        return None
    found = []
    for classic in CLASSICS:
        scaled = _scaled(classic.kernel, kernel.shape)
        found.append(Nearest(classic.name, float((kernel * scaled).sum() / length / np.linalg.norm(scaled))))
    return max(found, key=lambda one: abs(one.similarity))


@dataclass(frozen=True)
class Gallery(Drawn):
    """The classic filters and what each makes of an image.

    Attributes:
        image: grey, from 0 to 1.
        filters: the filters.
    """

    image: np.ndarray
    filters: tuple[Classic, ...]

    @property
    def results(self) -> dict[str, np.ndarray]:
        """What each filter makes of the image, by name."""
        return {classic.name: classic.on(self.image) for classic in self.filters}

    @property
    def alt(self) -> str:
        return "Classic filters and what each makes of an image: " + "; ".join(
            f"{classic.name} {classic.does}" for classic in self.filters
        )

    def text(self) -> str:
        """The kernels in numbers.

        Example:
            >>> gallery().text().splitlines()[5:7]
            ['box blur: averages 9 pixels alike', '0.111  0.111  0.111']
        """
        blocks = []
        for classic in self.filters:
            rows = ["  ".join(f"{value:5.3g}" for value in row) for row in classic.kernel]
            blocks.append("\n".join([f"{classic.name}: {classic.does}", *rows]))
        return "\n\n".join(blocks)

    def _draw(self, theme: Theme) -> Figure:
        from matplotlib.figure import Figure

        rows = (len(self.filters) + 1) // 2
        figure = Figure(figsize=(WIDTH, 1.75 * rows + 0.3))
        grid = figure.add_gridspec(rows, 4, left=0.02, right=0.98, top=1 - 0.62 / (1.75 * rows), bottom=0.01,
                                   hspace=0.42, wspace=0.06)  # fmt: skip
        figure.suptitle("Classic filters, and what each makes of an image", x=0.02, y=0.995, ha="left", va="top")
        results = self.results
        for index, classic in enumerate(self.filters):
            row, column = index // 2, 2 * (index % 2)
            left, right = (figure.add_subplot(grid[row, column + side]) for side in (0, 1))
            _show_numbers(left, classic.kernel, theme)
            left.set_title(f"{classic.name}\n{classic.does}", linespacing=1.4)
            result = results[classic.name]
            if classic.shows_change:
                most = np.quantile(abs(result), 0.99) or 1
                show(right, result, cmap=signed(theme), vmin=-most, vmax=most)
            else:
                show(right, to_picture(result.clip(0, 1)))
        return figure


def gallery(image: Any = None) -> Gallery:
    """The classic filters: Sobel, Prewitt, Laplacian, blurs, sharpening and embossing, each at work on an image.

    Args:
        image: an array or tensor, grey or in colour, or a path; by default a disc, bars and a ramp.

    Example:
        >>> gallery().filters[4].kernel
        array([[-1.,  0.,  1.],
               [-2.,  0.,  2.],
               [-1.,  0.,  1.]])
    """
    if image is None:
        return Gallery(_test_image(), CLASSICS)
    picture = to_picture(as_batch(torch.nn.Identity(), image))
    return Gallery(picture @ np.array([0.299, 0.587, 0.114]) / 255, CLASSICS)  # as BT.601 weighs the colours


def _test_image() -> np.ndarray:
    """Edges in all directions, fine bars, a soft ramp and a dot: what the filters treat differently."""
    rows, columns = np.mgrid[0:64, 0:64]
    image = 0.25 + 0.3 * columns / 63
    image[(rows - 22) ** 2 + (columns - 22) ** 2 < 15**2] = 0.95
    bars = (rows > 42) & (rows < 58) & (columns > 8) & (columns < 40)
    image[bars] = np.where(columns[bars] // 2 % 2, 0.9, 0.1)
    image[(abs(rows - columns + 26) < 3) & (columns > 40)] = 0.05
    image[50:52, 50:52] = 1.0
    return image


def _scaled(kernel: np.ndarray, size: tuple[int, ...]) -> np.ndarray:
    whole = torch.tensor(kernel)[None, None]
    return F.interpolate(whole, size=size, mode="bilinear", align_corners=True)[0, 0].numpy()


def _show_numbers(axes: Any, kernel: np.ndarray, theme: Theme) -> None:
    """A kernel as tiles with its numbers on them."""
    most = abs(kernel).max()
    show(axes, kernel, cmap=signed(theme), vmin=-1.6 * most, vmax=1.6 * most)  # paler, so that numbers stand out
    bare(axes)
    for (row, column), value in np.ndenumerate(kernel):
        axes.text(column, row, _short(value), ha="center", va="center", size=8, color=theme.ink)


def _short(value: float) -> str:
    """A small fraction as such.

    >>> _short(1 / 9), _short(0.125), _short(-2.0)
    ('1/9', '1/8', '−2')
    """
    if value and abs(value) < 1:
        return f"1/{round(1 / value)}".replace("-", "−")
    return f"{value:g}".replace("-", "−")
