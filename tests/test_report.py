"""The report: its HTML is whole and loads nothing, its numbers are scikit-learn's, its figures have no clutter."""

import base64
import io
import re
from html.parser import HTMLParser
from itertools import combinations
from pathlib import Path
from unittest.mock import patch

import matplotlib
import numpy as np
import pytest
import torch
from matplotlib.text import Text
from PIL import Image
from scipy.stats import binomtest
from sklearn.calibration import calibration_curve
from sklearn.decomposition import PCA
from sklearn.dummy import DummyRegressor
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.metrics import (
    accuracy_score,
    confusion_matrix,
    mean_absolute_error,
    mean_squared_error,
    precision_recall_fscore_support,
)
from torch import nn

from striate.data import Dataset, SkippedFile, load
from striate.errors import DataError, ShapeError
from striate.report import Report, assess, figures, images
from striate.report.calibration import calibrate
from striate.report.calibration_figure import draw_calibration
from striate.report.confusion_figure import confusion, draw_matrix, draw_pairs
from striate.report.embedding import embed, last_hidden
from striate.report.embedding_figure import draw_embedding
from striate.report.residual_figure import draw_residuals
from striate.see.diagnosis import Finding, Findings, Record

HISTORY = {
    "loss": [1.25, 0.5, 0.125],
    "f1_score": [[0.5, 0.5], [0.5, 1.0], [1.0, 1.0]],
    "accuracy": [0.5, 0.875, 0.96],
    "val_loss": [1.0, 0.5, 0.25],
    "val_accuracy": [0.6, 0.8, 0.9],
    "learning_rate": [0.1, 0.1, 0.1],
}
EVIL = "<script>alert(\"1\")</script> & 'more'"
VOID = {"meta", "link", "img", "source", "br"}


class Page(HTMLParser):
    """A parsed page: whether its tags nest, its images, and the text of every element by tag."""

    def __init__(self, text):
        super().__init__()
        self.open, self.images, self.sources, self.texts, self.attributes = [], [], [], {}, []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        self.attributes.append((tag, attrs))
        if tag == "img":
            self.images.append(attrs)
        elif tag == "source":
            self.sources.append(attrs)
        if tag not in VOID:
            self.open.append(tag)
            self.texts.setdefault(tag, []).append("")

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        for tag in set(self.open):
            self.texts[tag][-1] += data


def make_images(names, per_class=10, side=16, channels=3):
    generator = np.random.default_rng(0)
    y = np.repeat(np.arange(len(names)), per_class)
    x = generator.integers(0, 256, (len(y), side, side, channels), dtype=np.uint8)
    return Dataset("images", x, y, tuple(names))


def make_probabilities(test, wrong_share=0.3):
    """Random probabilities, most of them in favour of the label."""
    generator = np.random.default_rng(1)
    scores = generator.random((len(test), len(test.class_names)))
    scores[np.arange(len(test)), test.y] += generator.random(len(test)) > wrong_share
    return scores / scores.sum(1, keepdims=True)


def make_report(data, **options):
    _, test = data.split(0.4)
    return Report("A run", data, test, options.pop("predictions", make_probabilities(test)), **{"seed": 0} | options)


@pytest.fixture(scope="module")
def digits():
    """A real classifier of real images, with a hundred or so mistakes."""
    data = load("digits")
    train, test = data.split()
    model = LogisticRegression(C=0.003).fit(train.x.reshape(len(train), -1) / 255, train.y)
    predictions = model.predict_proba(test.x.reshape(len(test), -1) / 255)
    config = {"data": "digits", "optimizer": {"class": "Adam", "config": {"learning_rate": 0.001}}, "size": None}
    return Report(
        "digits-cnn",
        data,
        test,
        predictions,
        seed=7,
        validation_samples=144,
        history=HISTORY,
        summary='Model: "cnn"\n┏━━━┓ 320',
        formulas="conv2d: 32 filters × (3 × 3 × 1 weights) < 321",
        config=config | {"metrics": ["accuracy", "f1"]},
    )


@pytest.fixture(scope="module")
def page(digits):
    return digits.html()


def svg_of(image):
    head, _, content = image.partition(",")
    assert head == "data:image/svg+xml;base64"
    return base64.b64decode(content).decode()


# The page ---------------------------------------------------------------------------------------------------------


