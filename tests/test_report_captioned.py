"""The page of a captioner: its numbers, what it shows of which images, and what is refused."""

import re
from collections import Counter

import numpy as np
import pytest

from striate.caption import CaptionDataset, human_agreement, score_captions
from striate.caption.description import Description
from striate.data.shapes import scenes
from striate.errors import DataError
from striate.report.captioned import CaptionReport
from striate.report.confidence_figure import by_confidence

NUMBER = 24


@pytest.fixture(scope="module")
def case():
    """Scenes, descriptions of which some words are wrong, and their scores; the third caption was cut off."""
    drawn = scenes(NUMBER, seed=3)
    people = tuple(tuple(caption.text for caption in own) for own in drawn.captions)
    data = CaptionDataset("shapes", drawn.images, people, tuple(map(str, range(NUMBER))))
    draw, found = np.random.default_rng(1), []
    for index in range(NUMBER):
        words = [word if draw.random() < 0.8 else "dog" for word in people[index][0].split()]
        weights = draw.dirichlet(np.ones(16), len(words)).reshape(-1, 4, 4)
        sure = draw.uniform(0.2, 1, len(words)).astype(np.float32)
        found.append(Description(tuple(words), sure, weights, finished=index != 2))
    references = [[caption.split() for caption in own] for own in people]
    return data, found, score_captions([one.words for one in found], references), human_agreement(references)


def paged(case, **more):
    data, found, scores, _ = case
    return CaptionReport("A <run>", "Trained on drawings.", data, found, scores, **more).html()


@pytest.fixture(scope="module")
def page(case):
    return paged(case)


def sections(page):
    """The HTML below each heading, by the heading."""
    parts = re.split(r"<h[23]>(.*?)</h[23]>", page)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def rows(html):
    """The cells of a table's rows."""
    found = [re.findall(r"<t[hd].*?>(.*?)</t[hd]>", row) for row in re.findall(r"<tr>(.*?)</tr>", html)]
    return {row[0]: row[1:] for row in found}


def said(html):
    return re.findall(r"<b>(.*?)</b>", html)


def test_the_numbers_beside_the_human_agreement(case, page):
    _, _, scores, human = case
    alone = page
    page = paged(case, human=human, notes=["97 % of the <words> are right."])
    assert f"<strong>{100 * scores.numbers['CIDEr-D']:.1f}</strong>" in page
    assert f"Human agreement is {100 * human.numbers['CIDEr-D']:.1f}." in page
    assert "97 % of the &lt;words&gt; are right." in page
    assert "<h1>A &lt;run&gt;</h1>" in page
    table = rows(sections(page)["Metrics"])
    assert table["Metric"] == ["Captions", "Human agreement"]
    for name in ("BLEU-1", "BLEU-2", "BLEU-3", "BLEU-4", "ROUGE-L", "CIDEr-D", "CIDEr"):
        assert table[name] == [f"{100 * numbers.numbers[name]:.1f}" for numbers in (scores, human)]
    assert table["METEOR"] == table["SPICE"] == ["not computed"] * 2
    assert rows(sections(alone)["Metrics"])["Metric"] == ["Captions"]
    assert "uman agreement" not in alone


def test_which_captions_are_shown(case, page):
    data, found, scores, _ = case
    parts = sections(page)
    least = sorted(range(NUMBER), key=lambda index: found[index].confidence)[:6]
    assert said(parts["The least sure"]) == [found[index].text for index in least]
    worst = sorted(range(NUMBER), key=lambda index: scores.of_images["CIDEr-D"][index])[:6]
    assert said(parts["The worst by CIDEr-D"]) == [found[index].text for index in worst]
    assert len(said(parts["Drawn at random"])) == 6
    shown = parts["The worst by CIDEr-D"]
    assert f"CIDEr-D {100 * scores.of_images['CIDEr-D'][worst[0]]:.1f}" in shown
    for caption in data.captions[worst[0]]:
        assert f">{caption}</span>" in shown
    assert f'alt="{data.captions[worst[0]][0]}"' in shown


