"""Initialisers by Keras's names, with Keras 3's defaults: `initializer(shape) -> Tensor`.

Shapes are in Keras's layout, inputs before outputs: a dense kernel is `(inputs, outputs)`, a convolution's
`(height, width, inputs, outputs)`. Values are made on torch's default device, so that under `torch.device("meta")`
nothing is drawn or allocated.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from striate import shapes
from striate._registry import Configurable, Registry
from striate.errors import ArgumentError, ShapeError

_registry: Registry[Initializer] = Registry("initializer")
register = _registry.register

# The standard deviation of a standard normal distribution cut off at ±2.
_TRUNCATED_STDDEV = 0.87962566103423978


def get(identifier: Any) -> Callable[..., Tensor]:
    """The initialiser of a name or a config; an initialiser or any `function(shape, dtype)` is returned as it is.

    Raises:
        UnknownNameError: no initialiser has that name.
        ArgumentError: neither a name, a config nor callable.

    Example:
        >>> get("ones")((2, 3))
        tensor([[1., 1., 1.],
                [1., 1., 1.]])
        >>> get("he_uniform").get_config()
        {'seed': None, 'input_axes': None, 'output_axes': None}
    """
    initializer = _registry.get(identifier)
    if not callable(initializer):
        raise ArgumentError(
            f"initializer={identifier!r}: expected a name such as 'glorot_uniform', a config or a function of a shape."
        )
    return initializer


class Initializer(Configurable, ABC):
    """What makes the first values of a weight."""

    @abstractmethod
    def __call__(self, shape: Sequence[int], dtype: torch.dtype = torch.float32) -> Tensor:
        """A new tensor of `shape`."""


@register("zeros", "Zeros", "zero")
class Zeros(Initializer):
    """All zeros; Keras's default for biases."""

    def __call__(self, shape: Sequence[int], dtype: torch.dtype = torch.float32) -> Tensor:
        return torch.zeros(tuple(shape), dtype=dtype)


@register("ones", "Ones", "one")
class Ones(Initializer):
    """All ones; Keras's default for the scale of a normalisation."""

    def __call__(self, shape: Sequence[int], dtype: torch.dtype = torch.float32) -> Tensor:
        return torch.ones(tuple(shape), dtype=dtype)


@register("constant", "Constant")
class Constant(Initializer):
    """Given values: one number, or an array that broadcasts to the weight's shape.

    Example:
        >>> Constant([1, 2])((3, 2))
        tensor([[1., 2.],
                [1., 2.],
                [1., 2.]])
    """

    def __init__(self, value: Any = 0.0) -> None:
        self.value = value

    def __call__(self, shape: Sequence[int], dtype: torch.dtype = torch.float32) -> Tensor:
        value = torch.as_tensor(self.value, dtype=dtype)
        try:
            return value.broadcast_to(tuple(shape)).clone()
        except RuntimeError:
            raise ShapeError(
                f"Constant: values of shape {shapes.text(value.shape)} do not broadcast to a weight of shape "
                f"{shapes.text(shape)}. Give one number or an array of the weight's shape."
            ) from None


@register("identity", "Identity")
class Identity(Initializer):
    """`gain` on the diagonal of a matrix, zero elsewhere."""

    def __init__(self, gain: float = 1.0) -> None:
        self.gain = gain

    def __call__(self, shape: Sequence[int], dtype: torch.dtype = torch.float32) -> Tensor:
        if len(shape) != 2:
            raise ShapeError(
                f"Identity: a weight of shape {shapes.text(shape)} is no matrix; choose another initializer."
            )
        return self.gain * torch.eye(*shape, dtype=dtype)


class RandomInitializer(Initializer):
    """An initialiser that draws.

    Args:
        seed: an integer gives the same values at every call; `None` draws from torch's global random state.
    """

    def __init__(self, seed: int | None = None) -> None:
        if seed is not None and (not isinstance(seed, int) or isinstance(seed, bool)):
            raise ArgumentError(f"seed={seed!r}: expected an integer, or None for torch's global random state.")
        self.seed = seed

    def _generator(self) -> torch.Generator | None:
        device = torch.get_default_device()
        if self.seed is None or device.type == "meta":  # the meta device draws nothing and has no generators
            return None
        return torch.Generator(device).manual_seed(self.seed)

    def _uniform(self, shape: Sequence[int], dtype: torch.dtype, low: float, high: float) -> Tensor:
        return torch.empty(tuple(shape), dtype=dtype).uniform_(low, high, generator=self._generator())

    def _normal(self, shape: Sequence[int], dtype: torch.dtype, mean: float, stddev: float) -> Tensor:
        return torch.empty(tuple(shape), dtype=dtype).normal_(mean, stddev, generator=self._generator())

    def _truncated_normal(self, shape: Sequence[int], dtype: torch.dtype, mean: float, stddev: float) -> Tensor:
        standard = torch.empty(tuple(shape), dtype=dtype)
        torch.nn.init.trunc_normal_(standard, generator=self._generator())
        return standard.mul_(stddev).add_(mean)