def test_a_page_is_whole_self_contained_and_described(page):
    parsed = Page(page)
    assert len(parsed.images) == 3 + 24 + 12 + 24
    assert len(parsed.sources) == 3 + 1 + 3
    for image in parsed.images:
        assert image["src"].startswith("data:image/")
        assert len(image["alt"]) > 10
        assert int(image["width"]) > 0
        assert int(image["height"]) > 0
    assert all(source["srcset"].startswith("data:image/svg+xml") for source in parsed.sources)
    links = [attrs.get("href", "") for _, attrs in parsed.attributes]
    assert {link for link in links if link} == {"data:,"}
    assert not re.search(r"https?:|url\(|@import|<script|javascript", page)
    drawings = [image["src"] for image in parsed.images if image["src"].startswith("data:image/svg")]
    assert len(drawings) == 3
    for image in drawings + [source["srcset"] for source in parsed.sources]:
        svg = svg_of(image)
        assert set(re.findall(r"https?://[^\"<> ]+", svg)) <= {
            "http://www.w3.org/2000/svg",
            "http://www.w3.org/1999/xlink",
            "http://www.w3.org/Graphics/SVG/1.1/DTD/svg11.dtd",
        }
        assert "<text" not in svg  # letters are outlines: no font is needed


def test_the_parts_stand_in_their_order(page):
    assert Page(page).texts["h2"] == [
        "Learning curves",
        "Confusion matrix",
        "Class by class",
        "Most confident mistakes",
        "Least sure cases",
        "Calibration",
        "A look at the test images",
        "Model",
        "Configuration",
    ]


def test_the_origin_is_told_in_one_sentence(page, digits):
    train = 1797 - len(digits.test)
    assert Page(page).texts["p"][0] == (
        f"Trained on {train:,} images of 8\u00a0×\u00a08\u00a0×\u00a01 from digits (144 of them for validation), "
        f"tested on {len(digits.test)} held-out ones; 10 classes, seed\u00a07."
    )


def test_an_official_test_part_is_told_as_such():
    test = make_images("ab", 5)
    data = Dataset("official", *(make_images("ab", 20).x, make_images("ab", 20).y), ("a", "b"), test=test)
    text = Report("t", data, test, make_probabilities(test), seed=0).html()
    assert (
        "Trained on 40 images of 16\u00a0×\u00a016\u00a0×\u00a03 from official, tested on its own test part of 10; "
        in text
    )


def test_the_model_its_formulas_and_the_configuration_are_there(page):
    parsed = Page(page)
    assert parsed.texts["pre"] == [
        'Model: "cnn"\n┏━━━┓ 320',
        "conv2d: 32 filters × (3 × 3 × 1 weights) < 321",
    ]
    assert "conv2d: 32 filters" in parsed.texts["details"][0]
    configuration = page[page.index("<h2>Configuration") :]
    rows = re.findall(r'<th scope="row">(.*?)</th><td>(.*?)</td>', configuration)
    assert rows == [
        ("data", "digits"),
        ("optimizer.class", "Adam"),
        ("optimizer.config.learning_rate", "0.001"),
        ("size", "—"),
        ("metrics", "accuracy, f1"),
    ]


def test_light_dark_and_phones_are_served(page):
    assert "prefers-color-scheme: dark" in page
    assert "color-scheme: light dark" in page
    assert "width=device-width" in page
    queries = [source["media"] for source in Page(page).sources]
    assert queries == [  # the first that holds is shown
        "(max-width: 40rem) and (prefers-color-scheme: dark)",
        "(max-width: 40rem)",
        "(prefers-color-scheme: dark)",
        "(prefers-color-scheme: dark)",
        "(max-width: 40rem) and (prefers-color-scheme: dark)",
        "(max-width: 40rem)",
        "(prefers-color-scheme: dark)",
    ]
    light, dark = (svg_of(image) for image in (Page(page).images[0]["src"], Page(page).sources[2]["srcset"]))
    assert figures.LIGHT.blue in light
    assert figures.DARK.blue in dark
    assert figures.LIGHT.blue not in dark


def test_the_same_results_give_the_same_bytes_and_a_whole_file(digits, page, tmp_path):
    digits.write(tmp_path / "report.html")
    assert (tmp_path / "report.html").read_text(encoding="utf-8") == page
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]


def test_what_the_user_named_is_escaped_everywhere():
    data = make_images([EVIL, "b" * 50], 10)
    skipped = (SkippedFile(Path(f"{EVIL}.png"), f"reason {EVIL}"), SkippedFile(Path("a\udcff.png"), "no text"))
    data = Dataset(EVIL, data.x, data.y, data.class_names, skipped, notes=(EVIL,))
    _, test = data.split(0.4)
    predictions = np.tile([0.25, 0.75], (len(test), 1))
    report = Report(EVIL, data, test, predictions, 0, summary=EVIL, formulas=EVIL, config={EVIL: {EVIL: EVIL}})
    text = report.html()
    assert "<script" not in text
    parsed = Page(text)
    assert parsed.texts["title"] == parsed.texts["h1"] == [EVIL]
    assert EVIL in parsed.texts["p"][0]
    assert parsed.texts["p"][1] == EVIL
    assert f"#0 {EVIL}" in parsed.texts["th"]
    assert f"{EVIL}.{EVIL}" in parsed.texts["th"]
    assert f"{EVIL} taken for {'b' * 50} with 75.0\u00a0%" in [image["alt"] for image in parsed.images]
    assert parsed.texts["pre"] == [EVIL, EVIL]
    assert {f"{EVIL}.png", f"reason {EVIL}"} <= {*parsed.texts["th"], *parsed.texts["td"]}
    assert "a?.png" in parsed.texts["th"]  # a file name that is no text
    text.encode()


