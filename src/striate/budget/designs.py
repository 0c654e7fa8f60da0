"""Networks that a few numbers describe wholly: their costs in closed form, and the code that builds them.

`ImageDesign` is a convolutional network in stages, each on half the side and with twice the filters of the one before
(VGG, Simonyan and Zisserman, 2015); `DenseDesign` a stack of dense layers for samples that are lists of features. Each
product is followed by batch normalisation and relu.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

from striate.data.dataset import Task
from striate.models import Model
from striate.shapes import times

MOST_FILTERS = 512
"""Stages double their filters up to here, as VGG and ResNet-18 do, unless the first has more."""
ACTIVATIONS: dict[Task, str] = {"binary": "sigmoid", "multiclass": "softmax", "regression": "linear"}
_BYTES = 4
_COPIES = 4  # of a parameter in training: itself, its gradient, two states of Adam


class Costs(NamedTuple):
    """What one sample costs.

    Attributes:
        parameters: learned ones.
        macs: multiply-accumulates, forward.
        neurons: see `striate.layers.layer`.
        kept_values: the values that the backward pass needs, and those it makes at its widest; an estimate.
        dense_parameters: those of the parameters that are in hidden dense layers behind a `Flatten`.
    """

    parameters: int
    macs: int
    neurons: int
    kept_values: int
    dense_parameters: int = 0

    def memory_bytes(self, batch_size: int) -> int:
        """The peak of a training step with Adam, estimated; `striate.memory` traces it."""
        return _BYTES * (_COPIES * self.parameters + batch_size * self.kept_values)


class Product(NamedTuple):
    """One convolution: at how many positions, from how many channels to how many, with what kernel."""

    height: int
    width: int
    channels: int
    filters: int
    kernel: int
    separable: bool = False


@dataclass(frozen=True)
class Design(ABC):
    """What both kinds of network share.

    Attributes:
        input_shape: the shape of one sample, without the batch.
        num_outputs: classes, 1 for a "binary" task, numbers to predict for "regression".
        task: decides the last activation.
        width: filters of the first stage, or units of each hidden layer.
    """

    input_shape: tuple[int, ...]
    num_outputs: int
    task: Task
    width: int

    @property
    @abstractmethod
    def description(self) -> str:
        """The design in words."""

    @property
    @abstractmethod
    def depth(self) -> int:
        """Layers with weights, one after the other."""

    @cached_property
    @abstractmethod
    def costs(self) -> Costs:
        """What it costs, in closed form."""

    @property
    @abstractmethod
    def traits(self) -> tuple[object, ...]:
        """What sets it apart from others: designs that differ in one only are twins."""

    @abstractmethod
    def _body(self) -> tuple[list[str], list[str]]:
        """The code's helper functions, and the lines that lead from `inputs` to `x`."""

    @property
    def code(self) -> str:
        """Python source of `build(input_shape, num_outputs)`, for a file of one's own."""
        helpers, lines = self._body()
        used = "\n".join([*helpers, *lines])
        layers = (
            "Activation Add BatchNormalization Conv2D Dense Flatten GlobalAveragePooling2D Input MaxPooling2D "
            "Rescaling SeparableConv2D"
        ).split()
        names = [name for name in layers if f"{name}(" in used or name in ("Dense", "Input")]
        # What fits on a line of 120.
        imported = f"from striate.layers import {', '.join(names)}"
        if len(imported) > 120:
            imported = "from striate.layers import (\n" + "".join(f"    {name},\n" for name in names) + ")"
        costs = self.costs
        counted = f"{costs.parameters:,} parameters, {costs.macs:,} MACs, {costs.neurons:,} neurons"
        body = [
            f'"""{self.description}.',
            "",
            f'{counted} on samples of {times(self.input_shape)}.\n"""',
            "",
            imported,
            "from striate.models import Model",
            *helpers,
            *_function(
                f"build(input_shape={self.input_shape}, num_outputs={self.num_outputs})",
                "inputs = Input(input_shape)",
                *lines,
                f'return Model(inputs, Dense(num_outputs, activation="{ACTIVATIONS[self.task]}")(x))',
            ),
        ]
        return "\n".join(body) + "\n"

    def build(self) -> Model:
        """The network, untrained: what `code` makes."""
        names: dict[str, object] = {}
        exec(self.code, names)  # so that the code that is shown and the network cannot differ
        model = names["build"]()  # type: ignore[operator]
        assert isinstance(model, Model)
        return model