@register("random_uniform", "RandomUniform", "uniform")
class RandomUniform(RandomInitializer):
    """Uniform on [minval, maxval)."""

    def __init__(self, minval: float = -0.05, maxval: float = 0.05, seed: int | None = None) -> None:
        if minval > maxval:
            raise ArgumentError(f"RandomUniform: minval={minval!r} is above maxval={maxval!r}; swap them.")
        super().__init__(seed)
        self.minval = minval
        self.maxval = maxval

    def __call__(self, shape: Sequence[int], dtype: torch.dtype = torch.float32) -> Tensor:
        return self._uniform(shape, dtype, self.minval, self.maxval)


class _Normal(RandomInitializer):
    def __init__(self, mean: float = 0.0, stddev: float = 0.05, seed: int | None = None) -> None:
        if stddev < 0:
            raise ArgumentError(f"{type(self).__name__}: stddev={stddev!r}: expected a number of at least 0.")
        super().__init__(seed)
        self.mean = mean
        self.stddev = stddev


@register("random_normal", "RandomNormal", "normal")
class RandomNormal(_Normal):
    """Normal with `mean` and standard deviation `stddev`."""

    def __call__(self, shape: Sequence[int], dtype: torch.dtype = torch.float32) -> Tensor:
        return self._normal(shape, dtype, self.mean, self.stddev)


@register("truncated_normal", "TruncatedNormal")
class TruncatedNormal(_Normal):
    """Normal, drawn again where it is further than two `stddev` from `mean`.

    What is left has a standard deviation of 0.8796 × `stddev`.
    """

    def __call__(self, shape: Sequence[int], dtype: torch.dtype = torch.float32) -> Tensor:
        return self._truncated_normal(shape, dtype, self.mean, self.stddev)


@register("variance_scaling", "VarianceScaling")
class VarianceScaling(RandomInitializer):
    """Zero mean and variance `scale` / n, so that signals keep their size from layer to layer.

    Args:
        scale: 1 for linear and tanh units (Glorot, LeCun), 2 for rectifiers (He).
        mode: n is the number of inputs of a unit (`"fan_in"`), of units that read one input (`"fan_out"`), or their
            mean (`"fan_avg"`).
        distribution: `"uniform"` on ±√(3 scale / n); `"truncated_normal"`, cut off at two standard deviations and
            widened so that the variance is kept; `"untruncated_normal"`.
        seed: an integer gives the same values at every call; `None` draws from torch's global random state.
        input_axes: the axes of the weight that are inputs; by default all but the last.
        output_axes: the axes that are outputs; by default the last and, in a convolution, the window.

    Raises:
        ArgumentError: `scale` is not positive, or `mode` or `distribution` is none of the above.

    Example:
        >>> kernel = VarianceScaling(scale=2.0, seed=0)((3, 3, 64, 128))  # each unit has 3 × 3 × 64 inputs
        >>> f"{kernel.std():.3f} {(2 / 576) ** 0.5:.3f}"
        '0.059 0.059'
    """

    def __init__(
        self,
        scale: float = 1.0,
        mode: str = "fan_in",
        distribution: str = "truncated_normal",
        seed: int | None = None,
        input_axes: Sequence[int] | None = None,
        output_axes: Sequence[int] | None = None,
    ) -> None:
        if not scale > 0:
            raise ArgumentError(f"scale={scale!r}: expected a positive number.")
        shapes.one_of(mode, ("fan_in", "fan_out", "fan_avg"), "mode")
        if distribution == "normal":  # Keras's other name for it
            distribution = "truncated_normal"
        shapes.one_of(distribution, ("uniform", "truncated_normal", "untruncated_normal"), "distribution")
        super().__init__(seed)
        self.scale = scale
        self.mode = mode
        self.distribution = distribution
        self.input_axes = input_axes
        self.output_axes = output_axes

    def __call__(self, shape: Sequence[int], dtype: torch.dtype = torch.float32) -> Tensor:
        fan_in, fan_out = self._fans(shape)
        count = {"fan_in": fan_in, "fan_out": fan_out, "fan_avg": (fan_in + fan_out) / 2}[self.mode]
        stddev = math.sqrt(self.scale / max(1, count))
        if self.distribution == "uniform":
            limit = math.sqrt(3) * stddev
            return self._uniform(shape, dtype, -limit, limit)
        if self.distribution == "untruncated_normal":
            return self._normal(shape, dtype, 0.0, stddev)
        return self._truncated_normal(shape, dtype, 0.0, stddev / _TRUNCATED_STDDEV)

    def _fans(self, shape: Sequence[int]) -> tuple[int, int]:
        if self.input_axes is not None and self.output_axes is not None:
            return math.prod(shape[axis] for axis in self.input_axes), math.prod(
                shape[axis] for axis in self.output_axes
            )
        if len(shape) < 2:
            size = math.prod(shape)
            return size, size
        *window, inputs, outputs = shape
        return math.prod(window) * inputs, math.prod(window) * outputs