@pytest.mark.parametrize(("count", "words"), [(1, "1 file could"), (3, "3 files could"), (30, "30 files could")])
def test_skipped_files_are_counted_and_listed(count, words):
    data = make_images("ab")
    skipped = tuple(SkippedFile(Path(f"photos/{number}.jpg"), f"reason {number}") for number in range(count))
    parsed = Page(make_report(Dataset("d", data.x, data.y, data.class_names, skipped)).html())
    assert f"{words} not be read and took no part." in parsed.texts["section"][-1]
    for number in range(count):
        assert str(Path(f"photos/{number}.jpg")) in parsed.texts["th"]
        assert f"reason {number}" in parsed.texts["td"]
    assert ("details" in parsed.texts) == (count > 10)


def test_a_result_without_mistakes_says_so():
    data = make_images("abc")
    _, test = data.split(0.4)
    parsed = Page(make_report(data, predictions=np.eye(3)[test.y]).html())
    assert "No mistakes: all 12 test images are right." in parsed.texts["p"]
    assert parsed.images[0]["alt"] == "Confusion matrix: 12 of 12 right."
    assert sum(image["alt"].endswith("rightly predicted with 100.0\u00a0%") for image in parsed.images) == 12


def test_samples_that_are_no_images_have_no_pictures():
    data = Dataset("table", np.random.default_rng(0).random((30, 5)), np.arange(30) % 3, ("a", "b", "c"))
    parsed = Page(make_report(data).html())
    assert "samples of 5 numbers from table" in parsed.texts["p"][0]
    assert len(parsed.images) == 2
    assert "A look at the test images" not in parsed.texts["h2"]


# Its numbers ------------------------------------------------------------------------------------------------------


def test_the_headline_and_the_table_are_scikit_learns(page, digits):
    actual, predicted = digits.test.y, digits.predictions.argmax(1)
    parsed = Page(page)
    right, total = int((actual == predicted).sum()), len(actual)
    assert 0 < right < total
    assert parsed.texts["strong"] == [f"{100 * accuracy_score(actual, predicted):.2f}\u00a0%"]
    assert f"accuracy: {right} of {total} test images right" in parsed.texts["header"][0]
    interval = binomtest(right, total).proportion_ci(method="wilson")
    assert (
        f"{100 * interval.low:.1f}\u00a0% to {100 * interval.high:.1f}\u00a0% (95\u00a0% sure)" in parsed.texts["p"][2]
    )
    assert f"would give {100 * np.bincount(actual).max() / total:.1f}\u00a0%." in parsed.texts["p"][2]
    table = page[page.index("<h2>Class by class") : page.index("<h2>Most confident")]
    rows = re.findall(r'<th scope="row">(.*?)</th>' + r"<td>(.*?)</td>" * 4, table)
    expected = [
        (name, *(f"{score:.3f}" for score in scores[:3]), str(scores[3]))
        for name, *scores in zip("0123456789", *precision_recall_fscore_support(actual, predicted), strict=True)
    ]
    for average in ("macro", "weighted"):
        scores = precision_recall_fscore_support(actual, predicted, average=average)[:3]
        expected.append((f"{average} average", *(f"{score:.3f}" for score in scores), str(total)))
    assert rows == expected


def test_the_confusion_matrix_shows_and_tells_scikit_learns_counts(digits):
    counts = confusion_matrix(digits.test.y, digits.predictions.argmax(1))
    assert (digits.result.confusion == counts).all()
    wrong = counts * ~np.eye(10, dtype=bool)
    row, column = np.unravel_index(wrong.argmax(), wrong.shape)
    assert confusion(digits.result).alt == (
        f"Confusion matrix: {counts.trace()} of {counts.sum()} right; "
        f"most confused: {row} taken for {column}, {wrong.max()} times."
    )
    shown = np.zeros_like(counts)
    for text in drawn(lambda theme: draw_matrix(digits.result, theme)).axes[0].texts:
        x, y = text.get_position()
        shown[int(y), int(x)] = int(text.get_text())
    assert (shown == counts).all()


