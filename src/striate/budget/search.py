"""Networks for a budget: a systematic space of designs, each as wide as the limits allow, ranked by a rule of thumb.

**The space.** For images: one stage or more, 1 to 4 blocks in each, kernels of 3 × 3 or 5 × 5, plain or separable
convolutions, residual or not, global average pooling or a dense head, a first stride of 1, 2 or 4. For lists of
features: one to four hidden layers. All costs are closed forms (`striate.budget.designs`), so the whole space takes a
second or two; only the few that are shown are traced for their memory.

**The rank.** `score` says in one line each what it rewards. It is a rule of thumb, not a prediction: only training
tells which network is best on your data.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from striate.account import memory
from striate.account.summary import size_text
from striate.budget.designs import ACTIVATIONS, Costs, DenseDesign, Design, ImageDesign, stage_limit
from striate.budget.limits import Limits, shown
from striate.data.dataset import Task
from striate.errors import ArgumentError, ShapeError
from striate.models import Model
from striate.shapes import one_of, times

SHOWN = 5
_WIDTHS = (*range(2, 16), *range(16, 64, 4), *range(64, 257, 8))
_UNITS = (*_WIDTHS, *range(320, 4097, 64))
_MOST_STAGES = 6
_MOST_PARAMETERS = 10_000_000  # more is not rewarded where there is no limit
_MACS_PER_PIXEL = 40_000


@dataclass(frozen=True)
class Proposal:
    """A network that meets the budget.

    Attributes:
        design: its few numbers: width, depth, kernel, separable, head.
        memory_bytes: the peak of a training step with AdamW, traced.
        batch_size: of that step.
        limits: the budget.
        score: what it was ranked by; see `score`.
    """

    design: Design
    memory_bytes: int
    batch_size: int
    limits: Limits
    score: float

    @property
    def description(self) -> str:
        """The design in words."""
        return self.design.description

    @property
    def parameters(self) -> int:
        """Learned parameters, as `striate.count` has them."""
        return self.design.costs.parameters

    @property
    def macs(self) -> int:
        """Multiply-accumulates of one sample's forward pass."""
        return self.design.costs.macs

    @property
    def neurons(self) -> int:
        return self.design.costs.neurons

    @property
    def code(self) -> str:
        """Python source with a function `build(input_shape, num_outputs)`."""
        return self.design.code

    @property
    def reason(self) -> str:
        """Why it stands where it stands."""
        shares = self.limits.shares({**self.design.costs._asdict(), "memory_bytes": self.memory_bytes})
        names = {"parameters": "the parameters", "macs": "the MACs", "memory_bytes": "the memory"}
        used = " and ".join(f"{share:.0%} of {names[name]}" for name, share in shares.items())
        return "; ".join([f"uses {used}", *_remarks(self.design)])

    def build(self) -> Model:
        """The network, untrained."""
        return self.design.build()


def propose(
    input_shape: Sequence[int],
    num_outputs: int,
    *,
    parameters: int | str | None = None,
    macs: int | str | None = None,
    memory_bytes: int | str | None = None,
    batch_size: int = 32,
    task: Task = "multiclass",
) -> list[Proposal]:
    """Networks that meet a budget, the most promising first, no two of them twins.

    Args:
        input_shape: the shape of one sample: an image (height, width, channels) of bytes, or a number of features.
        num_outputs: the classes of a "multiclass" task, 1 for a "binary" one, the numbers to predict for "regression".
        parameters: how many learned parameters at most; a count, or a text such as `"100k"`.
        macs: how many multiply-accumulates for one sample's forward pass, such as `"20M"`.
        memory_bytes: the peak of a training step, such as `"8GB"`.
        batch_size: samples in that step.
        task: decides the last activation.

    Raises:
        ArgumentError: there is no limit, a value cannot be used, or nothing fits; the message says the least that does.
        ShapeError: samples are neither images nor lists of features.

    Example:
        >>> best = propose((8, 8, 1), 10, parameters="20k")[0]
        >>> best.parameters <= 20_000, best.build().count_neurons() == best.neurons
        (True, True)
    """
    one_of(task, tuple(ACTIVATIONS), "task")
    limits = Limits.of(parameters, macs, memory_bytes)
    for name, value in (("num_outputs", num_outputs), ("batch_size", batch_size)):
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise ArgumentError(f"{name}={value!r}: expected a positive integer.")
    families = list(_families(tuple(input_shape), num_outputs, task))
    fitting = [design for family in families if (design := _widest(family, limits, batch_size)) is not None]
    ranked = sorted(fitting, key=lambda design: -score(design, limits))
    proposals = _diverse(ranked, limits, batch_size)
    if not proposals:
        raise ArgumentError(_nothing_fits([next(_widths(family)) for family in families], limits, batch_size))
    return proposals


