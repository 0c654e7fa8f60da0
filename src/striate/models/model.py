"""The functional model: layers called in a graph, trained, evaluated, explained and saved.

`Model` says what a model is and runs it. How it is trained is in `striate.models.training`, which hands on to
`striate.train`; how its summary is drawn in `striate.account`; how it is written to a file in `striate.models.saving`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self, overload

from torch import nn

from striate import layers as _layers
from striate._nested import leaves
from striate._registry import suggestion
from striate.account.summary import Row, render_summary
from striate.data.tensors import by_name
from striate.errors import ArgumentError, NotBuiltError, ShapeError
from striate.layers.input import InputLayer
from striate.layers.layer import Layer, Shapes, register
from striate.layers.symbolic import SymbolicTensor
from striate.models.graph import Slot, Step, decode, fill, make_steps, nodes_between, unique_names
from striate.models.saving import save
from striate.models.training import Trainable
from striate.shapes import Shape, Size, product, text


class LayerList(nn.Module):
    """The layers of a model, by position and by name; `state_dict` keys start with `layers.<name>.`"""

    _modules: dict[str, Layer]  # type: ignore[assignment]

    def __init__(self, named: Mapping[str, Layer]) -> None:
        super().__init__()
        self._modules.update(named)  # not add_module: a layer may be named "keys"

    @overload
    def __getitem__(self, key: int | str) -> Layer: ...
    @overload
    def __getitem__(self, key: slice) -> list[Layer]: ...
    def __getitem__(self, key: int | str | slice) -> Layer | list[Layer]:
        return self._modules[key] if isinstance(key, str) else list(self._modules.values())[key]

    def __iter__(self) -> Iterator[Layer]:
        return iter(self._modules.values())

    def __len__(self) -> int:
        return len(self._modules)

    def __contains__(self, layer: object) -> bool:
        return layer in self._modules.values()

    def names(self) -> list[str]:
        return list(self._modules)

    def items(self) -> Iterable[tuple[str, Layer]]:
        return self._modules.items()


@register("Model")
class Model(Trainable, Layer):
    """A network of layers between inputs and outputs. It is a `torch.nn.Module`, and a layer of other models.

    Args:
        inputs: an `Input`, or a list of them.
        outputs: what the layers gave, or a list.
        name: the model's name.

    Raises:
        ArgumentError: an output depends on an input that is not listed, or two layers have the same name.

    Example:
        >>> import torch
        >>> from striate.layers import Add, Dense, Input
        >>> x = Input((8,))
        >>> hidden = Dense(8, activation="relu")(x)
        >>> model = Model(x, Dense(2)(Add()([x, hidden])))
        >>> model(torch.zeros(5, 8)).shape
        torch.Size([5, 2])
        >>> [layer.name for layer in model.layers]
        ['input', 'dense', 'add', 'dense_1']
    """

    _lists_inputs = True  # whether `layers` shows the InputLayers, as Keras does for this kind of model

    def __init__(self, inputs: Any, outputs: Any, name: str | None = None, **options: Any) -> None:
        super().__init__(name=name, **options)
        self._set_graph(inputs, outputs)

    # The graph ---------------------------------------------------------------------------------------------------

    def _set_graph(self, inputs: Any, outputs: Any) -> None:
        """Read the calls between symbolic inputs and outputs."""
        input_list, output_list = _listed(inputs), _listed(outputs)
        for kind, tensors in (("inputs", input_list), ("outputs", output_list)):
            for tensor in tensors:
                if not isinstance(tensor, SymbolicTensor):
                    raise ArgumentError(
                        f"Model({kind}=...): expected what Input or a layer gave, got {type(tensor).__name__}."
                    )
        input_layers = [_input_layer(tensor) for tensor in input_list]
        nodes = nodes_between(input_list, output_list)
        named = unique_names([*input_layers, *(node.layer for node in nodes)])
        steps, output_slots, slots = make_steps(input_list, output_list, nodes)

        self.input_layers = input_layers
        hidden = () if self._lists_inputs else input_layers
        self.layers = LayerList({name: layer for name, layer in named.items() if layer not in hidden})
        self.steps, self.output_slots, self.slots = steps, output_slots, slots
        self.several_inputs = isinstance(inputs, (list, tuple))
        self.several_outputs = isinstance(outputs, (list, tuple))
        self.makes_mask = any(layer.makes_mask for layer in self.layers)
        self._symbols = (input_list, output_list)
        self.input_shapes = [[layer.batch_shape for layer in input_layers]]
        if not self.several_inputs:
            self.input_shapes = self.input_shapes[0]  # type: ignore[assignment]
        self.built = True
        if not self._trainable:
            self.trainable = False

    def _replay(self, inputs: Sequence[Any], call: Any) -> list[Any]:
        """Go through the steps with `call(layer, step, args, kwargs) -> outputs` in the place of data."""
        values: list[Any] = [*inputs, *([None] * (self.slots - len(inputs)))]
        for step in self.steps:
            layer = self.layers[step.layer]
            outputs = call(layer, step, fill(step.args, values), {k: fill(v, values) for k, v in step.kwargs.items()})
            for slot, value in zip(step.outputs, outputs if step.several else [outputs], strict=True):
                values[slot] = value
        return [values[slot] for slot in self.output_slots]

    @property
    def inputs(self) -> list[SymbolicTensor]:
        """The symbolic inputs, from which other models can be made."""
        self._require_built()
        return self._symbols[0]

    @property
    def outputs(self) -> list[SymbolicTensor]:
        """The symbolic outputs, from which other models can be made."""
        self._require_built()
        return self._symbols[1]

    @property
    def input(self) -> Any:
        return self.inputs if self.several_inputs else self.inputs[0]

    @property
    def output(self) -> Any:
        return self.outputs if self.several_outputs else self.outputs[0]

    @property
    def input_names(self) -> list[str]:
        """The names of the inputs."""
        return [layer.name for layer in self.input_layers]

    @property
    def output_names(self) -> list[str]:
        """The names of the layers that give the outputs."""
        maker = {slot: step.layer for step in self.steps for slot in step.outputs}
        return [
            maker.get(slot, self.input_layers[min(slot, len(self.input_layers) - 1)].name) for slot in self.output_slots
        ]

    def _require_built(self) -> None:
        if not self.built:
            raise NotBuiltError(
                f"{self.name} has no input shape yet: start it with Input((28, 28, 1)), give its first layer "
                "input_shape=..., or call it on data."
            )

    # Running -----------------------------------------------------------------------------------------------------

    def check_input_shape(self, *input_shapes: Any) -> None:
        expected = [layer.batch_shape for layer in self.input_layers]
        received = _listed(input_shapes[0]) if len(input_shapes) == 1 else list(input_shapes)
        if len(received) != len(expected):
            raise ShapeError(f"{self.name}: expected {len(expected)} inputs, got {len(received)}.")
        for layer, shape, wanted in zip(self.input_layers, received, expected, strict=True):
            fits = len(shape) == len(wanted) and all(
                a is None or b is None or a == b for a, b in zip(shape[1:], wanted[1:], strict=True)
            )
            if not fits:
                raise ShapeError(
                    f"{self.name}: {layer.name} expects {text(wanted)}, got {text(shape)}.{_shape_hint(shape, wanted)}"
                )

    def forward(self, inputs: Any, mask: Any = None, return_mask: bool = False) -> Any:
        """Run the layers.

        Args:
            inputs: a tensor or a list of tensors; a call also takes a dict by input name.
            mask: the mask of each input, where the model is part of a masked model.
            return_mask: also return the mask of the output, or a list of them.
        """
        values: list[Any] = [
            layer.forward(tensor)
            for layer, tensor in zip(
                self.input_layers, inputs if isinstance(inputs, (list, tuple)) else (inputs,), strict=True
            )
        ]
        values += [None] * (self.slots - len(values))
        masked = self.makes_mask or mask is not None
        masks: list[Any] = [*_listed(mask if mask is not None else [None] * len(self.input_layers))]
        masks += [None] * (self.slots - len(masks))
        for step in self.steps:
            layer = self.layers._modules[step.layer]
            args = [fill(arg, values) for arg in step.args]
            kwargs = {key: fill(value, values) for key, value in step.kwargs.items()}
            if masked:
                outputs, found = _call_masked(layer, args, kwargs, [fill(arg, masks) for arg in step.args])
                for slot, output_mask in zip(step.outputs, _listed(found), strict=False):
                    masks[slot] = output_mask
            else:
                outputs = nn.Module.__call__(layer, *args, **kwargs)  # shapes were checked when the model was made
            for slot, value in zip(step.outputs, outputs if step.several else (outputs,), strict=True):
                values[slot] = value
            for slot in step.release:
                values[slot] = None
        results, output_masks = ([part[slot] for slot in self.output_slots] for part in (values, masks))
        if not self.several_outputs:
            return (results[0], output_masks[0]) if return_mask else results[0]
        return (results, output_masks) if return_mask else results

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if args and isinstance(args[0], Mapping):
            args = (by_name(args[0], self.input_names, f"{self.name}: inputs"), *args[1:])
        return super().__call__(*args, **kwargs)

    def _receive(self, x: Any) -> Any:
        self._require_built()
        return x

    # Closed forms ------------------------------------------------------------------------------------------------

    def calls(self, input_shapes: Sequence[Any] | None = None) -> list[tuple[Step, Layer, list[Any], Shapes]]:
        """Each call of a layer: the step, the layer, its input shapes and its output shapes."""
        self._require_built()
        found: list[tuple[Step, Layer, list[Any], Shapes]] = []

        def infer(layer: Layer, step: Step, args: list[Any], _: Any) -> Shapes:
            found.append((step, layer, args, layer.compute_output_shape(*args)))
            return found[-1][-1]

        self._replay(
            [layer.batch_shape for layer in self.input_layers] if input_shapes is None else input_shapes, infer
        )
        return found

    def compute_output_shape(self, *input_shapes: Any) -> Shapes:
        self._require_built()
        shapes = self._replay(
            _listed(input_shapes[0]), lambda layer, _step, args, _kwargs: layer.compute_output_shape(*args)
        )
        return shapes if self.several_outputs else shapes[0]

    def _first_calls(self, input_shapes: Sequence[Any] | None) -> Iterator[tuple[Layer, list[Any]]]:
        """Each layer once, with the shapes of its first call: a layer that is called again reuses its neurons."""
        seen = set()
        for _, layer, shapes, _ in self.calls(input_shapes):
            if layer not in seen:
                seen.add(layer)
                yield layer, shapes

    def count_parameters(self, *input_shapes: Any) -> int:
        shapes = _listed(input_shapes[0]) if input_shapes else None
        return sum(layer.count_parameters(*s) for layer, s in self._first_calls(shapes))

    def count_neurons(self, *input_shapes: Any) -> Size:
        """How many neurons the model has, as `striate.layers.layer` defines them; each layer counts once."""
        shapes = _listed(input_shapes[0]) if input_shapes else None
        return _total(layer.count_neurons(*s) for layer, s in self._first_calls(shapes))

    def formula(self, *input_shapes: Any) -> str:
        return f"a model of {len(self.layers)} layers, {self.count_parameters(*input_shapes):,} parameters"

    def explain(self, *input_shapes: Any) -> str:
        """Every layer's formulas with the numbers put in, one line each; prints nothing, returns the text."""
        shapes = _listed(input_shapes[0]) if input_shapes else None
        lines = [layer.explain() for layer in self.input_layers]
        lines += [f"{layer.name}: {layer.formula(*s)}" for layer, s in self._first_calls(shapes)]
        return "\n".join(lines)

    def summary_rows(self, expand_nested: bool = False) -> list[Row]:
        """One row for each layer, for `render_summary`."""
        self._require_built()
        maker = {slot: layer.name for slot, layer in enumerate(self.input_layers)}
        rows: dict[str, Row] = {}
        if self._lists_inputs:
            rows = {i.name: Row(i.name, "InputLayer", i.batch_shape, 0, 0) for i in self.input_layers}
        branched = self._is_branched()
        for step, layer, shapes, output_shape in self.calls():
            maker |= dict.fromkeys(step.outputs, step.layer)
            sources = tuple(maker[slot.index] for slot in _slots([step.args, step.kwargs])) if branched else ()
            if step.layer in rows:  # a shared layer is one row, with the sources of all its calls
                before = rows[step.layer]
                rows[step.layer] = dataclasses.replace(before, connected_to=before.connected_to + sources)
                continue
            inner = layer.summary_rows(expand_nested=True) if expand_nested and isinstance(layer, Model) else []
            rows[step.layer] = Row(
                step.layer,
                type(layer).__name__,
                output_shape,
                layer.count_params(),
                layer.count_neurons(*shapes),
                sources,
                tuple(inner),
            )
        return list(rows.values())

    def _is_branched(self) -> bool:
        return len(self.input_layers) > 1 or any(
            [slot.index for slot in _slots([step.args, step.kwargs])] != [before]
            for step, before in zip(self.steps, [0, *(s.outputs[0] for s in self.steps)], strict=False)
        )

    def summary(self, expand_nested: bool = False, print_fn: Any = None) -> None:
        """Print the layers with their output shapes, parameters and neurons, and the totals.

        Args:
            expand_nested: also list the layers of models inside this one.
            print_fn: takes the text instead of `print`.
        """
        trainable = sum(tensor.numel() for tensor in self.trainable_weights)
        table = render_summary(
            self.name,
            self.summary_rows(expand_nested),
            parameters=self.count_params(),
            trainable=trainable,
            bytes_of_parameters=sum(tensor.numel() * tensor.element_size() for tensor in self.weights),
            neurons=self.count_neurons(),
            features=_total(product(layer.shape) for layer in self.input_layers),
        )
        (print_fn or print)(table)

    def get_layer(self, name: str | None = None, index: int | None = None) -> Layer:
        """A layer by its name or its position.

        Raises:
            ArgumentError: neither or both are given, or there is no such layer.
        """
        if (name is None) == (index is None):
            raise ArgumentError("get_layer takes either a name or an index.")
        if index is not None:
            if not -len(self.layers) <= index < len(self.layers):
                raise ArgumentError(f"{self.name} has {len(self.layers)} layers; there is none at index {index}.")
            return self.layers[index]
        assert name is not None
        if name not in self.layers.names():
            names = self.layers.names()
            raise ArgumentError(
                f"{self.name} has no layer {name!r}.{suggestion(name, names)} Layers: {', '.join(names)}."
            )
        return self.layers[name]

    def own_weights(self) -> list[Any]:
        pairs: list[Any] = []
        seen: set[tuple[int, str]] = set()
        for layer in self.layers:
            for owner, weight in layer.own_weights():
                if (id(owner), weight.path) not in seen:
                    seen.add((id(owner), weight.path))
                    pairs.append((owner, weight))
        return pairs

    # Copies and files --------------------------------------------------------------------------------------------

    def save(self, path: str | Path) -> None:
        """Write the model to one safetensors file; see `striate.models.saving`."""
        save(self, path)

    def get_config(self) -> dict[str, Any]:
        self._require_built()
        return {
            "name": self.name,
            "trainable": self.trainable,
            "inputs": [layer.get_config() for layer in self.input_layers],
            "layers": [
                {"class": type(layer).__name__, "config": layer.get_config() | {"name": name}}
                for name, layer in self.layers.items()
                if layer not in self.input_layers
            ],
            "steps": [step.to_json() for step in self.steps],
            "outputs": self.output_slots,
            "several_inputs": self.several_inputs,
            "several_outputs": self.several_outputs,
        }

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        made = {entry["config"]["name"]: _layers.get(entry) for entry in config["layers"]}
        values: dict[int, Any] = {slot: InputLayer(**entry).output for slot, entry in enumerate(config["inputs"])}
        inputs = list(values.values())
        for step in config["steps"]:
            kwargs = {key: decode(value, values) for key, value in step["kwargs"].items()}
            outputs = made[step["layer"]](*(decode(arg, values) for arg in step["args"]), **kwargs)
            values |= dict(zip(step["outputs"], _listed(outputs), strict=True))
        outputs = [values[slot] for slot in config["outputs"]]
        return cls(
            inputs if config["several_inputs"] else inputs[0],
            outputs if config["several_outputs"] else outputs[0],
            name=config["name"],
            trainable=config["trainable"],
        )

    def __getstate__(self) -> dict[str, Any]:
        # A copy is compiled as the original is, and starts with a fresh optimiser and a history of its own.
        return super().__getstate__() | {"_symbols": None, "_trainer": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        if self.built:
            inputs = [layer.output for layer in self.input_layers]
            # Layer's own call: the views that a wrapped module asks for are among the steps already.
            outputs = self._replay(inputs, lambda layer, _, args, kwargs: Layer.call_symbolic(layer, *args, **kwargs))
            self._symbols = (inputs, outputs)


def _listed(value: Any) -> list[Any]:
    """Inputs or outputs as a list. (A shape is a tuple, so a tuple is one of them.)"""
    return list(value) if isinstance(value, list) else [value]


def _input_layer(tensor: SymbolicTensor) -> InputLayer:
    if not isinstance(tensor.node.layer, InputLayer):
        raise ArgumentError(
            f"Model(inputs=...): expected what Input gave, got the output of {tensor.node.layer.name!r}."
        )
    return tensor.node.layer


def _slots(structure: Any) -> list[Slot]:
    return [leaf for leaf in leaves(structure) if isinstance(leaf, Slot)]


def _total(sizes: Iterable[Size]) -> Size:
    sizes = list(sizes)
    return None if None in sizes else sum(size for size in sizes if size is not None)


def _call_masked(layer: Layer, args: list[Any], kwargs: dict[str, Any], masks: list[Any]) -> tuple[Any, Any]:
    """Call a layer with the masks of its inputs; its outputs, and the mask of the first, or those of all."""
    if any(leaf is not None for leaf in leaves(masks)):
        kwargs = layer.mask_arguments(masks) | kwargs
    if isinstance(layer, Model):
        return nn.Module.__call__(layer, *args, **kwargs, return_mask=True)
    return nn.Module.__call__(layer, *args, **kwargs), layer.compute_mask(masks, *args)


def _shape_hint(received: Shape, expected: Shape) -> str:
    """What to do where a shape is nearly right."""
    if len(received) == len(expected) - 1 and expected[-1] == 1:
        return " Add the channel axis: x[..., None]."
    if len(received) == len(expected) >= 4 and (received[0], *received[2:], received[1]) == tuple(expected):
        return " This is channels-first: move the channels to the end, np.moveaxis(x, 1, -1)."
    return ""
