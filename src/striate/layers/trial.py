"""Running a torch module on tensors that have shapes and no values, to learn what it makes of a shape.

Nothing is computed or allocated. What runs is a shallow copy with fake weights and buffers and without hooks: the
module itself, its mode, its buffers, its hooks and the random state stay as they are.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn.modules.conv import _ConvNd
from torch.nn.modules.rnn import RNNCellBase

from striate._nested import leaves
from striate.account.shadow import shadow_of
from striate.shapes import Shape, Size

# What unknown sizes are tried as, the batch and all others; what differs between the two runs depends on them.
_TRIALS = ((2, 96), (3, 128))


def trial(module: Any, input_shapes: Sequence[Shape], dtype: torch.dtype) -> tuple[list[Shape], Size]:
    """The shapes of the outputs of `module(*inputs)`, and the number of neurons at work.

    Args:
        module: a module or a function of tensors.
        input_shapes: the shape of each input, batch included.
        dtype: what the inputs are taken for at first; where that fails, each is tried as floats and as integers.

    Neurons are those of torch's own layers, by the definition in `striate.layers.layer`; a layer that is called again
    is counted once, and functions such as `torch.nn.functional.linear` are not seen.

    Raises:
        Exception: whatever the module raises.
    """
    tensors = [*module.parameters(), *module.buffers()] if isinstance(module, nn.Module) else []
    device = next((tensor.device for tensor in tensors), torch.get_default_device())
    floats = next((tensor.dtype for tensor in tensors if tensor.is_floating_point()), torch.get_default_dtype())
    order = (floats, torch.int64) if dtype.is_floating_point else (torch.int64, floats)
    first_error: Exception | None = None
    for dtypes in itertools.product(order, repeat=len(input_shapes)):
        try:
            (shapes, neurons), (other_shapes, other_neurons) = (
                _run(module, input_shapes, dtypes, device, batch, size) for batch, size in _TRIALS
            )
        except Exception as error:
            first_error = first_error or error
            continue
        merged = [
            tuple(a if a == b else None for a, b in zip(*pair, strict=True))
            for pair in zip(shapes, other_shapes, strict=True)
        ]
        return merged, neurons if neurons == other_neurons else None
    assert first_error is not None
    raise first_error


def tensors_in(outputs: Any) -> list[Tensor]:
    """The tensors in what a module returned, in order."""
    return [leaf for leaf in leaves(outputs) if isinstance(leaf, Tensor)]


def _run(
    module: Any,
    input_shapes: Sequence[Shape],
    dtypes: Sequence[torch.dtype],
    device: torch.device,
    batch: int,
    size: int,
) -> tuple[list[Shape], int]:
    neurons: dict[nn.Module, int] = {}

    def count(layer: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
        neurons.setdefault(layer, _neurons(layer, args, kwargs, output, batch))

    def known(shape: Shape) -> list[int]:
        return [(size if axis else batch) if length is None else length for axis, length in enumerate(shape)]

    fake = FakeTensorMode(allow_non_fake_inputs=True)
    fastpath = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)  # it would go past the layers inside a transformer
    try:
        with torch.no_grad():
            if isinstance(module, nn.Module):
                module, _ = shadow_of(module, fake.from_tensor)
                for layer in module.modules():
                    layer.register_forward_hook(count, with_kwargs=True)
            with fake:
                inputs = [
                    torch.empty(known(shape), dtype=dtype, device=device)
                    for shape, dtype in zip(input_shapes, dtypes, strict=True)
                ]
                outputs = module(*inputs)
    finally:
        torch.backends.mha.set_fastpath_enabled(fastpath)
    return [tuple(output.shape) for output in tensors_in(outputs)], sum(neurons.values())


def _neurons(layer: nn.Module, args: Sequence[Any], kwargs: dict[str, Any], output: Any, batch: int) -> int:
    """The neurons of one of torch's layers in one call; other modules have none of their own."""
    if isinstance(layer, (nn.Linear, nn.Bilinear, _ConvNd)):
        return output.numel() // batch
    if isinstance(layer, nn.RNNBase):
        return layer.num_layers * (1 + layer.bidirectional) * (layer.hidden_size + layer.proj_size)
    if isinstance(layer, RNNCellBase):
        return layer.hidden_size
    if isinstance(layer, nn.MultiheadAttention):
        inputs = dict(zip(("query", "key", "value"), args, strict=False)) | kwargs
        positions = {name: inputs[name].numel() // inputs[name].shape[-1] for name in ("query", "key", "value")}
        # The query's and the output's projection are at the query's positions.
        return layer.embed_dim * (2 * positions["query"] + positions["key"] + positions["value"]) // batch
    return 0
