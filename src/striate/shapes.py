"""Shape arithmetic on integers: no torch.

A shape is a tuple whose first entry is the batch, as Keras writes it: `(None, 28, 28, 1)`. `None` is a size that is
known only when data arrives; arithmetic on it gives `None`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal

from striate._registry import suggestion
from striate.errors import ArgumentError

Size = int | None
Shape = tuple[Size, ...]
Padding = Literal["valid", "same", "causal"]
DataFormat = Literal["channels_last", "channels_first"]


def product(sizes: Iterable[Size]) -> Size:
    """The product of sizes; `None` as soon as one is unknown.

    >>> product((26, 26, 32)), product((None, 4)), product(())
    (21632, None, 1)
    """
    total = 1
    for size in sizes:
        if size is None:
            return None
        total *= size
    return total


def text(shape: Sequence[Size]) -> str:
    """A shape as people read it.

    >>> text((None, 28, 28, 1)), text((None,))
    ('(None, 28, 28, 1)', '(None,)')
    """
    return str(tuple(shape))


def times(sizes: Iterable[Size]) -> str:
    """Factors of a product as people read them.

    >>> times((26, 26, 32))
    '26 × 26 × 32'
    """
    return " × ".join("?" if size is None else f"{size:,}" for size in sizes)


def number(value: Size) -> str:
    """A count with thousands separators, or `?` where it depends on the data's size."""
    return "?" if value is None else f"{value:,}"


def spread(value: int | Sequence[int], rank: int, name: str, *, minimum: int = 1) -> tuple[int, ...]:
    """One integer, or `rank` of them, as a tuple.

    >>> spread(3, 2, "kernel_size"), spread((3, 5), 2, "kernel_size")
    ((3, 3), (3, 5))

    Raises:
        ArgumentError: another number of integers, or one below `minimum`.
    """
    values = tuple(value) if isinstance(value, (list, tuple)) else (value,) * rank
    if len(values) != rank or any(not isinstance(v, int) or isinstance(v, bool) or v < minimum for v in values):
        expected = f"an integer of at least {minimum}" + (f" or {rank} of them" if rank > 1 else "")
        raise ArgumentError(f"{name}={value!r}: expected {expected}.")
    return values  # type: ignore[return-value]


def dilated(kernel: int, dilation: int) -> int:
    """The extent of a kernel whose taps are `dilation` apart.

    >>> dilated(3, 2)
    5
    """
    return (kernel - 1) * dilation + 1


def windows(size: Size, kernel: int, stride: int, padding: str, dilation: int = 1) -> Size:
    """How many windows of a convolution or pooling fit along one axis; zero or less if none does.

    >>> windows(28, 3, 1, "valid"), windows(28, 3, 2, "same"), windows(5, 3, 1, "valid", dilation=2)
    (26, 14, 1)
    """
    if size is None:
        return None
    if padding == "valid":
        return (size - dilated(kernel, dilation)) // stride + 1
    return -(-size // stride)  # "same" and "causal"


def same_padding(size: int, kernel: int, stride: int, dilation: int = 1) -> tuple[int, int]:
    """The cells added before and after an axis by `padding="same"`; the odd one goes after, as in Keras.

    >>> same_padding(28, 3, 1), same_padding(28, 3, 2), same_padding(5, 2, 1)
    ((1, 1), (0, 1), (0, 1))
    """
    # Not -(-size // stride): sizes may be symbols of torch.export, which cannot negate inside a floor division.
    count = (size + stride - 1) // stride
    total = max((count - 1) * stride + dilated(kernel, dilation) - size, 0)
    return total // 2, total - total // 2


def normal_axis(axis: int, rank: int, name: str = "axis") -> int:
    """A negative axis counted from the end, checked.

    >>> normal_axis(-1, 4)
    3
    """
    if not isinstance(axis, int) or isinstance(axis, bool) or not -rank <= axis < rank:
        raise ArgumentError(f"{name}={axis!r}: expected an integer from {-rank} to {rank - 1} for {rank} axes.")
    return axis % rank


def channels_axis(data_format: str, rank: int) -> int:
    """Where the channels are in a shape of `rank` axes, the batch included."""
    return rank - 1 if data_format == "channels_last" else 1


def spatial(shape: Sequence[Size], data_format: str) -> Shape:
    """The spatial sizes of a shape: without batch and channels.

    >>> spatial((None, 28, 30, 3), "channels_last"), spatial((None, 3, 28, 30), "channels_first")
    ((28, 30), (28, 30))
    """
    return tuple(shape[1:-1]) if data_format == "channels_last" else tuple(shape[2:])


def image_shape(batch: Size, sizes: Iterable[Size], channels: Size, data_format: str) -> Shape:
    """A shape from its parts, the inverse of `spatial`."""
    if data_format == "channels_last":
        return (batch, *sizes, channels)
    return (batch, channels, *sizes)


def one_of(value: object, allowed: Sequence[object], name: str) -> None:
    """Check an argument that takes one of a few values.

    Raises:
        ArgumentError: `value` is none of `allowed`.
    """
    if value not in allowed:
        near = suggestion(str(value), [item for item in allowed if isinstance(item, str)])
        raise ArgumentError(f"{name}={value!r}: expected one of {', '.join(repr(item) for item in allowed)}.{near}")
