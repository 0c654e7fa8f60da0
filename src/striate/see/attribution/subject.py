"""What is explained: one score of a network on one image, and every run of the network that explaining it takes."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.overrides import TorchFunctionMode

from striate.errors import ArgumentError, NotApplicableError, ShapeError, StriateError
from striate.layers.layer import Layer
from striate.see.attribution.classes import label_of, output_of
from striate.see.images import as_batch
from striate.see.watching import untouched
from striate.shapes import text

Progress = Callable[[int, int], None]

_MOST_IMAGES = 256
_MOST_VALUES = 2**20
"""Of one batch of images: what bounds the memory of a run."""


class Subject:
    """A network, one image, and the class whose score is explained.

    The score is what the network gives for the class before a last softmax or sigmoid, where there is one: behind it,
    the score of a class also rises when others fall, and is flat where the network is sure.

    Attributes:
        module: the network, which runs in evaluation mode.
        image: (1, channels, height, width), whatever order of axes the network takes.
        target: the index of the class.
        label: what to call it.
        score, probability: of the class on the image; the probability is None for a single output without a sigmoid.
        num_outputs: how many classes there are, or 1.
        passes: how many images have run through the network.
    """

    def __init__(
        self,
        module: nn.Module,
        image: Any,
        target: int | str | None = None,
        class_names: Sequence[str] | None = None,
        progress: Progress | None = None,
    ) -> None:
        self.module = module
        self._is_channels_last = isinstance(module, Layer)
        self.image = self.as_image(image)
        self.passes = 0
        self._progress = progress
        self._weights: dict[str, Tensor] = {}
        self._ending: str | None = None
        with torch.no_grad():
            outputs = self._first_outputs()
        self.num_outputs = outputs.shape[1]
        if isinstance(target, str):
            target = output_of(target, class_names, self.num_outputs)
        self.target = _checked_target(target, outputs[0])
        self.label = label_of(self.target, class_names, self.num_outputs)
        self.score = float(outputs[0, self.target])
        self.probability = float(self.likelihoods(outputs)[0]) if self._has_probabilities(outputs) else None

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the image."""
        return self.image.shape[2], self.image.shape[3]

    def as_image(self, image: Any) -> Tensor:
        """An image of any origin as (1, channels, height, width)."""
        batch = as_batch(self.module, image)
        if len(batch) != 1:
            shape = text(batch.shape[1:])
            raise ArgumentError(f"Got {len(batch)} images of {shape}: expected one, explain them one by one.")
        return batch.movedim(-1, 1) if self._is_channels_last else batch

    def outputs(self, images: Tensor) -> Tensor:
        """The scores of all classes, (images, classes)."""
        self.passes += len(images)
        inputs = images.clone()  # which the network may change in place
        if self._is_channels_last:
            inputs = inputs.movedim(1, -1).contiguous()
        with _Ending() as ending:
            output = functional_call(self.module, self._weights, (inputs,))
            output = getattr(output, "logits", output)
        if not isinstance(output, Tensor) or output.ndim not in (1, 2) or len(output) != len(images):
            got = text(output.shape) if isinstance(output, Tensor) else type(output).__name__
            raise ShapeError(f"The network gives {got}: expected one score for each class, (images, classes).")
        self._ending = None
        if output is ending.output:
            self._ending, output = ending.name, ending.scores
        return output.reshape(len(images), -1).to(torch.promote_types(output.dtype, torch.float32))

    def scores(self, images: Tensor) -> Tensor:
        """The score of the class on each image."""
        return self.outputs(images)[:, self.target]

    def gradient(self, images: Tensor) -> Tensor:
        """The gradient of the score with respect to each value of each image."""
        images = images.detach().requires_grad_()
        return gradients(self.scores(images).sum(), images)

    def likelihoods(self, outputs: Tensor) -> Tensor:
        """The probability of the class in each row of scores; the score itself where there are no probabilities."""
        if not self._has_probabilities(outputs):
            return outputs[:, self.target]
        probabilities = outputs.sigmoid() if self._ending == "sigmoid" else outputs.softmax(1)
        return probabilities[:, self.target]

    def in_batches(
        self, number: int, images: Callable[[Tensor], Tensor], run: Callable[[Tensor], Tensor]
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Run many images without holding all of them.

        Args:
            number: how many there are.
            images: makes those of some numbers.
            run: what is done with a batch of them.

        Yields:
            The numbers of a batch, and what `run` gave for it.
        """
        size = min(max(_MOST_VALUES // self.image.numel(), 1), _MOST_IMAGES)
        for numbers in torch.arange(number).split(size):
            yield numbers, run(images(numbers))
            if self._progress:
                self._progress(int(numbers[-1]) + 1, number)

    def with_random_weights(self, seed: int) -> Subject:
        """The same image and class in a network whose parameters are drawn anew, each as large as what was trained."""
        generator = torch.Generator().manual_seed(seed)
        other = copy.copy(self)
        other._progress = None
        other._weights = {}
        for name, parameter in self.module.named_parameters():
            if parameter.is_floating_point():
                drawn = torch.randn(parameter.shape, generator=generator).to(parameter)
                other._weights[name] = drawn * parameter.detach().square().mean().sqrt()
        return other

    def _has_probabilities(self, outputs: Tensor) -> bool:
        return outputs.shape[1] > 1 or self._ending == "sigmoid"

    def _first_outputs(self) -> Tensor:
        try:
            return self.outputs(self.image)
        except StriateError:
            raise
        except (RuntimeError, ValueError, AssertionError) as error:
            shape = text(self.image.shape[2:])
            raise ShapeError(f"The network fails on an image of height and width {shape}: {error}") from error


@contextmanager
def explained(
    module: nn.Module,
    image: Any,
    target: int | str | None,
    class_names: Sequence[str] | None,
    progress: Progress | None,
) -> Iterator[Subject]:
    """A network and an image, to be run inside; afterwards the network is what it was."""
    with untouched(module), torch.inference_mode(False), torch.enable_grad():
        yield Subject(module, image, target, class_names, progress)


def gradients(score: Tensor, place: Tensor) -> Tensor:
    """The gradient of a score at a place.

    Raises:
        NotApplicableError: there is none.
    """
    found = torch.autograd.grad(score, place, allow_unused=True)[0] if score.requires_grad else None
    if found is None:
        raise NotApplicableError(
            "The score has no gradient there: the network runs without gradients, or does not use it. "
            "occlusion, scorecam and eigencam need no gradients."
        )
    return found


class _Ending(TorchFunctionMode):
    """Remembers the last softmax or sigmoid that ran, with what it ran on."""

    name = ""
    scores: Any = None
    output: Any = None

    def __torch_function__(
        self, function: Any, types: Any, args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        output = function(*args, **(kwargs or {}))
        name = getattr(function, "__name__", "").partition(".")[0]
        if name in ("softmax", "log_softmax", "sigmoid") and args:
            self.name, self.scores, self.output = name, args[0], output
        return output


def _checked_target(target: int | None, outputs: Tensor) -> int:
    if target is None:
        return int(outputs.argmax())
    if isinstance(target, bool) or not isinstance(target, int) or not 0 <= target < len(outputs):
        count = len(outputs)
        expected = f"a class from 0 to {count - 1}" if count > 1 else "0, as the network has one output"
        raise ArgumentError(f"target={target!r}: expected {expected}.")
    return target