@pytest.mark.parametrize(("times", "words"), [(1, "once"), (2, "twice"), (3, "3 times")])
def test_the_most_confused_pair_is_told_in_words(times, words):
    test = Dataset("d", np.zeros((8, 4)), np.array([0, 0, 0, 0, 1, 1, 1, 1]), ("one", "eight"))
    predictions = np.r_[np.full(4, 0.1), np.full(times, 0.2), np.full(4 - times, 0.9)]
    expected = f"Confusion matrix: {8 - times} of 8 right; most confused: eight taken for one, {words}."
    assert confusion(assess(test, predictions)).alt == expected


def test_mistakes_come_most_confident_first(digits, page):
    probability, predicted = digits.predictions.max(1), digits.predictions.argmax(1)
    wrong = np.flatnonzero(predicted != digits.test.y)
    assert len(wrong) > 24
    expected = sorted((-probability[i], digits.test.y[i], predicted[i]) for i in wrong)[:24]
    alts = [image["alt"] for image in Page(page).images[1 + 1 :][:24]]
    assert alts == [f"{true} taken for {said} with {-100 * p:.1f}\u00a0%" for p, true, said in expected]
    assert f"24 of {len(wrong)}, the most confident first" in page


def test_random_images_are_the_test_images_with_right_and_wrong_marked(digits, page):
    grid = page[page.index("<h2>A look") : page.index("<h2>Model")]
    items = re.findall(
        r'<li><img src="data:image/png;base64,(.*?)" alt="(.*?)".*?<b class="(\w+)">(.)</b> (.*?)</span>', grid
    )
    assert len(items) == 24
    pixels = {image.tobytes(): index for index, image in enumerate(digits.test.x)}
    for content, alt, kind, mark, names in items:
        with Image.open(io.BytesIO(base64.b64decode(content))) as image:
            index = pixels[image.tobytes()]  # the very pixels, not scaled
        true, said = digits.test.y[index], digits.predictions[index].argmax()
        assert (kind, mark) == (("right", "✓") if true == said else ("wrong", "✗"))
        assert names == (str(true) if true == said else f"{true} → {said}")
        assert alt.startswith(f"{true}, rightly predicted" if true == said else f"{true} taken for {said}")
    wrong = [kind for _, _, kind, _, _ in items].count("wrong")
    assert f"24 drawn at random: ✓ {24 - wrong} right, ✗ {wrong} wrong." in grid


def test_binary_is_decided_at_one_half_in_every_form():
    test = Dataset("d", np.zeros((4, 2)), np.array([0, 1, 1, 1]), ("no", "yes"))
    probabilities = np.array([0.5, 0.50001, 0.4, 1.0], np.float32)
    forms = [probabilities, probabilities[:, None], np.stack([1 - probabilities, probabilities], 1)]
    for result in (assess(test, form) for form in forms):
        assert result.predicted.tolist() == [0, 1, 0, 1]
        assert result.probability == pytest.approx([0.5, 0.50001, 0.6, 1.0])
        assert result.confusion.tolist() == [[1, 0], [1, 2]]
        assert result.mistakes.tolist() == [2]


def test_a_class_without_test_samples_counts_as_scikit_learn_counts_it():
    test = Dataset("d", np.zeros((3, 2)), np.array([0, 0, 2]), ("a", "b", "c"))
    result = assess(test, np.eye(3)[[0, 1, 2]])
    expected = precision_recall_fscore_support([0, 0, 2], [0, 1, 2], labels=[0, 1, 2], zero_division=0)
    for row, *scores in zip(result.table[:3], *expected, strict=True):
        assert row[1:] == pytest.approx(tuple(scores))
    Page(Report("t", test, test, np.eye(3)[[0, 1, 2]], seed=0).html())


def make_regression(columns):
    """A linear model of noisy linear data: the whole, the test part, and its predictions."""
    generator = np.random.default_rng(0)
    x = generator.normal(size=(200, 4)).astype(np.float32)
    y = (x @ generator.normal(size=(4, columns)) + generator.normal(size=(200, columns))).astype(np.float32)
    data = Dataset("numbers", x, y if columns > 1 else y[:, 0])
    train, test = data.split()
    return data, test, LinearRegression().fit(train.x, train.y).predict(test.x)


