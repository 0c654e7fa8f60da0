"""Engines within torch: memory layout, precision, folded batch normalisation, compilation."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import nn
from torch.utils import _pytree as pytree

from striate.inference.subject import Run, Subject, Unusable


def eager(subject: Subject) -> tuple[Run, str]:
    """The model as it is."""
    return subject.model, ""


def channels_last(subject: Subject) -> tuple[Run, str]:
    """Weights in the layout that convolutions want; each batch normalisation folded into its convolution."""
    module, note = subject.shared("folded", lambda: _folded(subject.model))
    return _copied(module), note


def bf16(subject: Subject) -> tuple[Run, str]:
    """The same in bfloat16."""
    require_bfloat16(subject.device)
    module, note = subject.shared("folded", lambda: _folded(subject.model))
    return _in_bfloat16(_copied(module).to(torch.bfloat16)), note


def compiled(subject: Subject) -> tuple[Run, str]:
    """`torch.compile` with the weights as constants."""
    return _compiled(_copied(subject.model)), "compiles new input shapes"


def compiled_bf16(subject: Subject) -> tuple[Run, str]:
    """The same in bfloat16."""
    require_bfloat16(subject.device)
    return _in_bfloat16(_compiled(_copied(subject.model).to(torch.bfloat16))), "compiles new input shapes"


def _copied(module: nn.Module) -> nn.Module:
    """A copy with the weights of convolutions in channels-last order."""
    return copy.deepcopy(module).to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def _folded(model: nn.Module) -> tuple[nn.Module, str]:
    """The model with each batch normalisation that follows a convolution as part of its weights, where it traces."""
    if not any(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in model.modules()):
        return model, ""
    from torch.fx.experimental.optimization import fuse

    try:
        return fuse(model), ""
    except Exception:  # a forward that branches on its data raises whatever it likes while it is traced
        return model, "batch normalisation not folded: the model does not trace"


def _compiled(module: nn.Module) -> Run:
    from torch._inductor import config

    def run(*args: Any, **kwargs: Any) -> Any:
        return module(*args, **kwargs)

    # torch keeps compiled code with the code object and gives up after a few versions: each model needs its own.
    run.__code__ = run.__code__.replace(co_name=f"run_{id(module):x}")
    compiled = torch.compile(run)

    def frozen(*args: Any, **kwargs: Any) -> Any:
        # As an option of torch.compile it comes too late: the tracer has to see weights as constants already.
        with config.patch(freezing=True):
            return compiled(*args, **kwargs)

    return frozen


def _in_bfloat16(run: Run) -> Run:
    """`run` on inputs in bfloat16, its outputs in float32."""

    def to(leaf: Any, source: torch.dtype, target: torch.dtype) -> Any:
        return leaf.to(target) if isinstance(leaf, torch.Tensor) and leaf.dtype == source else leaf

    def converted(*args: Any, **kwargs: Any) -> Any:
        args, kwargs = pytree.tree_map(lambda leaf: to(leaf, torch.float32, torch.bfloat16), (args, kwargs))
        return pytree.tree_map(lambda leaf: to(leaf, torch.bfloat16, torch.float32), run(*args, **kwargs))

    return converted


def require_bfloat16(device: torch.device) -> None:
    """Refuse bfloat16 where it is emulated, which may take minutes."""
    if device.type == "cuda":
        native = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        native = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    if not native:
        raise Unusable(f"this {device.type} has no products in bfloat16")
