"""Running a torch module on tensors that have shapes and no values, to learn what it does with a shape.

Nothing is computed or allocated. What runs is a shallow copy with fake weights and buffers and without hooks: the
module itself, its mode, its buffers, its hooks and the random state stay as they are.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

# What unknown sizes are tried as: the batch, and all others. What differs between the two runs depends on them.
TRIALS = ((2, 96), (3, 128))


def run(
    module: Callable[..., Any],
    call: Callable[[Callable[..., Any], list[Any]], Any],
    shapes: Sequence[Any],
    dtypes: Sequence[torch.dtype],
    batch: int,
    size: int,
    hook: Callable[..., None] | None = None,
) -> Any:
    """What `call(module, inputs)` returns for inputs of these shapes, as fake tensors.

    Args:
        module: a module or function.
        call: how it is called on the inputs.
        shapes: the shapes of the inputs, each with the batch; lists of shapes give lists of tensors.
        dtypes: the type of each tensor.
        batch: what an unknown batch is tried as.
        size: what other unknown sizes are tried as.
        hook: called as `hook(module, args, kwargs, output)` after each module inside.
    """
    fake = FakeTensorMode(allow_non_fake_inputs=True)
    device, remaining = _device(module), iter(dtypes)
    fastpath = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)  # it goes past the modules inside a transformer
    try:
        with torch.no_grad():
            copy = _copied(module, fake, {}) if isinstance(module, nn.Module) else module
            if hook is not None and isinstance(copy, nn.Module):
                for inner in copy.modules():
                    inner.register_forward_hook(hook, with_kwargs=True)
            with fake:
                inputs = [_made(shape, remaining, device, batch, size) for shape in shapes]
                return call(copy, inputs)
    finally:
        torch.backends.mha.set_fastpath_enabled(fastpath)