@dataclass(frozen=True)
class ImageDesign(Design):
    """A convolutional network in stages.

    Attributes:
        stages: how many; between two of them, max pooling halves the side.
        blocks: convolutions in each stage; or, if `residual`, pairs of them behind its first.
        kernel: the side of the kernels.
        separable: depthwise separable convolutions (Howard et al., 2017) everywhere but at the first.
        residual: each pair of convolutions is added to its own input (He et al., 2016).
        stride: of the first convolution, whose kernel is 7 × 7 for stride 4.
        flatten: `Flatten` and a dense layer as wide as the last stage in place of global average pooling.
    """

    stages: int = 3
    blocks: int = 2
    kernel: int = 3
    separable: bool = False
    residual: bool = False
    stride: int = 1
    flatten: bool = False

    @property
    def filters(self) -> list[int]:
        """Of each stage."""
        most = max(self.width, MOST_FILTERS)
        return [min(self.width * 2**stage, most) for stage in range(self.stages)]

    @property
    def convolutions_per_stage(self) -> int:
        return 1 + 2 * self.blocks if self.residual else self.blocks

    @property
    def depth(self) -> int:
        return self.stages * self.convolutions_per_stage + self.flatten + 1

    @property
    def traits(self) -> tuple[object, ...]:
        return (self.stages, self.kernel, self.separable, self.residual, self.stride, self.flatten)

    @property
    def sides(self) -> list[tuple[int, int]]:
        """Height and width in each stage."""
        height, width = (-(-side // self.stride) for side in self.input_shape[:2])
        return [(height >> stage, width >> stage) for stage in range(self.stages)]

    @property
    def reach(self) -> int:
        """The side of the square of pixels that a neuron of the last convolution sees: its receptive field."""
        reach, step = 1, 1
        for stage in range(self.stages):
            if stage:
                reach, step = reach + step, 2 * step
            for number in range(self.convolutions_per_stage):
                first = stage == number == 0
                reach += ((self._stem_kernel if first else self.kernel) - 1) * step
                step *= self.stride if first else 1
        return reach

    @property
    def _stem_kernel(self) -> int:
        return max(self.kernel, 2 * self.stride - 1)

    def _products(self) -> Iterator[tuple[Product, int]]:
        """The convolutions, and how often each comes."""
        channels = self.input_shape[2]
        for stage, ((height, width), filters) in enumerate(zip(self.sides, self.filters, strict=True)):
            if stage:
                yield Product(height, width, channels, filters, self.kernel, self.separable), 1
            else:
                yield Product(height, width, channels, filters, self._stem_kernel), 1
            channels = filters
            repeats = self.convolutions_per_stage - 1
            yield Product(height, width, channels, filters, self.kernel, self.separable), repeats

    @cached_property
    def costs(self) -> Costs:
        height, width, channels = self.input_shape
        parameters = macs = neurons = dense = 0
        kept, largest = height * width * channels, 0
        for at, repeats in self._products():
            positions, window = at.height * at.width, at.kernel * at.kernel
            weights = at.channels * (window + at.filters if at.separable else window * at.filters)
            sums = at.filters + at.channels * at.separable
            parameters += repeats * (weights + 2 * at.filters)
            macs += repeats * positions * weights
            neurons += repeats * positions * sums
            # The convolution's output, for the normalisation; that of relu, for the next convolution.
            kept += repeats * positions * (sums + at.filters)
            largest = max(largest, positions * at.filters)
        for (height, width), filters in zip(self.sides[1:], self.filters, strict=False):
            kept += 3 * height * width * filters  # what pooling gives, and in int64 the places it took it from
        features = self.filters[-1]
        if self.flatten:
            height, width = self.sides[-1]
            dense = height * width * features * features
            parameters += dense + 2 * features
            macs += dense
            neurons += features
        parameters += (features + 1) * self.num_outputs
        macs += features * self.num_outputs
        return Costs(parameters, macs, neurons + self.num_outputs, kept + 2 * largest, dense)

    @property
    def description(self) -> str:
        filters = self.filters
        counted = f"{self.stages} stages" if self.stages > 1 else "1 stage"
        wide = f"{filters[0]} to {filters[-1]} filters" if self.stages > 1 else f"{filters[0]} filters"
        kind = f"{'separable ' * self.separable}{'residual ' * self.residual}convolution"
        number = self.convolutions_per_stage
        each = f"{number} {kind}{'s' * (number > 1)} of {times((self.kernel, self.kernel))}"
        stem = f", stride {self.stride}" if self.stride > 1 else ""
        return f"{counted} of {each}, {wide}{stem}, {'flatten and dense' if self.flatten else 'global average pooling'}"

    def _body(self) -> tuple[list[str], list[str]]:
        lines = ["x = Rescaling(1 / 255)(inputs)"]
        for stage, filters in enumerate(self.filters):
            if stage:
                lines += ["x = MaxPooling2D()(x)", f"x = convolve(x, {filters})"]
            else:
                strides = f"strides={self.stride}, " if self.stride > 1 else ""
                stem = f'Conv2D({filters}, {self._stem_kernel}, {strides}padding="same", use_bias=False)'
                lines.append(f"x = normalise({stem}(x))")
            block = "residual" if self.residual else "convolve"
            lines += [f"x = {block}(x, {filters})"] * (self.blocks if self.residual else self.blocks - 1)
        if self.flatten:
            lines += ["x = Flatten()(x)", f"x = normalise(Dense({self.filters[-1]}, use_bias=False)(x))"]
        else:
            lines.append("x = GlobalAveragePooling2D()(x)")

        kind = "SeparableConv2D" if self.separable else "Conv2D"
        convolution = f'{kind}(filters, {self.kernel}, padding="same", use_bias=False)'
        helpers = _function("normalise(x)", 'return Activation("relu")(BatchNormalization(momentum=0.9)(x))')
        if self.residual or any("convolve" in line for line in lines):
            helpers += _function("convolve(x, filters)", f"return normalise({convolution}(x))")
        if self.residual:
            helpers += _function(
                "residual(x, filters)",
                "y = convolve(x, filters)",
                f"y = BatchNormalization(momentum=0.9)({convolution}(y))",
                'return Activation("relu")(Add()([x, y]))',
            )
        return helpers, lines


@dataclass(frozen=True)
class DenseDesign(Design):
    """Dense layers of one width.

    Features come in any units, so the input is normalised too.

    Attributes:
        hidden: how many hidden layers.
    """

    hidden: int = 1

    @property
    def depth(self) -> int:
        return self.hidden + 1

    @property
    def traits(self) -> tuple[object, ...]:
        return (self.hidden, self.width)

    @cached_property
    def costs(self) -> Costs:
        (features,) = self.input_shape
        weights = features * self.width + (self.hidden - 1) * self.width**2 + self.width * self.num_outputs
        parameters = 2 * features + weights + 2 * self.hidden * self.width + self.num_outputs
        kept = 2 * features + 2 * self.hidden * self.width + 2 * max(features, self.width)
        return Costs(parameters, weights, self.hidden * self.width + self.num_outputs, kept)

    @property
    def description(self) -> str:
        return f"{self.hidden} hidden layer{'s' * (self.hidden > 1)} of {self.width} neurons"

    def _body(self) -> tuple[list[str], list[str]]:
        hidden = f"Dense({self.width}, use_bias=False)"
        line = f'x = Activation("relu")(BatchNormalization(momentum=0.9)({hidden}(x)))'
        repeated = [line] if self.hidden == 1 else [f"for _ in range({self.hidden}):", f"    {line}"]
        return [], ["x = BatchNormalization(momentum=0.9)(inputs)", *repeated]


def stage_limit(height: int, width: int, stride: int) -> int:
    """How many stages an image is large enough for: in the last, its shorter side is still 2 pixels or more.

    >>> stage_limit(32, 32, 1), stage_limit(8, 8, 1), stage_limit(1, 20, 1)
    (5, 3, 1)
    """
    side = min(-(-height // stride), -(-width // stride))
    return max(side.bit_length() - 1, 1)


def _function(signature: str, *lines: str) -> list[str]:
    """A function's source, and the empty lines before it."""
    return ["", "", f"def {signature}:", *(f"    {line}" for line in lines)]