@pytest.mark.parametrize("columns", [1, 2])
def test_errors_of_a_regression_are_scikit_learns(columns):
    _, test, predictions = make_regression(columns)
    result = assess(test, predictions)
    guess = DummyRegressor().fit(test.x, test.y).predict(test.x)
    assert result.mean_absolute_error == pytest.approx(mean_absolute_error(test.y, predictions))
    assert result.root_mean_squared_error**2 == pytest.approx(mean_squared_error(test.y, predictions))
    assert result.guess == pytest.approx(mean_absolute_error(test.y, guess), rel=1e-5)
    panels = drawn(lambda theme: draw_residuals(result, theme, False)).axes
    assert len(panels) == 2
    for column, axes in enumerate(panels[:columns]):
        points = np.stack([part.reshape(len(test), -1)[:, column] for part in (test.y, predictions)], 1)
        assert np.asarray(axes.collections[0].get_offsets()) == pytest.approx(points, abs=1e-6)
    if columns == 1:
        assert sum(bar.get_height() for bar in panels[1].patches) == test.y.size


def test_a_regression_is_reported_with_its_errors():
    data, test, predictions = make_regression(1)
    history = {"loss": [2.0, 1.0], "val_loss": [3.0, 2.0], "mean_absolute_error": [1.5, 0.5]}
    report = Report("Numbers", data, test, predictions[:, None], seed=0, history=history)
    parsed = Page(report.html())
    assert parsed.texts["h2"] == ["Learning curves", "Predictions"]
    assert parsed.texts["strong"] == [f"{report.result.mean_absolute_error:.4g}"]
    assert parsed.texts["p"][2] == (
        f"Root mean squared error {report.result.root_mean_squared_error:.4g}. "
        f"Always predicting the mean would be off by {report.result.guess:.4g}."
    )
    assert parsed.images[0]["alt"].endswith(
        "Loss: training 2 to 1, validation 3 to 2. Mean absolute error: training 1.5 to 0.5."
    )
    low, high = (f"{np.quantile(predictions - test.y, share):.4g}".replace("-", "−") for share in (0.25, 0.75))
    assert f"of {len(test)} samples" in parsed.images[1]["alt"]
    assert f"half of all from {low} to {high}." in parsed.images[1]["alt"]


@pytest.mark.parametrize(
    ("predictions", "error", "words"),
    [
        (np.full((4, 3), np.nan), DataError, "the training diverged"),
        (np.full((4, 3), 2.0), DataError, "go from 2 to 2, expected probabilities"),
        (np.full((4, 3), -0.1), DataError, "expected probabilities"),
        (np.full((3, 3), 0.3), ShapeError, r"shape \(3, 3\) do not fit 4 samples of 3 classes.* \(4, 3\)"),
        (np.full((4, 1), 0.3), ShapeError, r"shape \(4, 1\) do not fit"),
    ],
)
def test_predictions_that_do_not_fit_are_refused(predictions, error, words):
    test = Dataset("d", np.zeros((4, 2)), np.array([0, 1, 2, 0]), ("a", "b", "c"))
    with pytest.raises(error, match=words):
        assess(test, predictions)


def test_regression_predictions_must_fit_too():
    test = Dataset("d", np.zeros((4, 2)), np.zeros(4, np.float32))
    with pytest.raises(ShapeError, match=r"shape \(4, 2\) do not fit targets of shape \(4,\)"):
        assess(test, np.zeros((4, 2)))


# Its figures ------------------------------------------------------------------------------------------------------


def drawn(draw, theme=figures.LIGHT):
    """The figure that is drawn into a page."""
    with figures.styled(theme):
        return draw(theme)


def boxes(figure):
    """Each text that is really drawn (ticks beyond the axes are not), with its box in pixels."""
    texts = {}
    draw = Text.draw
    with patch.object(Text, "draw", lambda text, renderer: (texts.setdefault(text), draw(text, renderer))):
        figure.draw_without_rendering()
    return [
        (text.get_text(), text.get_window_extent()) for text in texts if text.get_visible() and text.get_text().strip()
    ]


def overlaps(figure):
    """The texts that cover each other by more than half a pixel."""
    found = []
    for (first, a), (second, b) in combinations(boxes(figure), 2):
        if min(a.x1, b.x1) - max(a.x0, b.x0) > 0.5 and min(a.y1, b.y1) - max(a.y0, b.y0) > 0.5:
            found.append((first, second))
    return found


NAMES = {
    "digits": [str(number) for number in range(10)],
    "two": ["cat", "a dog that has a name of more than twenty letters"],
    "wide": ["W" * 8, "M" * 8, "@" * 8, "i" * 8, "l" * 20],
    "thirty long": [f"a rather long class name of species number {number}" for number in range(30)],
    "forty": [f"class {number}" for number in range(40)],
    "forty-one long": [f"a rather long class name of species number {number}" for number in range(41)],
    "strange": ["猫", "$x_1$", "_hidden", "two\nlines", "", "ελληνικά", "عربي"],
}


