"""What every augmentation keeps to, and how pipelines are made, written down and made again."""

import json

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from striate.data import augment
from striate.data.augment import Flip, Normalize, Pipeline, Rotate, Translate, batch_generator, preset
from striate.errors import ArgumentError, DataError, ShapeError, UnknownNameError

EVERY = [
    augment.Flip(0.5, 0.5),
    augment.PadCrop(2, "symmetric"),
    augment.Rotate(20, "edge"),
    augment.Translate(0.2),
    augment.Scale((0.8, 1.3)),
    augment.RandomResizedCrop(),
    augment.ColorJitter(0.3, 0.3, 0.3, 0.1),
    augment.Blur(),
    augment.Cutout(),
    augment.RandAugment(),
    augment.Pipeline(["flip", "rotate", "color_jitter"], "because"),
]
MIXING = [augment.MixUp(5), augment.CutMix(5)]
IDS = [type(one).__name__ for one in EVERY + MIXING]


def pixels(shape: tuple[int, ...] = (6, 12, 10, 3), dtype: torch.dtype = torch.uint8) -> torch.Tensor:
    values = torch.randint(0, 256, shape, generator=torch.Generator().manual_seed(1), dtype=torch.uint8)
    return values if dtype == torch.uint8 else (values / 255).to(dtype)


@pytest.mark.parametrize("augmentation", EVERY + MIXING, ids=IDS)
@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32, torch.bfloat16])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_shape_type_and_input_are_kept(augmentation, dtype, channels) -> None:
    x, y = pixels((6, 12, 10, channels), dtype), torch.arange(6) % 5
    before = x.clone()
    changed, labels = augmentation(x, y, batch_generator(0, 0, 0))
    assert changed.shape == x.shape and changed.dtype == x.dtype and changed.is_contiguous()
    assert x.equal(before)
    assert not changed.equal(x)
    assert changed.min() >= 0 and changed.max() <= (255 if dtype == torch.uint8 else 1)
    if augmentation in EVERY:
        assert labels is y
    else:
        torch.testing.assert_close(labels.sum(dim=1), torch.ones(6))


@pytest.mark.parametrize("augmentation", EVERY + MIXING, ids=IDS)
def test_the_generator_alone_decides(augmentation) -> None:
    x, y = pixels(), torch.arange(6) % 5
    first = augmentation(x, y, batch_generator(3, 4, 5))
    torch.rand(7)
    again = augmentation(x, y, batch_generator(3, 4, 5))
    assert first[0].equal(again[0]) and first[1].equal(again[1])
    assert not first[0].equal(augmentation(x, y, batch_generator(3, 4, 6))[0])


@pytest.mark.parametrize("augmentation", EVERY + MIXING + [Normalize([0.5, 0.4, 0.3], 0.2)])
def test_json_round_trip(augmentation) -> None:
    config = {"class": type(augmentation).__name__, "config": augmentation.get_config()}
    again = augment.get(json.loads(json.dumps(config)))
    assert type(again) is type(augmentation)
    assert again.get_config() == augmentation.get_config()
    x, y = pixels(), torch.arange(6) % 5
    assert again(x, y, batch_generator(0, 0, 1))[0].equal(augmentation(x, y, batch_generator(0, 0, 1))[0])
    assert str(augmentation) and "object at" not in repr(augmentation)


def test_seeds_epochs_and_batches_are_kept_apart() -> None:
    numbers = {
        float(torch.rand((), generator=batch_generator(seed, epoch, batch), dtype=torch.float64))
        for seed in range(6)
        for epoch in range(6)
        for batch in range(6)
    }
    assert len(numbers) == 6**3


@settings(max_examples=30, deadline=None)
@given(st.lists(st.sampled_from(EVERY[:-1]), max_size=5), st.integers(1, 4), st.integers(1, 9), st.integers(1, 9))
def test_any_pipeline_takes_any_images(steps, batch, height, width) -> None:
    x = pixels((batch, height, width, 3))
    changed, _ = Pipeline(steps)(x, None, batch_generator(0, 0, 0))
    assert changed.shape == x.shape and changed.dtype == torch.uint8


