"""Penalties on weights and activations, added to the loss, and constraints, kept after each step."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

from striate.layers.layer import Layer


class Penalties:
    """The regularisers and constraints of all Striate layers in a module; there are none in other modules."""

    def __init__(self, module: nn.Module) -> None:
        layers = [part for part in module.modules() if isinstance(part, Layer)]
        self._on_weights = [layer for layer in layers if any(w.regularizer for w in layer.weight_list)]
        self._on_outputs = [layer for layer in layers if layer.activity_regularizer is not None]
        self._constrained = [layer for layer in layers if any(w.constraint for w in layer.weight_list)]
        self._seen: list[Tensor] = []

    @property
    def on_weights(self) -> bool:
        """Whether weights are penalised or constrained."""
        return bool(self._on_weights or self._constrained)

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Hold the hooks that see the outputs of layers with an activity regulariser."""
        handles = [layer.register_forward_hook(self._see) for layer in self._on_outputs]
        try:
            yield
        finally:
            self._seen.clear()
            for handle in handles:
                handle.remove()

    def _see(self, layer: nn.Module, _: Any, output: Any) -> None:
        assert isinstance(layer, Layer) and layer.activity_regularizer is not None
        for tensor in output if isinstance(output, (list, tuple)) else [output]:
            # As in Keras, the penalty does not grow with the batch.
            self._seen.append(layer.activity_regularizer(tensor) / tensor.shape[0])

    def add_to(self, loss: Tensor) -> Tensor:
        """The loss with the penalties of the forward pass that was just made."""
        for layer in self._on_weights:
            penalty = layer.regularization()
            assert penalty is not None
            loss = loss + penalty
        for penalty in self._seen:
            loss = loss + penalty
        self._seen.clear()
        return loss

    def constrain(self) -> None:
        """Put constrained weights back, after a step of the optimiser."""
        for layer in self._constrained:
            layer.apply_constraints()
