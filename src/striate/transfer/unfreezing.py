"""Fine-tuning from the head down: deep parts thaw first, and shallow ones learn at a lower rate.

Howard and Ruder, Universal Language Model Fine-tuning for Text Classification, 2018: shallow layers hold what any task
needs, edges and textures, so they change least and last.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from torch import nn

from striate.callbacks import Callback, Logs
from striate.errors import ArgumentError
from striate.zoo import Backbone


def parts(backbone: Backbone) -> list[list[str]]:
    """The paths of a backbone's modules by stages, the classifier's and other heads' first and the stem's last.

    Example:
        >>> from striate import zoo
        >>> parts(zoo.create("resnet18"))
        [['fc'], ['layer4'], ['layer3'], ['layer2'], ['layer1'], ['conv1', 'bn1']]
    """
    body = [name for name, _ in backbone.body() if _has_weights(backbone, name)]
    heads = [name for name, _ in backbone.named_children() if _has_weights(backbone, name) and not _holds(name, body)]
    stages: list[list[str]] = [[]]
    ends = {stage.name for stage in backbone.feature_info}
    for name, _ in backbone.body():
        if name in body:
            stages[-1].append(name)
        if name in ends:
            stages.append([])
    # Such as the class token of a transformer, which is no module's.
    stages[0] += [name for name, _ in backbone.named_parameters() if not _within(name, [*heads, *body])]
    return [heads, *(stage for stage in reversed(stages) if stage)]


def _within(name: str, paths: Iterable[str]) -> bool:
    return any(f"{name}.".startswith(f"{path}.") for path in paths)


def _holds(path: str, names: Iterable[str]) -> bool:
    return any(_within(name, [path]) for name in names)


def _has_weights(backbone: nn.Module, name: str) -> bool:
    try:
        return any(True for _ in backbone.get_submodule(name).parameters())
    except AttributeError:  # a step that is no module
        return False


def rate_scales(groups: Sequence[Sequence[str]], decay: float, prefix: str = "") -> dict[str, float]:
    """By what the learning rate of each part is multiplied: 1 in the head, `decay` times less with every part below.

    Args:
        groups: the parts, as `parts` gives them.
        decay: from above 0 to 1.
        prefix: the backbone's path in the module that is trained, with a dot at its end.

    Raises:
        ArgumentError: a decay that is none.

    Example:
        >>> rate_scales([["fc"], ["layer4"], ["layer3"]], 0.5)
        {'fc': 1.0, 'layer4': 0.5, 'layer3': 0.25}
    """
    if not 0 < decay <= 1:
        raise ArgumentError(f"decay={decay}: expected a number above 0 and at most 1.")
    return {f"{prefix}{path}": decay**depth for depth, group in enumerate(groups) for path in group}


class GradualUnfreezing(Callback):
    """Thaws one part of a backbone after the other, at the beginning of epochs.

    Batch normalisations of frozen parts keep their statistics.

    Args:
        backbone: within the module that is trained.
        thawed_at: for each of `parts(backbone)` the first epoch, counted from 0, in which it learns; None for a part
            that never does. See `evenly`.

    Raises:
        ArgumentError: another number of epochs than the backbone has parts.
    """

    def __init__(self, backbone: Backbone, thawed_at: Sequence[int | None]) -> None:
        self.groups = parts(backbone)
        if len(thawed_at) != len(self.groups):
            named = "; ".join(", ".join(group) for group in self.groups)
            raise ArgumentError(f"thawed_at: got {len(thawed_at)} epochs for {len(self.groups)} parts: {named}.")
        self.backbone, self.thawed_at = backbone, list(thawed_at)

    @staticmethod
    def evenly(backbone: Backbone, epochs: int) -> GradualUnfreezing:
        """The head and the deepest part learn from the beginning, all parts by half of the epochs."""
        below = max(len(parts(backbone)) - 2, 1)
        return GradualUnfreezing(
            backbone,
            [max(depth - 1, 0) * (epochs // 2) // below for depth in range(len(parts(backbone)))],
        )

    def on_epoch_begin(self, epoch: int, logs: Logs) -> None:
        named: Mapping[str, nn.Parameter] = dict(self.backbone.named_parameters())
        for group, first in zip(self.groups, self.thawed_at, strict=True):
            for name, parameter in named.items():
                if _within(name, group):
                    parameter.requires_grad_(first is not None and epoch >= first)
        self.backbone.train(self.backbone.training)
