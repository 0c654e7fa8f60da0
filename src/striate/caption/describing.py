"""From images to captions: what a captioner says, how sure it is of each word, and where it looked for it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from striate.caption.captioner import Captioner
from striate.caption.decoder import State
from striate.caption.description import Description
from striate.caption.search import Hypothesis, beam_search, sample
from striate.caption.vocabulary import Vocabulary
from striate.data.image import pixels
from striate.errors import ArgumentError, ShapeError
from striate.shapes import text

LONGEST = 30
"""Words in a caption, if nothing else is asked for."""
LENGTH_PENALTY = 0.5
"""Likewise; of 0, 0.5 and 1 it gave the best CIDEr-D on the validation images of Flickr8k."""

NEVER = (Vocabulary.pad, Vocabulary.start, Vocabulary.unknown)
"""The numbers of what is never said."""


def describe(
    captioner: Captioner, images: Any, *, beams: int = 3, batch_size: int = 32, **how: Any
) -> list[Description]:
    """Say what is on images: the best caption that a search finds for each.

    Images of another size than the captioner's are scaled until they cover it, and their centre is cut out, as in
    `striate.data.load_image`. What is said of an image does not depend on the others.

    Args:
        captioner: a trained one; it is left in the mode it was in.
        images: (N, height, width, channels), or a sequence of images (height, width, channels) of any sizes, bytes.
        beams: how many beginnings are followed at a time; 1 takes the most probable word each time (greedy).
        batch_size: images at a time.
        **how: of `striate.caption.search.beam_search`: `longest`, `length_penalty`, `no_repeat`.

    Raises:
        ArgumentError: a number that cannot be used.
        ShapeError: an image that has no three axes.

    Example:
        >>> from striate import zoo
        >>> from striate.caption import Vocabulary
        >>> captioner = Captioner(zoo.create("resnet18"), Vocabulary(["a", "circle"]), (64, 64), size=32, embedding=16)
        >>> found = describe(captioner, np.zeros((2, 100, 80, 3), np.uint8), longest=5)
        >>> len(found), found[0].attention.shape[1:]
        (2, (8, 8))
    """
    return [best for (best,) in candidates(captioner, images, beams=beams, batch_size=batch_size, **how)]


def candidates(
    captioner: Captioner,
    images: Any,
    *,
    best: int = 1,
    beams: int = 3,
    top_p: float | None = None,
    batch_size: int = 32,
    longest: int = LONGEST,
    **how: Any,
) -> list[tuple[Description, ...]]:
    """Say several things of each image, all different where a search finds them, the best first.

    Args:
        captioner: as for `describe`.
        images: as for `describe`.
        best: how many captions of each image, at most `beams`.
        beams: as for `describe`.
        top_p: draw captions at random in place of a search, each word among the most probable ones that have this
            probability together (nucleus sampling).
        batch_size: images at a time.
        longest: words that a caption has at most.
        **how: of `striate.caption.search.beam_search`, or, with `top_p`, of `sample`.

    Raises:
        ArgumentError: a number that cannot be used.
        ShapeError: an image that has no three axes.
    """
    if not isinstance(batch_size, int) or batch_size < 1:
        raise ArgumentError(f"batch_size={batch_size!r}: expected a positive integer.")
    search: Any = beam_search if top_p is None else sample
    usual: dict[str, Any] = {"best": best, "width": beams, "length_penalty": LENGTH_PENALTY}
    if top_p is not None:
        usual = {"number": best, "top_p": top_p}
    modes = {module: module.training for module in captioner.modules()}
    captioner.eval()
    found: list[tuple[Description, ...]] = []
    try:
        with torch.inference_mode():
            for batch in _batches(captioner, images, batch_size):
                grid = captioner.encoder(batch)
                said = _searched(captioner, grid, search, longest=longest, **usual | how)
                found += _looked_at(captioner, grid, said)
    finally:
        for module, training in modes.items():
            module.training = training
    return found


def _batches(captioner: Captioner, images: Any, size: int) -> Iterator[Tensor]:
    device = next(captioner.parameters()).device
    channels = captioner.backbone.preprocessing.channels
    for start in range(0, len(images), size):
        batch = [_fitted(images[index], captioner.image_size, channels) for index in range(len(images))[start:][:size]]
        yield torch.from_numpy(np.stack(batch)).to(device)


def _fitted(image: Any, size: tuple[int, int], channels: int) -> np.ndarray:
    image = np.asarray(image)
    if image.ndim != 3:
        raise ShapeError(f"An image has the shape {text(image.shape)}: expected (height, width, channels).")
    if image.shape == (*size, channels):
        return image
    return pixels(Image.fromarray(image.squeeze(-1) if image.shape[2] == 1 else image), size, channels)


def _searched(captioner: Captioner, grid: Tensor, search: Any, **how: Any) -> list[tuple[Hypothesis, ...]]:
    decoder, vocabulary = captioner.decoder, captioner.vocabulary
    memory = decoder.remember(grid)

    def step(words: Tensor, state: State) -> tuple[Tensor, State]:
        scores, _, after = decoder.step(words, state, memory)
        return scores.float().log_softmax(-1), after

    found: list[tuple[Hypothesis, ...]] = search(
        step, decoder.begin(memory), len(grid), start=vocabulary.start, end=vocabulary.end, never=NEVER, **how
    )
    return found


def _looked_at(
    captioner: Captioner, grid: Tensor, said: Sequence[Sequence[Hypothesis]]
) -> Iterator[tuple[Description, ...]]:
    """What was said, with the probability and the attention of each word: read again, all of it at once."""
    vocabulary = captioner.vocabulary
    longest = max(len(one.numbers) for own in said for one in own)
    words = torch.full((len(said), max(map(len, said)), longest + 1), vocabulary.pad)
    for row, own in enumerate(said):
        for column, one in enumerate(own):
            words[row, column, : len(one.numbers) + 1] = torch.tensor([vocabulary.start, *one.numbers])
    scores, weights = captioner.decoder(grid, words.to(grid.device))
    probabilities = scores.float().softmax(-1).cpu()
    attention = weights.unflatten(-1, captioner.grid_size).cpu().numpy()
    for row, own in enumerate(said):
        yield tuple(
            Description(
                tuple(vocabulary.words[number] for number in one.numbers),
                probabilities[row, column, range(len(one.numbers)), list(one.numbers)].numpy(),
                attention[row, column, : len(one.numbers)],
                one.finished,
            )
            for column, one in enumerate(own)
        )
