"""The rows of an account: what each module costs, and the steps of the data flow."""

from __future__ import annotations

from dataclasses import dataclass, field

from striate.account.receptive import ReceptiveField
from striate.account.summary import size_text
from striate.shapes import text

INPUT = -1
"""The index of the model's own input among the inputs of a step."""


@dataclass
class Step:
    """An uninterrupted stretch of work in one module: a node of the data flow.

    Attributes:
        path: the innermost module that ran.
        operations: what ran in it, by name in torch's ATen library.
        output_shapes: what the last operation gave.
        inputs: the earlier steps whose results it read, by index; `INPUT` is the model's input.
    """

    path: str
    operations: list[str] = field(default_factory=list)
    output_shapes: list[tuple[int, ...]] = field(default_factory=list)
    inputs: list[int] = field(default_factory=list)


@dataclass
class Entry:
    """One module with all that is inside it.

    Attributes:
        path: its name in the model, as `named_modules` has it; the model itself is `""`.
        kind: its class.
        input_shapes: the shapes of the tensors of its first call, batch included.
        output_shapes: the shapes that this call gave.
        calls: how often it ran.
        ran: whether it ran, or something in it.
        parameters: how many parameters, those shared with an earlier module left out.
        trainable: how many of them are trained.
        buffers: how many values are in buffers, such as moving statistics.
        parameter_bytes: the bytes of the parameters.
        buffer_bytes: the bytes of the buffers.
        shared_with: the other places of its parameters and buffers, and of the module itself. They count at the first.
        neurons: the outputs of learned weighted sums of one sample; see `striate.layers.layer`.
        macs: multiply-accumulates of matrix products and convolutions, forward.
        backward_macs: the same of the backward pass, for the gradients that are wanted.
        operations: small operations, forward; see `striate.account.formulas`.
        weights: how many learned numbers took part in products: the parameters without biases and scales.
        weighted_macs: the MACs of products with learned numbers; attention's products of activations have none.
        activation_bytes: the bytes of the activations made here that autograd keeps for the backward pass. The model's
            input is not among them.
        receptive_field: what a unit of the first output sees of the input, where that is defined.
        formulas: the formula of each product that ran in the module itself.
    """

    path: str
    kind: str
    input_shapes: list[tuple[int, ...]] = field(default_factory=list)
    output_shapes: list[tuple[int, ...]] = field(default_factory=list)
    calls: int = 0
    ran: bool = False
    parameters: int = 0
    trainable: int = 0
    buffers: int = 0
    parameter_bytes: int = 0
    buffer_bytes: int = 0
    shared_with: list[str] = field(default_factory=list)
    neurons: int = 0
    macs: int = 0
    backward_macs: int = 0
    operations: int = 0
    weights: int = 0
    weighted_macs: int = 0
    activation_bytes: int = 0
    receptive_field: ReceptiveField | None = None
    formulas: list[str] = field(default_factory=list)

    @property
    def flops(self) -> int:
        """Floating-point operations of the MACs: two each. This is the papers' convention."""
        return 2 * self.macs

    @property
    def backward_flops(self) -> int:
        """The same of the backward pass."""
        return 2 * self.backward_macs

    @property
    def all_operations(self) -> int:
        """The other convention: two for each MAC, and the small operations, forward."""
        return 2 * self.macs + self.operations

    @property
    def frozen(self) -> int:
        """How many parameters are not trained."""
        return self.parameters - self.trainable

    @property
    def reuse(self) -> float:
        """How often each parameter is used, on average: MACs per parameter."""
        return self.macs / self.parameters if self.parameters else 0.0

    @property
    def positions(self) -> float:
        """At how many positions each weight is used, on average, over the whole batch.

        A convolution uses each of its weights at every position of its output, a dense layer once for each row.
        """
        return self.weighted_macs / self.weights if self.weights else 0.0

    @property
    def formula(self) -> str:
        """The formulas of the module's own products, with their numbers."""
        return "; ".join(self.formulas)

    @property
    def depth(self) -> int:
        """How many modules it is inside of, the model included."""
        return self.path.count(".") + 1 if self.path else 0

    def explain(self) -> str:
        """The entry in words and numbers."""
        lines = [f"{self.path or 'the model'} ({self.kind})" + ("" if self.ran else ": never ran")]

        def say(label: str, what: object) -> None:
            lines.append(f"  {label:16}  {what}")

        if self.input_shapes:
            say("input", ", ".join(map(text, self.input_shapes)))
        if self.output_shapes:
            again = f", called {self.calls} times" if self.calls > 1 else ""
            say("output", ", ".join(map(text, self.output_shapes)) + again)
        if self.parameters:
            frozen = f", {self.frozen:,} of them frozen" if self.frozen else ""
            say("parameters", f"{self.parameters:,} ({size_text(self.parameter_bytes)}){frozen}")
        if self.buffers:
            say("buffers", f"{self.buffers:,} ({size_text(self.buffer_bytes)})")
        if self.shared_with:
            say("shared with", ", ".join(self.shared_with))
        if self.neurons:
            say("neurons", f"{self.neurons:,}")
        for formula in self.formulas:
            say("formula", formula)
        if self.macs:
            say("MACs", f"{self.macs:,} forward, {self.backward_macs:,} backward; 1 MAC = 2 FLOPs")
        if self.operations:
            say("small operations", f"{self.operations:,} forward")
        if self.weights:
            say("weight reuse", f"{self.weights:,} weights, each at {self.positions:,.6g} positions")
        if self.activation_bytes:
            say("activations", f"{size_text(self.activation_bytes)} kept for the backward pass")
        if self.receptive_field:
            say("receptive field", self.receptive_field)
        return "\n".join(lines)


def short_path(path: str) -> str:
    """A module's path as people know it: in Striate's models, the layer's name.

    >>> short_path("layers.conv2d.op"), short_path("layer1.0.conv1"), short_path("")
    ('conv2d', 'layer1.0.conv1', 'the model')
    """
    return path.removeprefix("layers.").removesuffix(".op") or "the model"