def score(design: Design, limits: Limits) -> float:
    """How promising a design is, in doublings of its parameters; a rule of thumb.

    - A doubling of the parameters counts 1. Those of a dense layer behind a `Flatten` count a quarter, as they learn
      each place of the image anew.
    - A doubling of the MACs counts ¼: the same weights at more places, so finer features. Without a limit, no more is
      rewarded from 10 million parameters or 40,000 MACs a pixel on, which is what ResNet-20 spends on CIFAR-10.
    - Fewer than 24 filters in the first stage cost 1 for each halving.
    - A receptive field that does not cover the image costs 1 for each halving under global average pooling, which
      cannot relate what lies further apart.
    - Up to 4 layers, a doubling of the depth counts ½. Beyond 8, or 4 for each stage, it costs 1, and ½ in a residual
      network: the deeper, the longer it has to be trained.

    The weights were chosen on 22 networks of this space with 30,000 parameters, each trained for four passes over
    20,000 images of CIFAR-10 at half size: score and test accuracy had a rank correlation of 0.85. On 12 others it was
    0.58. Longer training and larger images favour deeper networks than this.
    """
    costs = design.costs
    useful = costs.parameters - 0.75 * costs.dense_parameters
    most_macs = limits.macs or _MACS_PER_PIXEL * math.prod(design.input_shape[:2])
    total = math.log2(min(useful, limits.parameters or _MOST_PARAMETERS)) + 0.25 * math.log2(min(costs.macs, most_macs))
    total -= max(math.log2(24 / design.width), 0)
    total += 0.5 * math.log2(min(design.depth, 4))
    if isinstance(design, ImageDesign):
        if not design.flatten:
            total -= max(math.log2(max(design.input_shape[:2]) / design.reach), 0)
        excess = max(math.log2(design.depth / max(8, 4 * design.stages)), 0)
        total -= excess / 2 if design.residual else excess
    return total


def _families(input_shape: tuple[int, ...], num_outputs: int, task: Task) -> Iterator[Design]:
    """Every design of the space, width aside."""
    if len(input_shape) not in (1, 3) or min(input_shape) < 1:
        raise ShapeError(
            f"propose takes samples that are images (height, width, channels) or lists of features, "
            f"got {times(input_shape)}."
        )
    if len(input_shape) == 1:
        for hidden in (1, 2, 3, 4):
            yield DenseDesign(input_shape, num_outputs, task, 0, hidden)
        return
    height, width, _ = input_shape
    strides = [stride for stride in (1, 2, 4) if stride == 1 or min(height, width) >= 32 * stride]
    flags = (False, True)
    for stride, blocks, kernel in itertools.product(strides, (1, 2, 3, 4), (3, 5)):
        for stages in range(1, min(stage_limit(height, width, stride), _MOST_STAGES) + 1):
            for separable, residual, flatten in itertools.product(flags, flags, flags):
                if separable and stages == blocks == 1 and not residual:
                    continue  # the only convolution is the first, which is never separable
                yield ImageDesign(
                    input_shape, num_outputs, task, 0, stages, blocks, kernel, separable, residual, stride, flatten
                )


def _widths(family: Design) -> Iterator[Design]:
    """The designs of a family, the narrowest first."""
    return (replace(family, width=width) for width in (_UNITS if isinstance(family, DenseDesign) else _WIDTHS))


def _fits(costs: Costs, limits: Limits, batch_size: int) -> bool:
    return all(share <= 1 for share in limits.shares(_spent(costs, batch_size)).values())


def _spent(costs: Costs, batch_size: int) -> dict[str, float]:
    return {**costs._asdict(), "memory_bytes": costs.memory_bytes(batch_size)}


def _widest(family: Design, limits: Limits, batch_size: int) -> Design | None:
    """The widest design of a family that fits, found by bisection, as every cost grows with the width."""
    widths = _UNITS if isinstance(family, DenseDesign) else _WIDTHS
    fits, fails = -1, len(widths)
    while fails - fits > 1:
        middle = (fits + fails) // 2
        if _fits(replace(family, width=widths[middle]).costs, limits, batch_size):
            fits = middle
        else:
            fails = middle
    return None if fits < 0 else replace(family, width=widths[fits])


def _diverse(ranked: Sequence[Design], limits: Limits, batch_size: int) -> list[Proposal]:
    """The first few that differ from all before them in two traits or more; their memory is traced."""
    chosen: list[Proposal] = []
    for design in ranked:
        if any(_differences(design, other.design) < 2 for other in chosen):
            continue
        traced = memory(design.build(), design.input_shape, batch_size).peak_bytes
        if limits.memory_bytes is None or traced <= limits.memory_bytes:
            chosen.append(Proposal(design, traced, batch_size, limits, score(design, limits)))
        if len(chosen) == SHOWN:
            break
    return chosen


def _differences(a: Design, b: Design) -> int:
    return sum(first != second for first, second in zip(a.traits, b.traits, strict=True))


def _remarks(design: Design) -> Iterator[str]:
    yield f"{design.depth} layers with weights"
    if isinstance(design, ImageDesign):
        side = max(design.input_shape[:2])
        sees = "covers the image" if design.reach >= side else f"is smaller than the image of {side}"
        yield f"its receptive field of {times((design.reach, design.reach))} {sees}"
        if design.flatten:
            share = design.costs.dense_parameters / design.costs.parameters
            yield f"{share:.0%} of its parameters are in the dense head"
    if design.width < 16:
        yield f"only {design.width} wide at its start"


def _nothing_fits(narrowest: Sequence[Design], limits: Limits, batch_size: int) -> str:
    """What the least of all networks takes, limit by limit."""
    spent = [_spent(design.costs, batch_size) for design in narrowest]
    least = {name: min(costs[name] for costs in spent) for name in limits.set}
    nearest = min(spent, key=lambda costs: max(limits.shares(costs).values()))
    together = ", ".join(shown(name, nearest[name]) for name in limits.set)
    alone = ", ".join(shown(name, value) for name, value in least.items())
    advice = f"The nearest takes {together}" + (f"; the least of each is {alone}" if len(least) > 1 else "")
    if limits.memory_bytes is not None:
        advice += f" (memory at batch {batch_size}, {size_text(nearest['memory_bytes'] / batch_size)} a sample)"
    return f"No network meets {limits.text()} on samples of {times(narrowest[0].input_shape)}. {advice}."