def test_a_pipeline_of_nothing_changes_nothing() -> None:
    x = pixels()
    assert Pipeline()(x, None, torch.Generator())[0].equal(x)
    assert str(Pipeline()) == "none"


def test_bytes_that_pass_through_floats_come_back() -> None:
    x = torch.arange(256, dtype=torch.uint8).reshape(1, 16, 16, 1)
    assert augment.ColorJitter(0, 0, 0, 0)(x, None, torch.Generator())[0].equal(x)
    assert Rotate(0)(x, None, torch.Generator())[0].equal(x)


def test_normalize_gives_floats_and_comes_last() -> None:
    x = pixels()
    changed, _ = Pipeline([Flip(1), Normalize([0.1, 0.2, 0.3], [0.5, 0.6, 0.7])])(x, None, torch.Generator())
    expected = (x.flip(2) / 255 - torch.tensor([0.1, 0.2, 0.3])) / torch.tensor([0.5, 0.6, 0.7])
    torch.testing.assert_close(changed, expected)
    with pytest.raises(ArgumentError, match="Normalize must be the last step"):
        Pipeline([Normalize(0, 1), Flip()])
    with pytest.raises(ShapeError, match="2 values for mean, but the images have 3 channels"):
        Normalize([0, 0], 1)(x, None, torch.Generator())


@pytest.mark.parametrize(
    ("task", "shape", "expected"),
    [
        ("multiclass", (28, 28, 1), "none"),
        ("binary", (32, 32, 3), "shifts of up to 2 pixels, flips horizontally (50%)"),
        (
            "multilabel",
            (224, 224, 3),
            "crops of 35% to 100% of the area, flips horizontally (50%), "
            "brightness ±20% and contrast ±20% and saturation ±20%",
        ),
        ("multiclass", (10,), "none"),
        ("multiclass", (8, 8, 1), "none"),
        ("regression", (64, 64, 3), "brightness ±10% and contrast ±10% and saturation ±10%"),
    ],
)
def test_presets(task, shape, expected) -> None:
    chosen = preset(task, shape)
    assert str(chosen) == expected
    assert chosen.reason
    if len(shape) == 3:
        x = pixels((4, *shape))
        assert chosen(x, None, batch_generator(0, 0, 0))[0].shape == x.shape


def test_a_preset_waits_until_images_are_seen_often() -> None:
    assert str(preset("multiclass", (32, 32, 3), epochs=14)) == "none"
    assert str(preset("multiclass", (32, 32, 3), epochs=15)) == str(preset("multiclass", (32, 32, 3)))
    assert "seen 15 times or more" in preset("multiclass", (32, 32, 3), epochs=3).reason


def test_mistakes() -> None:
    with pytest.raises(UnknownNameError, match="Did you mean 'rotate'"):
        augment.get("rotat")
    with pytest.raises(ArgumentError, match="expected a name such as 'flip'"):
        augment.get(3)
    with pytest.raises(ArgumentError, match="task='multi'"):
        preset("multi", (28, 28, 1))
    with pytest.raises(ShapeError, match=r"given the shape \(6, 12, 10\)"):
        Flip()(pixels()[..., 0], None, torch.Generator())
    with pytest.raises(DataError, match=r"torch.int64; expected uint8 or floats"):
        Flip()(pixels().long(), None, torch.Generator())
    for make in (
        lambda: Flip(2),
        lambda: augment.PadCrop(-1),
        lambda: augment.PadCrop(1, "wrap"),
        lambda: Rotate(-3),
        lambda: Translate(1.5),
        lambda: augment.Scale((2, 1)),
        lambda: augment.RandomResizedCrop((0, 2)),
        lambda: augment.ColorJitter(hue=0.6),
        lambda: augment.Blur(sigma=3),
        lambda: augment.RandAugment(magnitude=31),
        lambda: augment.MixUp(1),
        lambda: augment.MixUp(3, alpha=0),
        lambda: Normalize(0, 0),
    ):
        with pytest.raises(ArgumentError, match="expected"):
            make()
