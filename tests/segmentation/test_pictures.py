"""What is drawn: colours that stay apart, what a sheet shows and says, and that pictures come out in both themes."""

import numpy as np
import pytest
from PIL import Image

from striate.data.shapes import scenes
from striate.errors import DataError
from striate.segmentation import SegmentationSheet, class_colours


def some(number=4):
    """Scenes, of which the first is taken for background alone and a stripe of the second does not count."""
    data = scenes(number, seed=3).segmentation()
    truth, predicted = data.masks.copy(), data.masks.copy()
    predicted[0] = 0
    truth[1, :8] = 255
    return data, truth, predicted


def test_the_sheet_says_what_it_shows():
    data, truth, predicted = some()
    known = truth != 255
    share = (predicted[known] != truth[known]).mean()
    sheet = SegmentationSheet(data.images, predicted, data.class_names, truth)
    assert sheet.alt == f"4 images, their true and their predicted classes: {share:.1%} of the pixels are wrong."
    alone = SegmentationSheet(data.images[:1], predicted[:1], data.class_names)
    assert alone.alt == "1 image and their predicted classes, most of all background."


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_pictures_in_both_themes(tmp_path, theme):
    data, truth, predicted = some()
    titles = [f"scene {index}" for index in range(4)]
    SegmentationSheet(data.images, predicted, data.class_names, truth, titles).save(tmp_path / "sheet.png", theme)
    grey = [np.zeros((50, 90, 1), np.uint8)]
    SegmentationSheet(grey, [np.zeros((50, 90), np.uint8)], ("road", "sky")).save(tmp_path / "grey.svg", theme)
    with Image.open(tmp_path / "sheet.png") as picture:
        assert picture.width == 840
        seen = {colour for _, colour in picture.convert("RGB").getcolors(1 << 24)}
    background = {"light": "#f0f2f5", "dark": "#1f262e"}[theme]
    shown = np.unique(truth[truth != 255])
    assert {tuple(colour) for colour in class_colours(data.class_names, background)[shown].tolist()} <= seen


def test_colours_differ_and_background_has_its_own():
    colours = class_colours(("background", *map(str, range(21))), "#123456")
    assert colours[0].tolist() == [0x12, 0x34, 0x56]
    assert len(np.unique(colours, axis=0)) == 22
    assert class_colours([str(number) for number in range(100)], "#000000").shape == (100, 3)


def test_mistakes():
    data, truth, predicted = some()
    with pytest.raises(DataError, match=r"Got \[4, 3, 4\] images, masks, truth and titles"):
        SegmentationSheet(data.images, predicted[1:], data.class_names, truth)