@pytest.mark.filterwarnings("error")  # such as a letter that the font lacks
@pytest.mark.parametrize("names", NAMES.values(), ids=NAMES)
def test_no_texts_of_a_confusion_figure_overlap(names):
    test = make_images(names, 6, side=4)
    result = assess(test, make_probabilities(test, 0.5))
    draw = draw_matrix if len(names) <= 40 else draw_pairs
    figure = drawn(lambda theme: draw(result, theme))
    texts = [text for text, _ in boxes(figure)]
    assert len(texts) > len(names) / 2
    assert overlaps(figure) == []


def test_counts_of_many_digits_stay_in_their_cells():
    names = NAMES["forty"]
    y = np.repeat(np.arange(40), 1200)
    test = Dataset("d", np.zeros((len(y), 1)), y, tuple(names))
    figure = drawn(lambda theme: draw_matrix(assess(test, np.eye(40)[y]), theme))
    cell = figure.axes[0].get_window_extent().width / 40
    widths = [box.width for text, box in boxes(figure) if text == "1200"]
    assert len(widths) == 40
    assert max(widths) < cell


def test_a_name_that_does_not_fit_gets_its_number_in_figure_and_table():
    long, strange = "a rather long class name of a species", "猫"
    report = make_report(make_images(["cat", long, strange, "$x^2$"]))
    figure = drawn(lambda theme: draw_matrix(report.result, theme))
    labels = figure.axes[0].get_yticklabels()
    assert [label.get_text() for label in labels] == ["cat", "#1 a rather long…", "#2", "$x^2$"]
    assert not any(label.get_parse_math() for label in labels)  # a dollar is a dollar
    parsed = Page(report.html())
    assert {"cat", f"#1 {long}", f"#2 {strange}", "$x^2$"} <= set(parsed.texts["th"])
    assert "A name that does not fit into the figure stands there with its #." in parsed.texts["p"]


def test_more_than_forty_classes_show_the_most_confused_pairs():
    names = [f"c{number}" for number in range(41)]
    report = make_report(make_images(names, 10, side=4))
    counts = confusion_matrix(report.test.y, report.predictions.argmax(1)) * ~np.eye(41, dtype=bool)
    axes = drawn(lambda theme: draw_pairs(report.result, theme)).axes[0]
    assert [bar.get_width() for bar in axes.patches] == sorted(counts.ravel(), reverse=True)[:20]
    for label, bar in zip(axes.get_yticklabels(), axes.patches, strict=True):
        true, said = (names.index(name) for name in label.get_text().split(" → "))
        assert bar.get_width() == counts[true, said]
    parsed = Page(report.html())
    assert "Most confused classes" in parsed.texts["h2"]
    assert parsed.images[0]["alt"].startswith("Most confused pairs of classes: ")
    perfect = Page(make_report(report.data, predictions=np.eye(41)[report.test.y]).html())
    assert "Most confused classes" not in perfect.texts["h2"]


@pytest.mark.parametrize("stacked", [False, True])
@pytest.mark.parametrize("epochs", [1, 100])
def test_learning_curves_show_the_history_without_clutter(stacked, epochs):
    decay = np.exp(-np.arange(epochs) / 20)
    history = {
        "loss": list(2e4 * decay),
        "val_loss": list(2.1e4 * decay),
        "sparse_top_k_categorical_accuracy": list(1 - decay / 3),
        "val_sparse_top_k_categorical_accuracy": list(1 - decay / 2),
    }
    figure = drawn(lambda theme: figures.draw_curves(history, theme, stacked))
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["Loss", "Sparse top k categorical accuracy"]
    for axes, name in zip(figure.axes, list(history)[::2], strict=True):
        training, validation = axes.lines
        assert training.get_xdata().tolist() == list(range(1, epochs + 1))
        assert list(training.get_ydata()) == history[name]
        assert list(validation.get_ydata()) == history[f"val_{name}"]
    assert overlaps(figure) == []
    frame = figure.bbox
    for text, box in boxes(figure):
        assert frame.x0 - 1 <= box.x0 <= box.x1 <= frame.x1 + 1, text
        assert frame.y0 - 1 <= box.y0 <= box.y1 <= frame.y1 + 1, text


def test_learning_curves_are_told_in_numbers(page):
    assert figures.learning_curves({}) is None
    assert figures.learning_curves({"loss": []}) is None
    assert Page(page).images[0]["alt"] == (
        "Learning curves over 3 epochs. Loss: training 1.25 to 0.125, validation 1 to 0.25. "
        "Accuracy: training 50.00\u00a0% to 96.00\u00a0%, validation 60.00\u00a0% to 90.00\u00a0%."
    )
    one = figures.learning_curves({"loss": [0.5], "learning_rate": [0.1]})
    assert one.alt == "Learning curves over 1 epoch. Loss: training 0.5."