class _Named(VarianceScaling):
    """One of the published settings of `VarianceScaling`."""

    _settings: tuple[float, str, str]

    def __init__(
        self,
        seed: int | None = None,
        input_axes: Sequence[int] | None = None,
        output_axes: Sequence[int] | None = None,
    ) -> None:
        super().__init__(*self._settings, seed, input_axes, output_axes)


@register("glorot_uniform", "GlorotUniform")
class GlorotUniform(_Named):
    """Uniform on ±√(6 / (inputs + outputs)); Keras's default for kernels. Glorot and Bengio, 2010."""

    _settings = (1.0, "fan_avg", "uniform")


@register("glorot_normal", "GlorotNormal")
class GlorotNormal(_Named):
    """Truncated normal with variance 2 / (inputs + outputs). Glorot and Bengio, 2010."""

    _settings = (1.0, "fan_avg", "truncated_normal")


@register("he_uniform", "HeUniform")
class HeUniform(_Named):
    """Uniform on ±√(6 / inputs), for rectifiers. He et al., 2015."""

    _settings = (2.0, "fan_in", "uniform")


@register("he_normal", "HeNormal")
class HeNormal(_Named):
    """Truncated normal with variance 2 / inputs, for rectifiers. He et al., 2015."""

    _settings = (2.0, "fan_in", "truncated_normal")


@register("lecun_uniform", "LecunUniform")
class LecunUniform(_Named):
    """Uniform on ±√(3 / inputs). LeCun et al., 1998."""

    _settings = (1.0, "fan_in", "uniform")


@register("lecun_normal", "LecunNormal")
class LecunNormal(_Named):
    """Truncated normal with variance 1 / inputs, for SELU. LeCun et al., 1998; Klambauer et al., 2017."""

    _settings = (1.0, "fan_in", "truncated_normal")


@register("orthogonal", "Orthogonal")
class Orthogonal(RandomInitializer):
    """A random orthogonal matrix; Keras's default for recurrent kernels. Saxe et al., 2014.

    All axes but the last make the rows. The columns are orthonormal where there are at least as many rows, else the
    rows are. Q of the QR decomposition of a normal matrix, with the signs of R's diagonal so that every orthogonal
    matrix is equally likely.

    Raises:
        ShapeError: the weight has fewer than two axes.

    Example:
        >>> q = Orthogonal(seed=0)((4, 3))
        >>> torch.allclose(q.T @ q, torch.eye(3), atol=1e-6)
        True
    """

    def __init__(self, gain: float = 1.0, seed: int | None = None) -> None:
        super().__init__(seed)
        self.gain = gain

    def __call__(self, shape: Sequence[int], dtype: torch.dtype = torch.float32) -> Tensor:
        if len(shape) < 2:
            raise ShapeError(
                f"Orthogonal: a weight of shape {shapes.text(shape)} is no matrix; it needs at least two axes."
            )
        rows, columns = math.prod(shape[:-1]), shape[-1]
        # Half-precision types have no QR decomposition.
        precise = torch.promote_types(dtype, torch.float32)
        q, r = torch.linalg.qr(self._normal((max(rows, columns), min(rows, columns)), precise, 0.0, 1.0))
        q = q * r.diagonal().sign()
        return (self.gain * (q.T if rows < columns else q)).reshape(tuple(shape)).to(dtype)
