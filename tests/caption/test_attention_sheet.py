"""The attention sheet: what it says, that pictures are bright where words looked, and what is refused."""

import numpy as np
import pytest
from PIL import Image

from striate.caption.attention_sheet import AttentionSheet
from striate.caption.description import Description
from striate.errors import DataError

PAGES = {"light": (255, 255, 255), "dark": (0x12, 0x16, 0x1B)}


def described(*cells, grid=(4, 4), words=None, finished=True):
    """Words that each looked at one cell of a grid alone, or everywhere for None."""
    attention = np.zeros((len(cells), *grid), np.float32)
    for weights, cell in zip(attention, cells, strict=True):
        weights[cell if cell else ...] = 1 if cell else 1 / weights.size
    words = words or tuple(f"word{number}" for number in range(len(cells)))
    return Description(words, np.linspace(0.9, 0.5, len(cells), dtype=np.float32), attention, finished)


def noise(height=64, width=64, channels=3):
    return np.random.default_rng(0).integers(0, 256, (height, width, channels), np.uint8)


def drawn(sheet, theme="light"):
    """The pictures of a sheet as they are shown, and all its text."""
    figure = sheet.draw(theme)
    return [np.asarray(axes.images[0].get_array()) for axes in figure.axes], [text.get_text() for text in figure.texts]


def test_each_word_has_its_picture_word_and_confidence_in_reading_order():
    found = described((0, 0), (3, 3), (0, 3), words=("red", "circle", "photographically-considered"))
    image = noise()
    sheet = AttentionSheet(image, found, "scene 7")
    figure = sheet.draw()
    pictures, texts = drawn(sheet)
    np.testing.assert_array_equal(pictures[0], image)
    assert len(pictures) == 4
    assert texts[:3] == ["scene 7", "red circle photographically-considered", f"confidence {found.confidence:.0%}"]
    assert [text for text in texts if text][3:] == [
        *("red", "90%", "circle", "70%"),
        *(texts[-3], "50%"),
        "Bright is where a word looked, from no weight (dark) to its own greatest.",
    ]
    assert texts[-3].endswith("…")
    assert "photographically-considered".startswith(texts[-3][:-1])
    corners = [(round(axes.get_position().x0, 6), -round(axes.get_position().y0, 6)) for axes in figure.axes]
    assert corners == sorted(corners, key=lambda corner: corner[::-1])


@pytest.mark.parametrize(("size", "grid"), [((64, 64), (8, 8)), ((224, 160), (7, 5)), ((48, 96), (6, 12))])
def test_a_picture_is_bright_where_its_word_looked_and_dark_elsewhere(size, grid):
    height, width = size
    image = np.full((height, width, 3), (200, 100, 60), np.uint8)
    cell = (1, grid[1] - 2)
    (_, picture), _ = drawn(AttentionSheet(image, described(cell, grid=grid)))
    row, column = np.unravel_index(picture.sum(axis=2).argmax(), size)
    assert (int(row * grid[0] / height), int(column * grid[1] / width)) == cell
    # Lit up by an eighth of the way to white at most, where it looked; grey and dark far away.
    np.testing.assert_allclose(picture[row, column], np.array([200, 100, 60]) * 0.88 + 255 * 0.12, atol=1)
    far = picture[-1, 0]
    assert np.ptp(far.astype(int)) <= 1
    np.testing.assert_allclose(far, 0.22 * 120, atol=1)


def test_maps_go_from_zero_to_their_own_greatest_and_even_ones_are_all_bright():
    image = np.full((32, 32, 3), 100, np.uint8)
    weak = np.full((1, 4, 4), 0.9 / 16)
    weak[0, 0, 0] += 0.1
    strong = np.zeros((1, 4, 4))
    strong[0, 0, 0] = 1
    found = Description(("weak", "strong"), np.ones(2, np.float32), np.concatenate([weak, strong]))
    (_, weak, strong), _ = drawn(AttentionSheet(image, found))
    assert weak.max() == strong.max() == 119
    assert weak.min() > 50 > strong.min() == 22
    (_, picture), texts = drawn(AttentionSheet(image, described(None)))
    assert (picture == 119).all()
    assert texts[-1] == "Every word looked at the whole image alike."


def test_smoothed_weights_are_symmetric_and_have_no_edges():
    image = np.full((80, 80, 3), 255, np.uint8)
    weights = np.zeros((1, 5, 5))
    weights[0, 2, 2] = 1
    (_, picture), _ = drawn(AttentionSheet(image, Description(("a",), np.ones(1), weights)))
    values = picture[..., 0].astype(int)
    for turned in (values.T, values[::-1], values[:, ::-1]):
        np.testing.assert_array_equal(values, turned)
    along = values[40, 40:]
    assert (np.diff(along) <= 0).all()
    assert np.abs(np.diff(along)).max() < 0.1 * 255


