"""Weights into a network: every one of them, or none, with all that does not fit in one message."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from striate.errors import WeightKeysError, WeightShapeError
from striate.shapes import text
from striate.zoo.weights.guessing import architecture_of, heads_of, same_body, same_but_channels

_SHOWN = 10
_AUXILIARY = ("aux1.", "aux2.", "AuxLogits.")
"""Heads of GoogLeNet and Inception that serve the training alone; the published files have them, networks may not."""


@dataclass(frozen=True)
class Fitted:
    """What was done to make weights fit.

    Attributes:
        notes: one sentence each; none where they fitted as they were.
        new_classifier: whether the classifier kept the weights that it had.
        in_channels: of the first convolution, where its weights were adapted to them.
    """

    notes: tuple[str, ...] = ()
    new_classifier: bool = False
    in_channels: int | None = None


def fit_weights(
    module: nn.Module, tensors: Mapping[str, Tensor], *, adapt_classes: bool = False, adapt_channels: bool = False
) -> Fitted:
    """Copy weights into a module, all of them; where one does not fit, the module stays as it was.

    Args:
        module: a network of the zoo, or any other.
        tensors: by their names in the module's `state_dict`.
        adapt_classes: whether a classifier for another number of classes may keep its present weights.
        adapt_channels: whether the first convolution may be made to take another number of channels: its weights are
            summed for grey images; for others they are repeated, and scaled so that the outputs keep their size.

    Raises:
        WeightKeysError: weights are missing, or there are more than the module has.
        WeightShapeError: all are there, but some have other shapes.

    Example:
        >>> network = nn.Sequential(nn.Conv2d(1, 2, 1, bias=False), nn.Flatten(), nn.Linear(2, 5))
        >>> published = nn.Sequential(nn.Conv2d(3, 2, 1, bias=False), nn.Flatten(), nn.Linear(2, 1000)).state_dict()
        >>> for note in fit_weights(network, published, adapt_classes=True, adapt_channels=True).notes:
        ...     print(note)
        The classifier 2 starts anew, with 5 classes: the file has 1,000.
        The first convolution, 0, takes 1 channel instead of 3: its weights are the sums over the channels.
    """
    expected = module.state_dict()
    tensors, notes = _present_names(tensors, expected)
    wrong = {key for key, tensor in tensors.items() if key in expected and tensor.shape != expected[key].shape}
    missing = {key for key in expected if key not in tensors and not key.endswith(".num_batches_tracked")}
    extra = {key for key in tensors if key not in expected}
    heads, stem = heads_of(module, expected), next((key for key, tensor in expected.items() if tensor.ndim == 4), "")

    new_classifier = adapt_classes and any(key.startswith(heads) for key in wrong | missing | extra)
    if new_classifier:
        notes.append(_classifier_note(tensors, expected, heads[0]))
        tensors = {key: tensor for key, tensor in tensors.items() if not key.startswith(heads)}
        wrong, missing, extra = ({k for k in keys if not k.startswith(heads)} for keys in (wrong, missing, extra))
    in_channels = None
    if adapt_channels and stem in wrong and same_but_channels(tensors[stem], expected[stem]):
        there, in_channels = tensors[stem].shape[1], expected[stem].shape[1]
        notes.append(_channels_note(stem.rpartition(".")[0], there, in_channels))
        tensors[stem] = _for_channels(tensors[stem], in_channels)
        wrong -= {stem}
    if wrong or missing or extra:
        raise _misfit(module, tensors, expected, wrong, missing, extra)
    module.load_state_dict(tensors, strict=False)
    return Fitted(tuple(notes), new_classifier, in_channels)


def _present_names(
    tensors: Mapping[str, Tensor], expected: Mapping[str, Tensor]
) -> tuple[dict[str, Tensor], list[str]]:
    """The names of today for those of old files, without heads that the module does not have."""
    notes, named = [], {}
    for key, tensor in tensors.items():
        # Torch's modules could once have a point in their names: DenseNet's layers norm.1, relu.1, conv.1 and so on.
        today = re.sub(r"(denselayer\d+\.(?:norm|conv))\.([12])\.", r"\1\2.", key)
        # The published transformers name the layers of a block's MLP.
        today = today.replace(".mlp.linear_1.", ".mlp.0.").replace(".mlp.linear_2.", ".mlp.3.")
        named[key if key in expected else today] = tensor
    unused = [
        p for p in _AUXILIARY if any(k.startswith(p) for k in named) and not any(k.startswith(p) for k in expected)
    ]
    if unused:
        named = {key: tensor for key, tensor in named.items() if not key.startswith(tuple(unused))}
        notes.append(f"The auxiliary heads {', '.join(p[:-1] for p in unused)} of the file are left out.")
    return named, notes


def _classifier_note(tensors: Mapping[str, Tensor], expected: Mapping[str, Tensor], head: str) -> str:
    there, here = (
        next((len(tensor) for key, tensor in named.items() if key.startswith(head)), 0) for named in (tensors, expected)
    )
    classifier = head[:-1]
    if not here:
        return f"The file's classifier {classifier}, for {there:,} classes, is left out."
    return f"The classifier {classifier} starts anew, with {here:,} classes: the file has " + (
        f"{there:,}." if there else "none."
    )


def _for_channels(weight: Tensor, channels: int) -> Tensor:
    """The weights of a convolution for another number of channels."""
    if channels == 1:
        return weight.sum(1, keepdim=True)
    there = weight.shape[1]
    repeated = weight.repeat(1, math.ceil(channels / there), 1, 1)[:, :channels]
    return repeated * (there / channels)


def _channels_note(path: str, there: int, here: int) -> str:
    how = "the sums over the channels" if here == 1 else f"repeated, times {there}/{here}"
    channels = "1 channel" if here == 1 else f"{here} channels"
    return f"The first convolution, {path}, takes {channels} instead of {there}: its weights are {how}."


def _misfit(
    module: nn.Module,
    tensors: Mapping[str, Tensor],
    expected: Mapping[str, Tensor],
    wrong: set[str],
    missing: set[str],
    extra: set[str],
) -> WeightKeysError | WeightShapeError:
    shapes = [
        f"{key} {text(tensors[key].shape)}, expected {text(expected[key].shape)}" for key in expected if key in wrong
    ]
    lines = [f"The weights do not fit {type(module).__name__}; nothing was changed."]
    for what, found, separator in (
        ("missing", [key for key in expected if key in missing], ", "),
        ("not in the network", [key for key in tensors if key in extra], ", "),
        ("of another shape", shapes, "; "),
    ):
        if found:
            lines.append(f"  {len(found):,} {what}: {_first(found, separator)}")
    if same_body(tensors, expected, heads_of(module, expected)):
        lines.append("To adapt them to other classes or channels: adapt_classes=True, adapt_channels=True.")
    elif guess := architecture_of(tensors):
        lines.append(f"These look like the weights of {guess}: make that network, or give another file.")
    return (WeightKeysError if missing or extra else WeightShapeError)("\n".join(lines))


def _first(found: Sequence[str], separator: str) -> str:
    more = len(found) - _SHOWN
    return separator.join(found[:_SHOWN]) + (f" and {more:,} more" if more > 0 else "")
