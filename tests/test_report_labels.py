"""Pages of runs with several labels for a sample: what was said in place of what, mistakes, where it looks."""

import re

import numpy as np
import pytest
import torch
from sklearn.calibration import calibration_curve
from sklearn.metrics import multilabel_confusion_matrix
from torch import nn

from striate.data import Dataset
from striate.report import Report, assess, figures
from striate.report.answering import labels
from striate.report.calibration_figure import draw_calibration
from striate.report.confusion_figure import confusion, draw_matrix
from striate.report.embedding import embed
from striate.report.embedding_figure import draw_embedding
from tests.test_report import Page, drawn, overlaps

NAMES = ("blue", "green", "red")


def colours(count=60, side=8):
    """Images with a square of each of their labels' colours."""
    random = np.random.default_rng(0)
    x, y = random.integers(0, 60, (count, side, side, 3), dtype=np.uint8), random.random((count, 3)) < 0.5
    for image, has in zip(x, y, strict=True):
        for channel in np.flatnonzero(has):
            row, column = random.integers(0, side - 3, 2)
            image[row : row + 3, column : column + 3, channel] = 255
    return Dataset("colours", x, y.astype(np.float32), NAMES)


def network(ending=None):
    """A network that says which colours are there, with a scale that makes it sure of most."""
    torch.manual_seed(0)
    last = nn.Linear(3, 3)
    with torch.no_grad():
        last.weight.copy_(20 * torch.eye(3))
        last.bias.fill_(-12)
    first = nn.Conv2d(3, 3, 3)
    with torch.no_grad():
        first.weight.copy_(torch.eye(3)[:, :, None, None].expand(3, 3, 3, 3) / 9 + 0.01)
        first.bias.zero_()
    return nn.Sequential(first, nn.ReLU(), nn.AdaptiveMaxPool2d(1), nn.Flatten(), last, *([ending] if ending else []))


@pytest.fixture(scope="module")
def report():
    data = colours()
    probabilities = network(nn.Sigmoid())(torch.tensor(data.x).movedim(-1, 1) / 255).detach().numpy()
    probabilities[:6] = np.abs(probabilities[:6] - [0.9, 0.2, 0.6])  # some are wrong
    return Report("Colours", data, data, probabilities, seed=0, network=network(nn.Sigmoid()))


@pytest.fixture(scope="module")
def page(report):
    return report.html()


def test_the_parts_stand_in_their_order(page):
    parsed = Page(page)
    assert parsed.texts["h2"] == [
        "Label by label",
        "Labels in place of labels",
        "Most confident mistakes",
        "Least sure cases",
        "Calibration",
        "Map of the last hidden layer",
        "A look at the test images",
        "What it sees",
    ]
    assert parsed.texts["h3"][:2] == ["Said, but not there", "There, but not said"]
    assert "Left out" not in page
    assert all(len(image["alt"]) > 10 for image in parsed.images)


def test_what_was_said_in_place_of_what_worked_by_hand():
    y = np.array([[1, 0, 0], [1, 1, 0], [0, 0, 0], [1, 0, 1]], np.float32)
    said = np.array([[0, 1, 0], [1, 0, 0], [0, 0, 0], [0, 1, 0]], float)
    result = assess(Dataset("by hand", np.zeros((4, 2)), y, ("a", "b", "c")), said)
    # 0: a missed for b. 1: a found, b missed for nothing. 2: nothing, rightly. 3: a and c missed for b.
    assert result.confusion.tolist() == [[1, 2, 0, 0], [0, 0, 0, 1], [0, 1, 0, 0], [0, 0, 0, 1]]
    assert result.confusions[0] == (0, 1, 2)
    assert confusion(result).alt == (
        "Confusion matrix: 1 of 4 right; most confused: a missed, and falsely said was b, twice."
    )
    found = np.diag(result.confusion)[:3].tolist()
    assert found == multilabel_confusion_matrix(y, said)[:, 1, 1].tolist()


def test_false_alarms_and_misses_come_most_confident_first(report, page):
    result = report.result
    for decisions, said in ((result.false_alarms, True), (result.misses, False)):
        assert len(decisions)
        off = [abs(result.probability[sample, label] - result.actual[sample, label]) for sample, label in decisions]
        assert off == sorted(off, reverse=True)
        for sample, label in decisions:
            assert result.said[sample, label] == said
            assert result.actual[sample, label] != said
    assert result.probability[tuple(result.false_alarms[0])] == result.probability[~result.actual].max()
    assert result.probability[tuple(result.misses[0])] == result.probability[result.actual].min()
    first = page[page.index("Said, but not there") : page.index("There, but not said")]
    sample, label = result.false_alarms[0]
    share = figures.percent(result.probability[sample, label], 1)
    assert re.search(r'<b class="wrong">✗</b> (.*?)</span>', first).group(1) == f"{NAMES[label]}:\u00a0{share}"


def test_the_least_sure_decision_is_next_to_one_half(report):
    off = np.abs(report.result.probability - 0.5)
    assert off[tuple(report.result.least_sure[0])] == off.min()
    assert len(report.result.least_sure) == off.size


def test_the_calibration_is_that_of_all_decisions(report):
    found = report.result.calibration
    share, probability = calibration_curve(report.result.actual.ravel(), report.result.probability.ravel(), n_bins=10)
    full = found.counts > 0
    assert found.accuracy[full] == pytest.approx(share)
    assert found.confidence[full] == pytest.approx(probability)


@pytest.mark.parametrize("stacked", [False, True])
def test_no_texts_of_the_figures_overlap(report, stacked):
    result = report.result
    found = embed(report.network, report.test.x, seed=0)
    maps = drawn(lambda theme: draw_embedding(found, result, theme, stacked))
    assert [axes.get_title(loc="left") for axes in maps.axes] == list(NAMES)
    for label, axes in enumerate(maps.axes):
        without, there, wrong = (len(dots.get_offsets()) for dots in axes.collections)
        assert (without, there) == tuple(np.bincount(result.actual[:, label], minlength=2))
        assert wrong == (result.actual != result.said)[:, label].sum()
    assert overlaps(maps) == []
    assert overlaps(drawn(lambda theme: draw_matrix(result, theme))) == []
    assert overlaps(drawn(lambda theme: draw_calibration(result.calibration, theme, stacked, labels=True))) == []


def test_where_it_looks_is_asked_of_one_label(page):
    sight = page[page.index("Where it looks") :]
    explained = re.findall(r"for (\w+): deletion", sight)
    assert len(explained) == 8
    assert set(explained) <= set(NAMES)


def test_scores_are_made_probabilities_while_they_are_explained(report):
    x, hooks = report.test.x[8:12], len(network()._forward_hooks)
    probabilities = report.result.probability[8:12]
    scores, sure = network(), network(nn.Sigmoid())
    batch = torch.tensor(x).movedim(-1, 1) / 255
    for module in (scores, sure):
        with labels(module, x, probabilities):
            assert module(batch).detach().numpy() == pytest.approx(probabilities, abs=1e-5)
        assert len(module._forward_hooks) == hooks
    assert scores(batch).min() < 0


def test_samples_that_are_no_images_are_counted(report):
    data = Dataset("table", np.zeros((60, 4)), report.test.y, NAMES)
    text = Report("t", data, data, report.predictions, seed=0).html()
    assert re.search(r"Said, but not there</h3>\s*<p class=\"quiet\">\d+ decisions\.", text)
    perfect = Report("t", data, data, report.test.y, seed=0).html()
    assert "No mistakes: all labels of all 60 test samples are right." in perfect
