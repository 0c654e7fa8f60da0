"""The base of all layers: a small container around one torch operation.

A layer checks its arguments once, in its constructor; `build(input_shape)` makes `self.op` (a plain torch module);
`forward` calls it. In closed form it says what shape it gives (`compute_output_shape`) and what it costs
(`count_parameters`, `count_neurons`, `explain`).

**What a neuron is.** A neuron is a unit that forms a learned weighted sum. A `Dense` layer has `units` of them at each
position it is applied to, a convolution one per output position and filter, a recurrent layer `units` (its gates belong
to the unit, and its time steps reuse them), multi-head attention one per output of its projections. Pooling, reshaping,
dropout, normalisation, merging and embedding have none. The features of the input are not neurons; they are counted
apart. Everything in Striate that counts neurons follows this definition.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, ClassVar, TypedDict

import numpy as np
import torch
from torch import Tensor, nn

from striate import constraints, initializers, regularizers
from striate._nested import map_nested
from striate._registry import Configurable, Registry, constructor_arguments, snake_case, suggestion, to_config
from striate.errors import ArgumentError, NotBuiltError, ShapeError
from striate.layers.symbolic import Node, SymbolicTensor, is_symbolic
from striate.layers.weight import Layout, Weight
from striate.shapes import Shape, Size, number, product, text, times

registry: Registry[Layer] = Registry("layer")
register = registry.register

Mask = Tensor | None
Shapes = Shape | list[Shape]


class LayerOptions(TypedDict, total=False):
    """The keyword arguments that every layer takes beside its own."""

    name: str | None
    trainable: bool
    input_shape: Sequence[Size] | None
    activity_regularizer: Any


class Layer(nn.Module, Configurable):
    """The base of all layers; see the module's docstring.

    Args:
        name: its name in the model, in messages and in `state_dict` keys; by default made from the class.
        trainable: `False` freezes its weights.
        input_shape: the shape of one sample, without the batch; the first layer of a `Sequential` may give it.
        activity_regularizer: a penalty on the layer's output, added to the training loss.

    A layer of your own needs `forward`, `build` if it has weights, and `compute_output_shape` if it changes the shape.

    Example:
        >>> @register("Doubled")
        ... class Doubled(Layer):
        ...     def forward(self, x):
        ...         return 2 * x
        >>> Doubled()(torch.ones(2))
        tensor([2., 2.])
    """

    input_rank: ClassVar[int | None] = None
    """How many axes the input must have, the batch included; `None` takes any."""
    axes: ClassVar[str] = ""
    """The axes of that input, for messages."""
    supports_masking: bool = False
    """Whether a mask of the input is also the mask of the output."""
    uses_mask: bool = False
    """Whether `forward` takes the mask of its input as `mask`."""
    makes_mask: bool = False
    """Whether the layer gives its output a mask of its own."""
    input_dtype: ClassVar[torch.dtype] = torch.float32
    """What a model that starts with this layer is fed."""

    def __init__(
        self,
        *,
        name: str | None = None,
        trainable: bool = True,
        input_shape: Sequence[Size] | None = None,
        activity_regularizer: Any = None,
        **unknown: Any,
    ) -> None:
        super().__init__()
        label = name or self.default_name()
        if unknown:
            known = [*constructor_arguments(type(self)), *LayerOptions.__annotations__]
            wrong = next(iter(unknown))
            raise ArgumentError(
                f"{label}: unknown argument {wrong!r}.{suggestion(wrong, known)} Known: {', '.join(known)}."
            )
        if "." in label or hasattr(nn.Module, label):
            raise ArgumentError(f"name={label!r}: a layer's name holds no dot and is no method of torch.nn.Module.")
        self.name = label
        self.has_own_name = name is not None
        self.declared_shape = None if input_shape is None else (None, *input_shape)
        self.activity_regularizer = regularizers.get(activity_regularizer)
        self.built = False
        self.input_shapes: list[Shapes] = []
        self.weight_list: list[Weight] = []
        self._symbolic_call: Node | None = None
        self._trainable = trainable

    @classmethod
    def default_name(cls) -> str:
        """The name of a layer that was given none."""
        return snake_case(cls.__name__)

    def _keep(self, **arguments: Any) -> None:
        """Store the initialisers, regularisers and constraints that a constructor received, looked up by name."""
        kinds = {"initializer": initializers, "regularizer": regularizers, "constraint": constraints}
        for argument, value in arguments.items():
            setattr(self, argument, kinds[argument.rpartition("_")[2]].get(value))

    def get_config(self) -> dict[str, Any]:
        own = [name for name in constructor_arguments(type(self)) if name not in LayerOptions.__annotations__]
        config = {name: to_config(getattr(self, name)) for name in own} | {"name": self.name}
        if not self._trainable:
            config["trainable"] = False
        if self.activity_regularizer is not None:
            config["activity_regularizer"] = to_config(self.activity_regularizer)
        return config

    # Building ----------------------------------------------------------------------------------------------------

    def build(self, *input_shapes: Any) -> None:
        """Make `self.op` and the weights for inputs of these shapes."""

    def check_input_shape(self, *input_shapes: Any) -> None:
        """Refuse inputs that the layer cannot take.

        Raises:
            ShapeError: the input has another number of axes than the layer takes.
        """
        if self.input_rank is None:
            return
        shape = input_shapes[0]
        if isinstance(shape, list):
            raise ShapeError(f"{self.name}: expected one input, got {len(shape)}.")
        if len(shape) != self.input_rank:
            hint = ""
            if len(shape) == self.input_rank - 1 and self.input_rank >= 4:
                hint = " For grey images add a channel axis: input_shape=(height, width, 1), x[..., None]."
            raise ShapeError(
                f"{self.name}: expected {self.input_rank} axes {self.axes}, got {len(shape)}: {text(shape)}.{hint}"
            )

    def build_once(self, *input_shapes: Any) -> None:
        """Check the shapes and build, the first time; later calls only check."""
        self.check_input_shape(*input_shapes)
        if self.built:
            return
        known = set(self.children())
        self.build(*input_shapes)
        for child in self.children():
            if child not in known:  # made just now, maybe after eval()
                child.train(self.training)
        self.built = True
        self.input_shapes = list(input_shapes)
        if not self._trainable:
            self.trainable = False

    def add_weight(self, name: str, path: str, layout: Layout | None = None, role: str | None = None) -> None:
        """Name the tensor at `path` as Keras does, and initialise it.

        `role` (by default the name) finds the constructor's `<role>_initializer`, `_regularizer`, `_constraint`.
        """
        role = role or name
        weight = Weight(
            name,
            path,
            layout or Layout(),
            getattr(self, f"{role}_regularizer", None),
            getattr(self, f"{role}_constraint", None),
        )
        self.weight_list.append(weight)
        shape = tuple(weight.keras_value(self).shape)
        weight.assign(self, getattr(self, f"{role}_initializer")(shape))

    # Calling -----------------------------------------------------------------------------------------------------

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if is_symbolic(args):
            return self.call_symbolic(*args, **kwargs)
        self.build_once(*(map_nested(arg, self._shape_of) for arg in args))
        return super().__call__(*args, **kwargs)

    def _shape_of(self, value: Any) -> Shape:
        if isinstance(value, np.ndarray):
            raise ArgumentError(f"{self.name}: got a numpy array; call it on torch.as_tensor(x).")
        return (None, *value.shape[1:])

    def call_symbolic(self, *args: Any, **kwargs: Any) -> Any:
        """Describe a call: infer the shapes, build, and return symbolic outputs."""
        for leaf in (leaf for arg in args for leaf in (arg if isinstance(arg, (list, tuple)) else [arg])):
            if not isinstance(leaf, SymbolicTensor):
                raise ArgumentError(f"{self.name}: symbolic tensors and {type(leaf).__name__} in one call.")
        input_shapes = self.shapes_of_call(*args, **kwargs)
        self.build_once(*input_shapes)
        output_shapes = self.compute_output_shape(*input_shapes)
        several = isinstance(output_shapes, list)
        node = Node(self, args, kwargs, several=several)
        self._symbolic_call = node
        node.outputs += [
            SymbolicTensor(shape, node, index)
            for index, shape in enumerate(output_shapes if isinstance(output_shapes, list) else [output_shapes])
        ]
        return list(node.outputs) if several else node.outputs[0]

    def shapes_of_call(self, *args: Any, **kwargs: Any) -> list[Any]:
        """The shapes that `build` and `compute_output_shape` receive for a symbolic call."""
        return [map_nested(arg, lambda tensor: tensor.shape) for arg in args]

    def expand(self, input_shape: Shape) -> list[Layer]:
        """The rows that a model makes of this layer for such an input: the layer, and any views around it."""
        return [self]

    @property
    def input(self) -> Any:
        """The symbolic input of the layer in its model."""
        return self._node().args[0]

    @property
    def output(self) -> Any:
        """The symbolic output of the layer in its model, from which another model can be made."""
        outputs = self._node().outputs
        return outputs[0] if len(outputs) == 1 else list(outputs)

    def _node(self) -> Node:
        if self._symbolic_call is None:
            raise NotBuiltError(f"{self.name} is in no model yet: call it on an Input, or add it to a Sequential.")
        return self._symbolic_call

    def mask_arguments(self, masks: list[Any]) -> dict[str, Any]:
        """The keyword arguments by which `forward` receives the masks of its positional arguments."""
        return {"mask": masks[0]} if self.uses_mask else {}

    def compute_mask(self, masks: list[Any], *args: Any) -> Mask:
        """The mask of the output, (batch, time) with `True` where a step is real, or `None`."""
        return masks[0] if self.supports_masking and not isinstance(masks[0], list) else None

    # Closed forms ------------------------------------------------------------------------------------------------

    def compute_output_shape(self, *input_shapes: Any) -> Shapes:
        """The shape of the output; a list of shapes where there are several outputs."""
        return input_shapes[0]

    def count_parameters(self, *input_shapes: Any) -> int:
        """How many parameters the layer has for this input, in closed form."""
        return 0

    def count_neurons(self, *input_shapes: Any) -> Size:
        """How many neurons the layer has for this input; `None` where that depends on the data's size."""
        return 0

    def formula(self, *input_shapes: Any) -> str:
        """The cost of the layer, with its numbers put in."""
        output_shape = self.compute_output_shape(*input_shapes)
        sizes = output_shape[0] if isinstance(output_shape, list) else output_shape
        values = number(product(sizes[1:]))
        worked = f"{times(sizes[1:])} = {values}" if len(sizes) > 2 else values
        return f"{worked} values; no parameters, no neurons"

    def explain(self, *input_shapes: Any) -> str:
        """The formulas of the layer with its numbers put in.

        Args:
            input_shapes: the shape of the input, batch included; by default the one the layer was built for.

        Raises:
            NotBuiltError: no shape was given and the layer is not built.
        """
        if not input_shapes:
            if not self.built:
                raise NotBuiltError(f"{self.name} is not built: give an input shape, explain((None, 28, 28, 1)).")
            input_shapes = tuple(self.input_shapes)
        return f"{self.name}: {self.formula(*input_shapes)}"

    def activation_parameters(self) -> int:
        """How many parameters the activation itself learns: none but for a few, such as `prelu`."""
        activation = self._modules.get("activation")
        return 0 if activation is None else sum(parameter.numel() for parameter in activation.parameters())

    def activation_formula(self) -> str:
        """The activation's own parameters as one more term of a sum, if it has any."""
        count = self.activation_parameters()
        return f" + {number(count)} of the activation" if count else ""

    # Weights -----------------------------------------------------------------------------------------------------

    @property
    def inner_layers(self) -> Iterable[Layer]:
        """The layers inside this one; most have none."""
        return [child for child in self.children() if isinstance(child, Layer)]

    def own_weights(self) -> list[tuple[Layer, Weight]]:
        """All weights with the layer that owns them, in Keras's order, those of a shared layer once."""
        own = [(self, weight) for weight in self.weight_list]
        activation = self._modules.get("activation")
        if activation is not None:
            for name, _ in activation.named_parameters():
                own.append((self, Weight(name.replace(".", "_"), f"activation.{name}", Layout())))
        seen = {self}
        for layer in self.inner_layers:
            if layer not in seen:
                seen.add(layer)
                own += [pair for pair in layer.own_weights() if pair not in own]
        return own

    @property
    def weights(self) -> list[Tensor]:
        """The weights, trained or not, as torch holds them."""
        return [weight.tensor(layer) for layer, weight in self.own_weights()]

    @property
    def trainable_weights(self) -> list[Tensor]:
        return [tensor for tensor in self.weights if tensor.requires_grad]

    @property
    def non_trainable_weights(self) -> list[Tensor]:
        return [tensor for tensor in self.weights if not tensor.requires_grad]

    def count_params(self) -> int:
        """How many parameters the built layer really holds, moving statistics included, as Keras counts them."""
        return sum(tensor.numel() for tensor in self.weights)

    def get_weights(self) -> list[np.ndarray]:
        """Copies of the weights as arrays, in Keras's order and layout."""
        return [w.keras_value(layer).detach().cpu().numpy().copy() for layer, w in self.own_weights()]

    def set_weights(self, values: Sequence[np.ndarray]) -> None:
        """Take weights in Keras's order and layout, such as `get_weights` of a Keras layer gives.

        Raises:
            NotBuiltError: the layer is not built, so it has no weights yet.
            ShapeError: another number of arrays, or an array of another shape.
        """
        if not self.built:
            raise NotBuiltError(f"{self.name} is not built, so it has no weights yet: give it an input shape first.")
        pairs = self.own_weights()
        if len(values) != len(pairs):
            names = ", ".join(weight.name for _, weight in pairs)
            raise ShapeError(f"{self.name}: expected {len(pairs)} weights ({names}), got {len(values)}.")
        tensors = [torch.as_tensor(np.asarray(value)) for value in values]
        for (layer, weight), tensor in zip(pairs, tensors, strict=True):
            expected = weight.keras_value(layer).shape
            if tensor.shape != expected:
                raise ShapeError(
                    f"{layer.name}: {weight.name} has shape {tuple(expected)}, got an array of {tuple(tensor.shape)}."
                )
        for (layer, weight), tensor in zip(pairs, tensors, strict=True):
            weight.assign(layer, tensor)

    @property
    def trainable(self) -> bool:
        """Whether training changes the weights; setting it applies to all layers inside."""
        return self._trainable

    @trainable.setter
    def trainable(self, value: bool) -> None:
        self._trainable = value
        for module in self.modules():
            if isinstance(module, Layer):
                module._trainable = value
        for parameter in self.parameters():
            parameter.requires_grad_(value)

    @torch.no_grad()
    def apply_constraints(self) -> None:
        """Put the weights of this layer back into their constraints, after a step of the optimiser."""
        for weight in self.weight_list:
            if weight.constraint is not None:
                weight.assign(self, weight.constraint(weight.keras_value(self)))

    def regularization(self) -> Tensor | None:
        """The penalty on the weights of this layer (not of layers inside it), or `None` without regularisers."""
        penalties = [w.regularizer(w.keras_value(self)) for w in self.weight_list if w.regularizer is not None]
        return torch.stack(penalties).sum() if penalties else None

    def __getstate__(self) -> dict[str, Any]:
        # A copied layer starts its own history: following the old one would copy the whole model.
        return {**self.__dict__, "_symbolic_call": None}

    def extra_repr(self) -> str:
        return f"name={self.name!r}"