def test_the_alt_text_says_where_each_word_looked():
    words = ("a", "red", "circle", "above", "it", "all")
    found = described((0, 0), (0, 2), (2, 2), (4, 4), (2, 0), None, grid=(5, 5), words=words)
    assert AttentionSheet(noise(), found).alt == (
        f"An image, described with a confidence of {found.confidence:.0%} as: a red circle above it all. Where each "
        "word looked: a (90%, top left), red (82%, top), circle (74%, middle), above (66%, bottom right), "
        "it (58%, left), all (50%, everywhere)."
    )


@pytest.mark.parametrize(
    ("words", "size", "columns"),
    [(2, (64, 64), 3), (5, (64, 64), 3), (9, (64, 64), 5), (25, (64, 64), 5), (5, (90, 30), 4)],
)
def test_pictures_stand_in_rows_that_are_filled_as_well_as_can_be(words, size, columns):
    figure = AttentionSheet(noise(*size), described(*[(0, 0)] * words)).draw()
    places = [axes.get_position() for axes in figure.axes]
    assert len({round(place.x0, 6) for place in places}) == columns
    for place in places:
        assert -1e-9 <= place.x0 < place.x1 <= 1 + 1e-9
        assert 0 < place.y0 < place.y1 < 1
        inches = place.width * figure.get_figwidth(), place.height * figure.get_figheight()
        assert inches[1] / inches[0] == pytest.approx(size[0] / size[1])


def test_captions_of_no_words_that_were_cut_off_and_long_ones():
    pictures, texts = drawn(AttentionSheet(noise(), described()))
    assert len(pictures) == 1
    assert "(no words)" in texts
    assert AttentionSheet(noise(), described()).alt == "An image, described with a confidence of 0% as: no words."
    _, texts = drawn(AttentionSheet(noise(), described((0, 0), finished=False)))
    assert "confidence 90%, cut off for its length" in texts
    long = described(*[(1, 1)] * 30)
    _, texts = drawn(AttentionSheet(noise(), long))
    assert " ".join(texts[:4]) == long.text


def test_small_images_keep_their_pixels_and_large_ones_are_made_smaller():
    small, large = (AttentionSheet(noise(size, 2 * size), described((0, 0))).draw().axes[0] for size in (24, 500))
    assert small.images[0].get_interpolation() == "nearest"
    assert large.images[0].get_interpolation() != "nearest"
    assert np.shape(large.images[0].get_array()) == (200, 400, 3)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_pictures_in_both_themes(tmp_path, theme):
    AttentionSheet(noise(), described((0, 0), (1, 2))).save(tmp_path / "sheet.png", theme)
    AttentionSheet(noise(channels=1), described((0, 0))).save(tmp_path / "grey.svg", theme)
    AttentionSheet(noise()[..., 0], described((0, 0))).save(tmp_path / "flat.png", theme)
    with Image.open(tmp_path / "sheet.png") as picture:
        assert picture.width == 840
        colours = picture.convert("RGB").getcolors(1 << 24)
    assert max(colours)[1] == PAGES[theme]


def test_mistakes():
    good = described((0, 0), (1, 1))
    for image, got in (
        (noise() / 255, "float64 64 × 64 × 3"),
        (noise(channels=4), "uint8 64 × 64 × 4"),
        (noise()[None], "1 × 64"),
    ):
        with pytest.raises(DataError, match=rf"The image is .*{got}.*expected bytes \(height, width, 3\)"):
            AttentionSheet(image, good)
    for changed in ({"attention": good.attention[:1]}, {"attention": good.attention[0]}, {"probabilities": np.ones(3)}):
        wrong = Description(
            **{"words": good.words, "probabilities": good.probabilities, "attention": good.attention} | changed
        )
        with pytest.raises(DataError, match=r"The caption has 2 words.*expected \(2, rows, columns\) and \(2,\)"):
            AttentionSheet(noise(), wrong)
    for weights in (good.attention * 1.01, good.attention * np.nan, good.attention - 1 / 16 + 1 / 16**2):
        wrong = Description(good.words, good.probabilities, weights)
        with pytest.raises(
            DataError, match=r"The weights of the word 'word0' lie from .* expected weights from 0 that sum to 1"
        ):
            AttentionSheet(noise(), wrong)
    nearly = Description(good.words, good.probabilities, good.attention * 1.0005)
    assert AttentionSheet(noise(), nearly).alt
