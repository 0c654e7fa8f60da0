"""Arrays of any origin to checked tensors: what cannot be trained on is refused here, with the reason."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch

from striate.data.on_disk import ArraySource, OnDisk
from striate.errors import DataError

Tensors = torch.Tensor | tuple[torch.Tensor, ...]

# torch has no, or hardly any, operations on the wider unsigned integers.
_WIDER = {"u2": np.int32, "u4": np.int64, "u8": np.int64}


def each(value: Any, function: Callable[..., Any], *arguments: Any) -> Any:
    """`function(array, *arguments)` of an array, or of each of several, which gives a tuple; None stays None."""
    if value is None:
        return None
    return tuple(function(item, *arguments) for item in value) if is_several(value) else function(value, *arguments)


def is_several(value: Any) -> bool:
    """Whether a value is several arrays, one for each input or output, and not one array or nested numbers."""
    return isinstance(value, list | tuple) and len(value) > 0 and all(getattr(item, "ndim", 0) > 0 for item in value)


def by_name(value: Any, names: Sequence[str], what: str) -> Any:
    """Values given by name, in the order of `names`, and the only one as it is; anything but a dict is returned.

    >>> by_name({"b": 2, "a": 1}, ["a", "b"], "inputs")
    [1, 2]

    Raises:
        DataError: a name is missing, or is none of `names`.
    """
    if not isinstance(value, Mapping):
        return value
    if set(value) != set(names):
        raise DataError(f"{what} are named {', '.join(map(str, value))}; expected {', '.join(names)}.")
    return [value[name] for name in names] if len(names) > 1 else value[names[0]]


def to_array(value: Any, name: str) -> np.ndarray | torch.Tensor | OnDisk:
    """A tensor as it is, and what lies on disk; anything else as a numpy array."""
    if isinstance(value, OnDisk):
        return value
    if isinstance(value, np.memmap):
        return OnDisk(ArraySource(value))
    if isinstance(value, dict):
        raise DataError(f"{name} is a dict; give a list of arrays in the order of the model's inputs or outputs.")
    try:
        array = value if isinstance(value, torch.Tensor) else np.asarray(value)
    except ValueError as error:
        raise DataError(f"{name} cannot be made an array: {error}") from error
    if array.ndim == 0:
        raise DataError(f"{name} is {value!r}; expected an array with samples on its first axis.")
    return array


def to_tensor(value: Any, name: str) -> torch.Tensor:
    """A tensor that shares the array's memory where it can: uint8 and other integers stay, float64 becomes float32.

    Raises:
        DataError: strings, objects, no axis to count samples on, or values that are not finite.

    Example:
        >>> to_tensor(np.zeros((2, 3)), "x").dtype, to_tensor(np.array([1, 2], np.uint8), "y").dtype
        (torch.float32, torch.uint8)
    """
    array = to_array(value, name)
    array = array.read() if isinstance(array, OnDisk) else array
    tensor = array.detach() if isinstance(array, torch.Tensor) else torch.from_numpy(_for_torch(array, name))
    if tensor.dtype == torch.float64:
        tensor = tensor.float()
    _check_finite(tensor, name)
    return tensor


def _for_torch(array: np.ndarray, name: str) -> np.ndarray:
    kind = array.dtype.kind
    if kind not in "biuf":
        raise DataError(
            f"{name} holds values of type {array.dtype}; expected numbers in one regular array. "
            "Labels that are strings become indices with numpy.unique(labels, return_inverse=True)."
        )
    if kind == "f" and array.dtype.itemsize > 4:
        array = array.astype(np.float32)
    array = array.astype(_WIDER.get(array.dtype.str[1:], array.dtype.newbyteorder("=")), copy=False)
    # torch shares only memory that may be written to and runs forwards.
    return array if array.flags.writeable and min(array.strides, default=0) >= 0 else array.copy()


def _check_finite(tensor: torch.Tensor, name: str) -> None:
    # One value that is not finite shows in the mean, which needs no second array of the data's size. The sum would be
    # too large for float16.
    if not tensor.is_floating_point() or torch.isfinite(tensor.mean()):
        return
    wrong = (~torch.isfinite(tensor)).nonzero()
    if len(wrong):
        first = tuple(wrong[0].tolist())
        raise DataError(
            f"{name} has {len(wrong):,} NaN or infinite value{'s' * (len(wrong) > 1)}, the first "
            f"({tensor[first].item()}) at index {first}. Leave these samples out, or fill them with numpy.nan_to_num."
        )
