"""Torch modules as augmentations: seeded, in the form that they expect, with torch's random state left alone."""

import pytest
import torch
from torch import nn

from striate.data.augment import Module, Pipeline, batch_generator
from striate.errors import ArgumentError, ShapeError

IMAGES = torch.randint(0, 256, (4, 6, 5, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


class Noise(nn.Module):
    def forward(self, x):
        assert x.shape[1:] == (3, 6, 5) and x.dtype == torch.float32 and x.min() >= 0 and x.max() <= 1
        return x + torch.rand(len(x), 1, 1, 1) - 0.5


def test_a_batch_is_changed_alike_whenever_it_comes():
    pipeline = Pipeline(["flip", Module(Noise())])
    before = torch.get_rng_state()
    first, _ = pipeline(IMAGES, None, batch_generator(0, 1, 2))
    assert torch.equal(torch.get_rng_state(), before)
    torch.rand(7)
    again, labels = pipeline(IMAGES, torch.arange(4), batch_generator(0, 1, 2))
    other, _ = pipeline(IMAGES, None, batch_generator(0, 1, 3))
    assert torch.equal(first, again) and not torch.equal(first, other)
    assert first.dtype == torch.uint8 and first.shape == IMAGES.shape and labels.tolist() == [0, 1, 2, 3]
    assert str(pipeline) == "flips horizontally (50%), Noise"


def test_colours_and_places_stay_theirs():
    changed, _ = Module(nn.Identity())(IMAGES, None, batch_generator(0, 0, 0))
    assert torch.equal(changed, IMAGES)


def test_mistakes():
    with pytest.raises(ArgumentError, match="expected a torch module"):
        Module(lambda x: x)
    with pytest.raises(ShapeError, match=r"Flatten gave \(4, 90\); expected images \(4, 3, height, width\)"):
        Module(nn.Flatten())(IMAGES, None, batch_generator(0, 0, 0))


def test_kornia():
    kornia = pytest.importorskip("kornia.augmentation")
    flipped, _ = Module(kornia.RandomHorizontalFlip(p=1.0))(IMAGES, None, batch_generator(0, 0, 0))
    assert torch.equal(flipped, IMAGES.flip(2))
    jitter = Module(kornia.ColorJitter(0.5, 0.5, 0.5, 0.1, p=1.0))
    one, two = (jitter(IMAGES, None, batch_generator(3, 0, 0))[0] for _ in range(2))
    assert torch.equal(one, two) and not torch.equal(one, IMAGES)
