"""Mixup and cutmix: the labels say what the images hold."""

import pytest
import torch
from torch import Tensor

from striate.data.augment import CutMix, MixUp, batch_generator
from striate.errors import DataError


def one_colour_each(count: int = 400, classes: int = 4) -> tuple[Tensor, Tensor]:
    """Image i is all of the value of its class, so that its pixels tell what was mixed into it."""
    y = torch.arange(count) % classes
    return y[:, None, None, None].expand(count, 16, 24, 1).float() / classes, y


@pytest.mark.parametrize("mixing", [MixUp(4, 1.0), CutMix(4)])
def test_the_share_of_each_class_is_in_the_labels(mixing) -> None:
    x, y = one_colour_each()
    mixed, labels = mixing(x, y, batch_generator(0, 0, 0))
    torch.testing.assert_close(labels.sum(dim=1), torch.ones(400))
    assert labels.min() >= 0
    expected = (labels * torch.arange(4) / 4).sum(dim=1)
    torch.testing.assert_close(mixed.mean(dim=(1, 2, 3)), expected, atol=1e-5, rtol=0)
    kept = labels.gather(1, y[:, None])[:, 0]
    assert kept.min() < 0.2 and kept.max() == pytest.approx(1, abs=1e-6)
    if isinstance(mixing, CutMix):
        for value in range(4):
            share = (mixed == value / 4).double().mean(dim=(1, 2, 3))
            torch.testing.assert_close(labels[:, value].double(), share, atol=1e-6, rtol=0)


def test_mixup_shares_follow_the_beta_distribution() -> None:
    """Beta(a, a) has the mean 1/2 and the variance 1 / (4 (2a + 1))."""
    x, y = torch.zeros(20_000, 1, 1, 1), torch.arange(20_000.0)
    x[:] = y[:, None, None, None] / 20_000
    for alpha in (0.2, 1.0, 5.0):
        labels = MixUp(2, alpha)(torch.zeros(20_000, 1, 1, 1), torch.arange(20_000) % 2, batch_generator(1, 0, 0))[1]
        kept = labels[::2, 0][labels[::2, 0] < 1].double()  # images of class 0 that met one of class 1
        assert float(kept.mean()) == pytest.approx(0.5, abs=0.02)
        assert float(kept.var()) == pytest.approx(1 / (4 * (2 * alpha + 1)), rel=0.05)


def test_numbers_are_mixed_as_they_are() -> None:
    x = torch.rand(50, 4, 4, 1)
    targets = x.mean(dim=(1, 2))
    mixed, labels = MixUp(alpha=1.0)(x, targets, batch_generator(0, 0, 0))
    torch.testing.assert_close(mixed.mean(dim=(1, 2)), labels)
    binary = MixUp(alpha=1.0)(x, torch.arange(50) % 2, batch_generator(0, 0, 0))[1]
    assert binary.shape == (50,) and binary.dtype == torch.float32
    several = (torch.rand(50, 3) > 0.5).long()
    assert CutMix()(x, several, batch_generator(0, 0, 0))[1].shape == (50, 3)


def test_a_column_of_labels_becomes_rows_and_probability_zero_mixes_nothing() -> None:
    x, y = torch.rand(6, 4, 4, 1), torch.arange(6)[:, None] % 3
    changed, labels = MixUp(3, probability=0)(x, y, batch_generator(0, 0, 0))
    assert changed.equal(x)
    assert labels.equal(torch.eye(3)[y[:, 0]])


def test_mistakes() -> None:
    x = torch.rand(3, 4, 4, 1)
    with pytest.raises(DataError, match="MixUp mixes labels too, but there are none"):
        MixUp(3)(x, None, torch.Generator())
    with pytest.raises(DataError, match="CutMix cannot mix the labels 0 to 2; give num_classes"):
        CutMix()(x, torch.arange(3), torch.Generator())
