"""Samples with several labels each: trained, tested, reported and predicted from the command line."""

import json
import re

import numpy as np
import pytest
from PIL import Image
from sklearn.metrics import average_precision_score, f1_score, precision_recall_fscore_support

import striate
from striate import data
from striate.report import MultiLabel, assess
from tests.test_cli_resume import call

LABELS = ("blue", "green", "red")
FUNCTION = """
import torch

class Scores(torch.nn.Module):
    def __init__(self, channels, labels):
        super().__init__()
        self.out = torch.nn.Linear(channels, labels)

    def forward(self, x):
        return self.out(x.amax((2, 3)))

def scores(input_shape, num_outputs):
    return Scores(input_shape[2], num_outputs)
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Images with a square of each of their labels' colours, and a run that was trained on them."""
    folder = tmp_path_factory.mktemp("several labels")
    random = np.random.default_rng(0)
    rows = []
    for number in range(200):
        pixels = random.integers(0, 80, (12, 12, 3), dtype=np.uint8)
        has = random.random(3) < (0.2, 0.5, 0.7)
        for channel in np.flatnonzero(has[::-1]):
            y, x = random.integers(0, 8, 2)
            pixels[y : y + 4, x : x + 4, channel] = random.integers(120, 255)
        Image.fromarray(pixels).save(folder / f"{number}.png")
        rows.append(
            {"path": f"{number}.png", "labels": [name for name, there in zip(LABELS, has, strict=True) if there]}
        )
    (folder / "labels.jsonl").write_text("\n".join(map(json.dumps, rows)))
    output = call(
        "train", folder / "labels.jsonl", "--epochs", 4, "--name", "several", "--runs-folder", folder / "runs"
    )
    (folder / "output.txt").write_text(output, encoding="utf-8")
    return folder


def test_the_numbers_are_scikit_learns(folder):
    _, test = data.load(str(folder / "labels.jsonl")).split(0.2, seed=0)
    assert test.class_names == LABELS
    probability = striate.load(folder / "runs" / "several" / "model.safetensors").predict(test.x)
    actual, said = test.y.astype(int), probability > 0.5
    mean = average_precision_score(actual, probability, average="macro")
    f1 = f1_score(actual, said, average="macro", zero_division=0)
    metrics = json.loads((folder / "runs" / "several" / "metrics.json").read_text())
    assert metrics["mean_average_precision"] == pytest.approx(mean)
    assert metrics["f1"] == pytest.approx(f1)
    assert metrics["right"] == (said == actual).all(1).sum()

    headline = f"Mean average precision on the 40 test samples: {mean:.4f} (macro F1 {f1:.4f};"
    assert headline in (folder / "output.txt").read_text(encoding="utf-8")
    output = call("evaluate", folder / "runs" / "several")
    assert f"held out from the training): {mean:.4f}" in output
    rows = zip(*precision_recall_fscore_support(actual, said, zero_division=0), strict=True)
    for name, (precision, recall, f1, support) in zip(LABELS, rows, strict=True):
        assert re.search(rf"^{name} +{precision:.3f} +{recall:.3f} +{f1:.3f} +{support}$", output, re.MULTILINE)


def test_the_page_shows_labels_and_mistakes(folder):
    page = (folder / "runs" / "several" / "report.html").read_text(encoding="utf-8")
    for part in (
        "mean average precision on 40 test images",
        "Label by label",
        "average precision over all",
        "Learning curves",
        "Labels in place of labels",
        "Most confident mistakes",
        "Least sure cases",
        "Calibration",
        "Map of the last hidden layer",
        "What it sees",
    ):
        assert part in page
    assert "Left out" not in page


def test_predictions_name_the_labels(folder):
    run = folder / "runs" / "several"
    paths = [folder / f"{number}.png" for number in range(5)]
    expected = striate.load(run / "model.safetensors").predict(
        np.stack([np.asarray(Image.open(path)) for path in paths])
    )
    answers = json.loads(call("predict", run, *paths, "--json"))
    for answer, row in zip(answers, expected, strict=True):
        assert set(answer["labels"]) == {name for name, value in zip(LABELS, row, strict=True) if value > 0.5}
        assert [answer["probabilities"][name] for name in LABELS] == pytest.approx(row.tolist(), abs=1e-6)
    header = call("predict", run, paths[0]).splitlines()[0]
    assert header.split() == ["Image", "Labels", "Most", "probable", "Second", "Third"]
    assert re.search(r"several +labels .* mAP", call("runs", "--runs-folder", folder / "runs"))


def test_a_module_that_gives_scores(folder, tmp_path):
    (tmp_path / "nets.py").write_text(FUNCTION)
    arguments = (
        "--model",
        f"{tmp_path / 'nets.py'}:scores",
        "--learning-rate",
        0.1,
        "--epochs",
        30,
        "--label-smoothing",
        0.02,
    )
    call("train", folder / "labels.jsonl", *arguments, "--name", "scores", "--runs-folder", tmp_path)
    run = tmp_path / "scores"
    assert json.loads((run / "config.json").read_text())["outputs"] == "label_scores"
    assert json.loads((run / "metrics.json").read_text())["mean_average_precision"] > 0.9
    probabilities = json.loads(call("predict", run, folder / "0.png", "--json"))[0]["probabilities"].values()
    assert all(0 < probability < 1 for probability in probabilities)


def test_classes_cannot_be_balanced(folder, tmp_path):
    answer = call("train", folder / "labels.jsonl", "--balance", "weights", "--runs-folder", tmp_path, code=1)
    assert "this data has several labels for a sample" in answer


def test_a_result_by_hand():
    y = np.array([[1, 0, 0], [1, 1, 0], [0, 1, 0], [0, 0, 0]], np.float32)
    test = data.Dataset("by hand", np.zeros((4, 2)), y, ("a", "b", "never"))
    result = assess(test, [[0.9, 0.2, 0.0], [0.4, 0.8, 0.1], [0.6, 0.7, 0.2], [0.1, 0.9, 0.1]])
    assert isinstance(result, MultiLabel)
    # a: 1 of 2 said is right, 1 of 2 is found; ranked 1, 0.6 (wrong), 0.4: the mean of 1/1 and 2/3.
    assert result.table[0][1:] == (0.5, 0.5, 0.5, pytest.approx(5 / 6), 2)
    # b: 2 of 3 said are right, both are found; ranked wrong, right, right: the mean of 1/2 and 2/3.
    assert result.table[1][1:] == (pytest.approx(2 / 3), 1, pytest.approx(0.8), pytest.approx(7 / 12), 2)
    assert result.table[2][1:] == (0, 0, 0, None, 0)
    assert result.mean_average_precision == pytest.approx((5 / 6 + 7 / 12) / 2)
    assert result.f1 == pytest.approx((0.5 + 0.8) / 3)
    assert result.guess == 0.5
    assert result.right == 1
    assert result.mistakes.tolist() == [3, 1, 2]  # 0.9, 0.6 and 0.6 off