def test_attention_of_images_drawn_by_the_seed(case, page):
    first, other = (
        re.findall(r'alt="An image, described (.*?) as: (.*?)\.', one) for one in (page, paged(case, seed=1))
    )
    assert len(first) == len(other) == 3
    assert first != other
    texts = {one.text: f"with a confidence of {one.confidence:.0%}" for one in case[1]}
    assert all(texts[text] == sure for sure, text in first)


def test_the_words_it_says(case, page):
    data, found, _, _ = case
    part = sections(page)["Words"]
    written = [caption for own in data.captions for caption in own]
    table = rows(part)
    assert table["Captions"] == [f"{NUMBER}", f"{5 * NUMBER}"]
    texts = [one.text for one in found], written
    assert table["Different words"] == [str(len({word for text in own for word in text.split()})) for own in texts]
    assert table["Mean length in words"] == [f"{sum(len(t.split()) for t in own) / len(own):.1f}" for own in texts]
    assert table["Share that is different"] == [f"{100 * len(set(own)) / len(own):.1f}\u00a0%" for own in texts]
    assert "1 caption cut off for length." in part


def test_how_far_to_trust_it(case, page):
    data, found, scores, _ = case
    part = sections(page)["How far to trust it"]
    order = sorted(range(NUMBER), key=lambda index: found[index].confidence)
    least, most = (100 * np.mean(scores.of_images["CIDEr-D"][own]) for own in (order[:6], order[-6:]))
    assert f"the least confidence has a mean CIDEr-D of {least:.1f}, that with the most {most:.1f}." in part
    pairs = [(word, word in " ".join(data.captions[i]).split()) for i, one in enumerate(found) for word in one.words]
    right = sum(known for _, known in pairs) / len(pairs)
    assert f"Of the words, {100 * right:.1f}\u00a0% are in a reference of their image." in part
    wrong = Counter(word for word, known in pairs if not known)
    assert wrong.keys() == {"dog"}
    assert f"Those that most often are not: dog\u00a0({wrong['dog']})." in part
    few = np.arange(5)
    alone = score_captions([found[i].words for i in few], [[text.split() for text in data.captions[i]] for i in few])
    page = CaptionReport("Few", "", data.chosen(few), found[:5], alone).html()
    assert "How far to trust it" not in page
    assert len(said(sections(page)["The least sure"])) == 5


def test_groups_of_captions_by_confidence():
    confidence, scores = np.array([0.9, 0.1, 0.5, 0.3, 0.7]), np.array([5.0, 1.0, 3.0, 2.0, 4.0])
    found = by_confidence(confidence, scores, groups=2)
    np.testing.assert_allclose(found, [[0.3, 2.0], [0.8, 4.5]])


def test_curves_configuration_and_captions_of_no_words(case, page):
    data, found, _, _ = case
    nothing = [Description((), np.zeros(0, np.float32), np.zeros((0, 4, 4)))] * NUMBER
    scores = score_captions([()] * NUMBER, [[text.split() for text in own] for own in data.captions])
    config = {"cell": "lstm", "image_size": [64, 64], "weights": None, "network": {"words": ["a"]}}
    history = {"loss": [3.0, 2.0], "val_loss": [3.1, 2.5]}
    silent = CaptionReport("Silent", "", data, nothing, scores, history, config).html()
    parts = sections(silent)
    assert "Loss: training 3 to 2, validation 3.1 to 2.5." in parts["Learning curves"]
    assert rows(parts["Configuration"]) == {"cell": ["lstm"], "image_size": ["64, 64"], "weights": ["—"]}
    assert said(parts["The least sure"]) == ["(no words)"] * 6
    assert "<strong>0.0</strong>" in silent
    assert "How far to trust it" not in silent
    assert not {"Learning curves", "Configuration"} & sections(page).keys()


def test_the_page_loads_nothing_and_has_figures_for_dark_screens(page):
    assert all(source.startswith("data:image/") for source in re.findall(r'src(?:set)?="(.*?)"', page))
    assert page.count('(prefers-color-scheme: dark)" srcset') == 3 + 2


def test_mistakes(case):
    data, found, scores, _ = case
    with pytest.raises(DataError, match=r"Got \[24, 23, 24\] images, descriptions and scores"):
        CaptionReport("", "", data, found[1:], scores)
