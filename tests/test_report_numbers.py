"""Pages of runs that predict numbers: residuals, the largest errors, maps in the number's colour, where it looks."""

import re

import numpy as np
import pytest
import torch
from sklearn.metrics import r2_score
from torch import nn

from striate.data import Dataset
from striate.report import Answer, Report, image_page
from striate.report.answering import one_number
from striate.report.embedding import embed
from striate.report.embedding_figure import draw_embedding
from striate.report.residual_figure import draw_residuals
from tests.test_report import Page, drawn, overlaps


def network(columns):
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(36, 8), nn.ReLU(), nn.Linear(8, columns)
    )


def make(columns):
    """What a network says of images, with noise added for the truth."""
    random = np.random.default_rng(0)
    x = random.integers(0, 256, (60, 8, 8, 1), dtype=np.uint8)
    module = network(columns)
    predicted = module(torch.tensor(x).movedim(-1, 1) / 255).detach().numpy() * 100
    actual = predicted + random.normal(size=predicted.shape)
    data = Dataset("numbers", x, (actual if columns > 1 else actual[:, 0]).astype(np.float32))
    return Report("Numbers", data, data, predicted, seed=0, network=module)


@pytest.fixture(scope="module", params=[1, 2])
def report(request):
    return make(request.param)


@pytest.fixture(scope="module")
def page(report):
    return report.html()


def test_the_parts_stand_in_their_order(report, page):
    several = report.result.actual.shape[1] > 1
    parsed = Page(page)
    assert parsed.texts["h2"] == [
        "Predictions",
        *(["Number by number"] if several else []),
        "Largest errors",
        "Map of the last hidden layer",
        "A look at the test images",
        "What it sees",
    ]
    assert "Left out" not in page
    assert all(len(image["alt"]) > 10 for image in parsed.images)


def test_what_is_explained_is_scikit_learns(report, page):
    result = report.result
    shares = r2_score(result.actual, result.predicted, multioutput="raw_values")
    assert [row.explained for row in result.table] == pytest.approx(shares)
    if len(shares) == 1:
        assert f"{100 * shares[0]:.1f}\u00a0% of the variance is explained (R²)." in page
    else:
        assert all(f"<td>{share:.3f}</td>" in page for share in shares)
    assert [row.bias for row in result.table] == pytest.approx(result.residuals.mean(0))


def test_the_largest_errors_come_first(report, page):
    result = report.result
    off = np.abs(result.residuals / result.actual.std(0)).max(1)
    assert result.worst.tolist() == np.argsort(-off, kind="stable").tolist()
    grid = page[page.index("Largest errors") :]
    sample, column = result.worst[0], result.furthest[result.worst[0]]
    residual = f"{result.residuals[sample, column]:+.3g}".replace("-", "−")
    which = f"number {column} " if result.actual.shape[1] > 1 else ""
    assert re.search(r'<span class="quiet">(.*?)</span>', grid).group(1) == f"{which}off by {residual}"


def test_a_number_without_variance_explains_nothing():
    data = Dataset("same", np.zeros((4, 2)), np.ones((4, 2), np.float32))
    result = Report("t", data, data, np.array([[1, 2.0]] * 4), seed=0).result
    assert [row.explained for row in result.table] == [None, None]
    assert result.furthest.tolist() == [1] * 4


@pytest.mark.parametrize("stacked", [False, True])
def test_no_texts_of_the_figures_overlap(report, stacked):
    found = embed(report.network, report.test.x, seed=0)
    maps = drawn(lambda theme: draw_embedding(found, report.result, theme, stacked))
    panels = [axes for axes in maps.axes if axes.get_title(loc="left")]
    assert len(panels) == 2
    for column, axes in enumerate(panels):
        number = column if report.result.actual.shape[1] > 1 else 0
        assert np.asarray(axes.collections[0].get_array()) == pytest.approx(report.result.actual[:, number])
    assert overlaps(maps) == []
    assert overlaps(drawn(lambda theme: draw_residuals(report.result, theme, stacked))) == []


def test_where_it_looks_is_asked_of_the_number_that_is_furthest_off(report, page):
    sight = page[page.index("Where it looks") :]
    explained = re.findall(r"for ([\w ]+): deletion", sight)
    assert len(explained) == 8
    assert set(explained) <= {"the number", "number 0", "number 1"}
    if report.result.actual.shape[1] > 1:
        assert explained[0] == f"number {report.result.furthest[report.result.worst[0]]}"
    assert "Occlusion: covering what is blue" in sight


def test_one_of_several_numbers_is_explained_as_a_number():
    report = make(2)
    pixels = report.test.x[0]
    with one_number(report.network, 1):
        batch = torch.tensor(pixels[None]).movedim(-1, 1) / 255
        assert report.network(batch).shape == (1, 1)
    page = Page(image_page("An image", report.network, pixels, Answer("1, 2.5", {}), target=1))
    assert page.texts["pre"][0].startswith("Grad-CAM: the number 2.5\n")
    assert not report.network._forward_hooks
