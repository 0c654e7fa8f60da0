"""Which output of a network speaks for a class, and what that class is called."""

from __future__ import annotations

from collections.abc import Sequence

from striate._registry import suggestion
from striate.errors import ArgumentError

_NAMED = 10


def output_of(name: str, class_names: Sequence[str] | None, num_outputs: int, argument: str = "target=") -> int:
    """The index of the output that speaks for a class.

    Args:
        name: the class.
        class_names: of all classes, in the order of the network's outputs; two for a network of one output.
        num_outputs: how many outputs there are.
        argument: how messages begin.

    Raises:
        ArgumentError: there are no names, or it is none of them, or no output speaks for it.

    Example:
        >>> output_of("dog", ["cat", "dog"], 2), output_of("dog", ["cat", "dog"], 1)
        (1, 0)
    """
    if not class_names:
        raise ArgumentError(
            f"{argument}{name}: a network does not know what its classes are called: give class_names in the order of "
            "its outputs, or the index of the class."
        )
    _check_names(class_names, num_outputs)
    names = list(map(str, class_names))
    if name not in names:
        more = f" and {len(names) - _NAMED:,} more" if len(names) > _NAMED else ""
        known = ", ".join(names[:_NAMED]) + more
        raise ArgumentError(f"{argument}{name}: expected one of {known}.{suggestion(name, names)}")
    if num_outputs > 1:
        return names.index(name)
    if name != names[-1]:
        raise ArgumentError(
            f"{argument}{name}: the network has one output, which speaks for {names[-1]} and against {names[0]}: "
            f"expected {argument}{names[-1]}."
        )
    return 0


def label_of(index: int, class_names: Sequence[str] | None, num_outputs: int) -> str:
    """What to call the class of an output.

    Raises:
        ArgumentError: there are more or fewer names than classes.
    """
    if class_names is None:
        return f"class {index}" if num_outputs > 1 else "the output"
    _check_names(class_names, num_outputs)
    return str(class_names[-1 if num_outputs == 1 else index])


def _check_names(class_names: Sequence[str], num_outputs: int) -> None:
    """Refuse names that do not fit the outputs; one output may speak for the second of two classes, or for itself.

    Raises:
        ArgumentError: there are more or fewer.
    """
    if num_outputs > 1 and len(class_names) != num_outputs:
        raise ArgumentError(f"class_names: got {len(class_names)} for a network of {num_outputs} outputs.")