@pytest.mark.parametrize("stacked", [False, True])
def test_no_texts_of_a_regression_overlap(stacked):
    generator = np.random.default_rng(0)
    y = (generator.normal(size=300) * 1e5).astype(np.float32)
    result = assess(Dataset("d", np.zeros((300, 1)), y), y + generator.normal(size=300) * 1e4)
    assert overlaps(drawn(lambda theme: draw_residuals(result, theme, stacked))) == []


def test_figures_hold_ink_and_leave_matplotlib_as_it_was(digits):
    before = dict(matplotlib.rcParams)
    expected = confusion(digits.result)
    assert dict(matplotlib.rcParams) == before
    with matplotlib.rc_context({"font.size": 30, "text.color": "red", "svg.fonttype": "none", "axes.labelpad": 40}):
        assert confusion(digits.result) == expected
    svg = svg_of(expected.source)
    assert svg.count("<path") > 30
    assert svg.count(figures.LIGHT.blue) >= 10
    width, height = (float(number) for number in re.search(r'width="([\d.]+)pt" height="([\d.]+)pt"', svg).groups())
    assert (expected.width, expected.height) == (round(width * 4 / 3), round(height * 4 / 3))


# How sure it is, and what it sees --------------------------------------------------------------------------------


def test_the_calibration_is_scikit_learns(digits):
    right = digits.test.y == digits.predictions.argmax(1)
    found = digits.result.calibration
    accuracy, confidence = calibration_curve(right, digits.predictions.max(1), n_bins=10)
    full = found.counts > 0
    assert found.accuracy[full] == pytest.approx(accuracy)
    assert found.confidence[full] == pytest.approx(confidence)
    assert found.counts.sum() == len(right)
    assert found.error == pytest.approx((found.counts[full] * abs(accuracy - confidence)).sum() / len(right))
    assert found.mean_accuracy == pytest.approx(right.mean())
    assert found.mean_confidence == pytest.approx(digits.predictions.max(1).mean())


def test_the_calibration_error_worked_by_hand():
    # 0.2 and below: 1 of 2 right at a mean of 0.15; up to 0.9: 3 of 4 right at 0.9. 2/6 · 0.35 + 4/6 · 0.15 = 13/60.
    found = calibrate(np.array([0.2, 0.1001, 0.9, 0.9, 0.9, 0.9]), np.array([1, 0, 1, 1, 1, 0], bool))
    assert found.counts.tolist() == [0, 2, 0, 0, 0, 0, 0, 0, 4, 0]
    assert found.error == pytest.approx(13 / 60, abs=1e-4)
    assert calibrate(np.ones(5), np.ones(5, bool)).error == 0


def test_the_least_sure_cases_come_first(digits, page):
    ordered = np.sort(digits.predictions, axis=1)
    margins = ordered[:, -1] - ordered[:, -2]
    expected = np.argsort(margins, kind="stable")[:12]
    assert digits.result.least_sure[:12].tolist() == expected.tolist()
    grid = page[page.index("<h2>Least sure") : page.index("<h2>Calibration")]
    first = expected[0]
    order = np.argsort(-digits.predictions[first])[:2]
    shares = ", ".join(f"{number}:\u00a0{100 * digits.predictions[first, number]:.1f}\u00a0%" for number in order)
    assert re.findall(r'<span class="quiet">(.*?)</span>', grid)[0] == shares
    assert grid.count("<li>") == 12


def small_network():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 6, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(6, 8, 2), nn.ReLU(inplace=True), nn.Flatten(),
        nn.Linear(32, 10), nn.Softmax(1),
    )  # fmt: skip


def test_the_last_hidden_layer_is_what_comes_into_the_last_weights(digits):
    network = small_network().train()
    hooks = sum(len(part._forward_pre_hooks) for part in network.modules())
    x = digits.test.x[:40]
    hidden = last_hidden(network, x)
    expected = network[:6](torch.tensor(x).movedim(-1, 1) / 255)
    assert hidden.layer == "6"
    assert hidden.values == pytest.approx(expected.detach().numpy(), abs=1e-6)
    assert network.training
    assert sum(len(part._forward_pre_hooks) for part in network.modules()) == hooks
    assert last_hidden(nn.Sequential(nn.Flatten(), nn.Linear(64, 10)), x) is None


