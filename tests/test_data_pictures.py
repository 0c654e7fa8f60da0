"""Pictures of batches: the pixels are those of the batch, the labels are in words."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from striate.data.augment import Flip
from striate.data.pictures import augmentation_picture, first_batch_picture, label_texts
from striate.errors import ShapeError


def colours_of(path: Path) -> set[tuple[int, ...]]:
    return {colour for _, colour in Image.open(path).convert("RGB").getcolors(1 << 20)}


def test_each_image_is_in_the_picture(tmp_path: Path) -> None:
    x = np.zeros((10, 7, 9, 3), np.uint8)
    x[:, :, :, 0], x[:, :, :, 1] = 200, np.arange(10)[:, None, None] * 10
    first_batch_picture(x, np.arange(10) % 2, ["猫", "été, ou bien un nom très long"], tmp_path / "batch.png")
    assert {(200, 10 * index, 0) for index in range(10)} <= colours_of(tmp_path / "batch.png")
    first_batch_picture(torch.from_numpy(x).float() / 255, None, [], tmp_path / "floats.png")
    assert {(200, 10 * index, 0) for index in range(10)} <= colours_of(tmp_path / "floats.png")
    large = np.full((70, 300, 200, 1), 5, np.uint8)
    first_batch_picture(large, np.arange(70) / 3, [], tmp_path / "large.png")
    assert Image.open(tmp_path / "large.png").size == (8 * 120 + 8, 8 * (168 + 14 + 8) + 8)


def test_the_original_is_beside_its_versions(tmp_path: Path) -> None:
    x = np.zeros((1, 4, 4, 1), np.uint8)
    x[:, :, :2] = 255
    augmentation_picture(Flip(1), x, [1], ["a", "b"], tmp_path / "flip.png")
    picture = np.asarray(Image.open(tmp_path / "flip.png").convert("L"))
    assert picture[20, 8 + 10] == 255 and picture[20, 8 + 100] == 0
    assert picture[20, 8 + 120 + 10] == 0 and picture[20, 8 + 120 + 100] == 255


def test_labels_in_words() -> None:
    names = ["cat", "dog", "owl"]
    assert label_texts(torch.tensor([2, 0]), names, 2) == ["owl", "cat"]
    assert label_texts(torch.tensor([[1.0, 0, 1], [0, 0, 0]]), names, 2) == ["cat, owl", "(none)"]
    assert label_texts(torch.tensor([[0.3, 0.7, 0.0]]), names, 1) == ["dog 70%, cat 30%"]
    assert label_texts(torch.tensor([0.25, 1.0]), names[:2], 2) == ["cat 75%, dog 25%", "dog"]
    assert label_texts(np.array([[1.5, 2], [3, 4]]), [], 2) == ["1.5, 2", "3, 4"]


def test_what_is_no_image_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ShapeError, match=r"\(3, 4\) is no batch of images"):
        first_batch_picture(np.zeros((3, 4)), None, [], tmp_path / "x.png")