def test_the_maps_are_scikit_learns_and_mark_the_mistakes(digits):
    network = small_network()
    found = embed(network, digits.test.x[:60], seed=0)
    both = PCA(2, random_state=0).fit(found.hidden.values)
    assert np.abs(found.maps["PCA"]) == pytest.approx(np.abs(both.transform(found.hidden.values)), abs=1e-4)
    assert found.kept == pytest.approx(both.explained_variance_ratio_.sum(), rel=1e-4)
    distances = np.linalg.norm(found.hidden.values[:, None] - found.hidden.values, axis=2) + 1e9 * np.eye(60)
    assert (found.nearest == distances.argmin(1)).all()
    again = embed(network, digits.test.x[:60], seed=0)
    assert (again.maps["t-SNE"] == found.maps["t-SNE"]).all()
    for stacked in (False, True):
        figure = drawn(lambda theme, stacked=stacked: draw_embedding(found, digits.result, theme, stacked))
        wrong = np.isin(found.chosen, digits.result.mistakes).sum()
        assert [len(axes.collections[-1].get_offsets()) for axes in figure.axes] == [wrong, wrong]
        assert sum(len(dots.get_offsets()) for dots in figure.axes[0].collections[:-1]) == 60
        assert overlaps(figure) == []
        assert (
            overlaps(drawn(lambda theme, stacked=stacked: draw_calibration(digits.result.calibration, theme, stacked)))
            == []
        )


def test_a_network_is_looked_into_and_left_as_it_was(digits):
    data, network = digits.data, small_network()
    test = Dataset("few", digits.test.x[:40], digits.test.y[:40], digits.test.class_names)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    text = Report("Seen", data, test, digits.predictions[:40], seed=0, network=network).html()
    parsed = Page(text)
    assert {"Map of the last hidden layer", "What it sees"} <= set(parsed.texts["h2"])
    assert parsed.texts["h3"] == ["Filters", "Feature maps", "Receptive field", "Where it looks"]
    assert "Left out" not in text
    assert sum("Grad-CAM: " in image["alt"] for image in parsed.images) >= 4
    assert all(len(image["alt"]) > 10 for image in parsed.images)
    assert network.training
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_a_network_that_cannot_be_looked_into_still_gets_its_report(digits):
    class Broken(nn.Module):
        def forward(self, x):
            raise ValueError("<no> way")

    text = make_report(make_images("ab"), network=Broken()).html()
    parsed = Page(text)
    assert text.count("Left out: ") >= 4
    assert "<no>" not in text
    assert "What it sees" in parsed.texts["h2"]


@pytest.mark.parametrize("found", [(), (Finding("dead ReLUs", "critical", "conv<1>", "80 %", 0.8, 0.5, "so", "do"),)])
def test_the_findings_of_a_diagnosis_stand_first(found):
    parsed = Page(make_report(make_images("ab"), findings=Findings(found, Record(layers=["conv"]))).html())
    assert parsed.texts["h2"][0] == "Diagnosis"
    if found:
        assert parsed.texts["h3"] == ["Critical dead ReLUs in conv<1>"]
        assert {"80 %", "so", "do"} <= set(parsed.texts["td"])
    else:
        assert parsed.texts["section"][0].strip().startswith("Diagnosis\nNothing was found to be wrong.")


# Its images -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shape", "size", "rendering"),
    [
        ((8, 8, 1), (112, 112), "pixelated"),
        ((28, 28, 1), (112, 112), "pixelated"),
        ((64, 64, 3), (128, 128), "pixelated"),
        ((96, 96, 3), (96, 96), "auto"),
        ((256, 128, 3), (64, 128), "auto"),
        ((20, 200, 1), (128, 13), "auto"),
        ((10, 200, 3), (128, 6), "auto"),
    ],
)
def test_small_images_are_enlarged_by_whole_numbers_and_large_ones_reduced(shape, size, rendering):
    x = np.random.default_rng(0).integers(0, 256, (3, *shape), dtype=np.uint8)
    (picture,) = images.thumbnails(x, np.array([1]))
    assert (picture.width, picture.height, picture.rendering) == (*size, rendering)
    with Image.open(io.BytesIO(base64.b64decode(picture.source.partition(",")[2]))) as image:
        assert image.mode == ("L" if shape[-1] == 1 else "RGB")
        if rendering == "pixelated":
            assert (np.asarray(image).reshape(shape) == x[1]).all()


def test_images_of_floats_are_stretched_from_black_to_white():
    x = np.linspace(-1, 3, 32).reshape(2, 4, 4, 1)
    (picture,) = images.thumbnails(x, np.array([0]))
    with Image.open(io.BytesIO(base64.b64decode(picture.source.partition(",")[2]))) as image:
        assert np.asarray(image).ravel().tolist() == np.rint(np.linspace(0, 255, 16)).tolist()


@pytest.mark.parametrize(
    ("shape", "expected"), [((2, 8, 8, 1), True), ((2, 8, 8, 3), True), ((2, 8, 8, 5), False), ((2, 8, 8), False)]
)
def test_what_is_an_image(shape, expected):
    assert images.are_images(np.zeros(shape, np.uint8)) is expected
