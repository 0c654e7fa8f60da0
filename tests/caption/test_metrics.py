"""The metrics of captions, held to pycocoevalcap, to published scores, and to values worked out by hand."""

import contextlib
import gzip
import io
import json
import math
import random
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from striate.caption.metrics import (
    DocumentFrequencies,
    bleu,
    cider,
    cider_d,
    human_agreement,
    rouge_l,
    score_captions,
    table_text,
)
from striate.caption.metrics.rouge import common_subsequence
from striate.caption.tokenizer import tokenize
from striate.errors import ArgumentError, DataError

DATA = Path(__file__).parents[3] / "shared" / "data" / "caption_metrics"
FLICKR8K = DATA.parent / "flickr8k"
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason="shared/data/caption_metrics is not here")


def of_pycocoevalcap(hypotheses, references):
    """What the reference implementation makes of the same words: of the set, and of each image."""
    scorers = {
        "BLEU": pytest.importorskip("pycocoevalcap.bleu.bleu").Bleu(4),
        "ROUGE-L": pytest.importorskip("pycocoevalcap.rouge.rouge").Rouge(),
        "CIDEr-D": pytest.importorskip("pycocoevalcap.cider.cider").Cider(),
    }
    truth = {image: [" ".join(words) for words in of_image] for image, of_image in enumerate(references)}
    captions = {image: [" ".join(words)] for image, words in enumerate(hypotheses)}
    with contextlib.redirect_stdout(io.StringIO()):
        return {name: scorer.compute_score(truth, captions) for name, scorer in scorers.items()}


def cider_of_dense_vectors(hypotheses, references):
    """The formula of the paper with a column for each n-gram that occurs."""

    def counts(words, length):
        return Counter(tuple(words[at : at + length]) for at in range(len(words) - length + 1))

    scores = np.zeros(len(hypotheses))
    for length in range(1, 5):
        documents = [set().union(*(counts(words, length) for words in of_image)) for of_image in references]
        vocabulary = sorted(set().union(*documents, *(counts(words, length) for words in hypotheses)))
        if not vocabulary:
            continue
        having = np.array([sum(ngram in document for document in documents) for ngram in vocabulary])
        rarity = np.log(len(references) / np.maximum(having, 1))
        for image, (hypothesis, of_image) in enumerate(zip(hypotheses, references, strict=True)):
            first = rarity * [counts(hypothesis, length)[ngram] for ngram in vocabulary]
            for reference in of_image:
                second = rarity * [counts(reference, length)[ngram] for ngram in vocabulary]
                norm = np.linalg.norm(first) * np.linalg.norm(second)
                scores[image] += 10 / 4 / len(of_image) * (first @ second / norm if norm else 0)
    return scores


def random_captions(seed, images=40, words=8, longest=12):
    """Few words, so that there are repeats and ties of all kinds; empty captions, and images with one reference."""
    choose = random.Random(seed)

    def caption(shortest):
        return [f"w{choose.randrange(words)}" for _ in range(choose.randint(shortest, longest))]

    references = [[caption(0) for _ in range(choose.randint(1, 6))] for _ in range(images)]
    return [caption(0) for _ in range(images)], references


@pytest.mark.parametrize("seed", range(12))
def test_all_equal_the_reference_implementation(seed):
    hypotheses, references = random_captions(seed, words=(3, 8, 40)[seed % 3], longest=(4, 12)[seed % 2])
    expected = of_pycocoevalcap(hypotheses, references)
    scores = score_captions(hypotheses, references)
    for length in range(4):
        name = f"BLEU-{length + 1}"
        assert scores.numbers[name] == pytest.approx(expected["BLEU"][0][length], abs=1e-9)
        np.testing.assert_allclose(scores.of_images[name], expected["BLEU"][1][length], atol=1e-9)
    for name in ("ROUGE-L", "CIDEr-D"):
        assert scores.numbers[name] == pytest.approx(expected[name][0], abs=1e-9)
        np.testing.assert_allclose(scores.of_images[name], expected[name][1], atol=1e-9)


@pytest.mark.parametrize(
    "hypotheses",
    [[[], []], [["a"], []], [["a", "a", "a", "a", "a"], ["b"]], [["x", "y"], ["z"]]],
    ids=["all empty", "one empty", "repeated", "nothing right"],
)
@pytest.mark.parametrize("references", [[[["a", "b"]], [["b"]]], [[[], ["a"]], [[]]]], ids=["single", "empty"])
def test_awkward_captions_equal_the_reference_implementation(hypotheses, references):
    expected = of_pycocoevalcap(hypotheses, references)
    scores = score_captions(hypotheses, references)
    computed = [scores.numbers[f"BLEU-{length}"] for length in range(1, 5)]
    np.testing.assert_allclose(computed, expected["BLEU"][0], atol=1e-12)
    for name in ("ROUGE-L", "CIDEr-D"):
        np.testing.assert_allclose(scores.of_images[name], expected[name][1], atol=1e-12)


@pytest.mark.parametrize("seed", range(3))
def test_cider_is_the_cosine_of_weighted_counts(seed):
    hypotheses, references = random_captions(seed, images=15)
    np.testing.assert_allclose(cider(hypotheses, references), cider_of_dense_vectors(hypotheses, references), atol=1e-9)


def test_bleu_by_hand():
    hypothesis = "the the cat the".split()
    references = ["the cat is on the mat".split(), "a cat".split()]
    # 1-grams: "the" counts twice at most, "cat" once: 3 of 4. 2-grams: "the cat": 1 of 3. The lengths 6 and 2 are
    # equally near to 4, and the shorter one counts: no penalty.
    result = bleu([hypothesis], [references])
    assert result.right.tolist() == [[3, 1, 0, 0]] and result.total.tolist() == [[4, 3, 2, 1]]
    assert result.lengths.tolist() == [[4, 2]]
    np.testing.assert_allclose(result.of_set[:2], [3 / 4, math.sqrt(3 / 4 * 1 / 3)], rtol=1e-6)


def test_a_short_hypothesis_pays():
    assert bleu([["a", "b"]], [[["a", "b", "c"]]]).of_set[0] == pytest.approx(math.exp(1 - 3 / 2))


def test_bleu_of_a_set_counts_before_it_divides():
    result = bleu([["a"], ["b", "x", "x"]], [[["a"]], [["b", "c", "d"]]])
    assert result.of_set[0] == pytest.approx(2 / 4)
    assert result.of_images[:, 0] == pytest.approx([1, 1 / 3])


def test_rouge_takes_the_best_precision_and_the_best_recall():
    # The first reference gives P = 2/2, R = 2/4, the second P = 1/2, R = 1/1.
    assert rouge_l([["a", "b"]], [[["a", "x", "b", "y"], ["b"]]]) == pytest.approx([1.0])
    assert rouge_l([["x", "y"]], [[["y", "x"]]]) == pytest.approx([0.5])  # the order counts


def test_the_longest_common_subsequence_is_that_of_the_table():
    choose = random.Random(0)
    for _ in range(200):
        first, second = ([choose.choice("abcd") for _ in range(choose.randrange(90))] for _ in range(2))
        table = np.zeros((len(first) + 1, len(second) + 1), int)
        for i, one in enumerate(first):
            for j, other in enumerate(second):
                table[i + 1, j + 1] = table[i, j] + 1 if one == other else max(table[i, j + 1], table[i + 1, j])
        assert common_subsequence(first, second) == table[-1, -1]


def test_cider_d_by_hand():
    references = [[["a", "red", "ball"]], [["a", "dog"]]]
    # "a" is in both images and weighs ln 1 = 0; all else weighs ln 2. Of the n-grams of "red ball ball" there are in
    # the reference: "red" and "ball" (1 and 2 times, clipped to 1) and "red ball". Norms in units of ln 2, 1-grams:
    # √(1 + 4) and √(1 + 1); 2-grams: √2 and √2. The lengths are equal.
    clipped, whole = 2 / math.sqrt(10), 3 / math.sqrt(10)
    assert cider_d([["red", "ball", "ball"], []], references) == pytest.approx([10 / 4 * (clipped + 1 / 2), 0])
    assert cider([["red", "ball", "ball"], []], references) == pytest.approx([10 / 4 * (whole + 1 / 2), 0])


def test_cider_d_makes_another_length_pay():
    references = [[["red", "ball"]], [["dog"]]]
    longer = ["red", "ball"] * 4  # 4 and 4 times for 1-grams; "red ball" 4 times, "ball red" 3 times for 2-grams
    clipped = [(1 + 1) / (math.sqrt(32) * math.sqrt(2)), 1 / 5]
    penalty = math.exp(-(6**2) / (2 * 6**2))
    assert cider_d([longer, []], references)[0] == pytest.approx(10 / 4 * penalty * sum(clipped))


def test_document_frequencies_may_be_those_of_another_set():
    hypotheses, references = random_captions(3)
    whole = cider_d(hypotheses, references)
    part = cider_d(hypotheses[:5], references[:5], DocumentFrequencies.of(references))
    np.testing.assert_array_equal(part, whole[:5])
    assert not np.allclose(cider_d(hypotheses[:5], references[:5]), whole[:5])


def test_a_single_image_has_no_rare_words():
    assert cider_d([["a", "cat"]], [[["a", "cat"]]]).tolist() == [0.0]


def test_frequencies_count_images_not_captions():
    frequencies = DocumentFrequencies.of([[["cat", "cat"], ["cat"]], [["dog"]], [["big", "dog"]]])
    assert frequencies.images == 3
    assert frequencies.counts == {("cat",): 1, ("cat", "cat"): 1, ("dog",): 2, ("big",): 1, ("big", "dog"): 1}
    assert frequencies.weight(("unseen",)) == pytest.approx(math.log(3))


def test_perfect_captions_have_the_highest_scores():
    references = [[["a", "red", "ball", "rolls", "far"]], [["my", "old", "dog", "sleeps", "well"]]]
    numbers = score_captions([of_image[0] for of_image in references], references).numbers
    assert [numbers[f"BLEU-{length}"] for length in range(1, 5)] + [numbers["ROUGE-L"]] == pytest.approx([1] * 5)
    assert numbers["CIDEr-D"] == numbers["CIDEr"] == pytest.approx(10)


def test_human_agreement_leaves_the_scored_reference_out():
    _, references = random_captions(5)
    references = [of_image + [["w0", "w1"]] for of_image in references]
    agreement = human_agreement(references)
    expected = score_captions([first for first, *_ in references], [rest for _, *rest in references])
    assert agreement.numbers == expected.numbers
    assert agreement.numbers["BLEU-1"] < 1


def test_the_table_says_what_is_not_computed():
    hypotheses, references = random_captions(1)
    scores = score_captions(hypotheses, references)
    text = table_text({"model": scores, "people": scores})
    rows = {line.split()[0]: line.split()[1:] for line in text.splitlines()}
    assert rows["BLEU-1"] == [f"{100 * scores.numbers['BLEU-1']:.1f}"] * 2
    assert rows["METEOR"] == rows["SPICE"] == ["not", "computed"] * 2
    assert "needs Java tools" in text and "METEOR" not in scores.numbers
    assert str(scores).count("not computed") == 2


@pytest.mark.parametrize("metric", [bleu, rouge_l, cider_d, cider, score_captions])
def test_mistakes_are_named(metric):
    with pytest.raises(DataError, match="2 hypotheses, but references of 1 images"):
        metric([["a"], ["b"]], [[["a"]]])
    with pytest.raises(DataError, match=r"references\[1\] has 0 captions"):
        metric([["a"], ["b"]], [[["a"]], []])
    with pytest.raises(DataError, match="no captions"):
        metric([], [])
    with pytest.raises(ArgumentError, match=r"hypotheses\[0\] is the string 'a cat'"):
        metric(["a cat"], [[["a", "cat"]]])
    with pytest.raises(ArgumentError, match=r"references\[0\]\[1\] is the string"):
        metric([["a"]], [[["a"], "a cat"]])


def test_people_must_be_two_to_agree():
    with pytest.raises(DataError, match=r"references\[1\] has 1 captions: expected at least 2"):
        human_agreement([[["a"], ["b"]], [["a"]]])


@needs_data
def test_the_published_scores_of_coco_caption():
    expected = json.loads((DATA / "expected_scores.json").read_text())["fakecap_1000"]
    images = json.loads((DATA / "fakecap_ptb_tokenized_refs.json").read_text())
    hypotheses = [image["test"].split() for image in images]
    references = [[caption.split() for caption in image["refs"]] for image in images]
    counted = bleu(hypotheses, references)
    assert counted.right.sum(0).tolist() == expected["bleu_counts"]["correct"]
    assert counted.total.sum(0).tolist() == expected["bleu_counts"]["guess"]
    assert counted.lengths.sum(0).tolist() == [expected["bleu_counts"]["testlen"], expected["bleu_counts"]["reflen"]]
    numbers = score_captions(hypotheses, references).numbers
    exact = expected["recomputed_here_from_definitions"]
    names = {f"BLEU-{length}": f"Bleu_{length}" for length in range(1, 5)} | {"ROUGE-L": "ROUGE_L", "CIDEr-D": "CIDEr"}
    for ours, theirs in names.items():
        assert round(numbers[ours], 3) == expected[theirs]
        assert numbers[ours] == pytest.approx(exact[theirs], abs=1e-6)


@needs_data
@pytest.mark.parametrize("which", ["nlgeval_corpus", "nlgeval_single"])
def test_the_published_scores_of_nlg_eval(which):
    expected = json.loads((DATA / "expected_scores.json").read_text())[which]
    if which == "nlgeval_single":
        hypotheses, references = [expected["hyp"]], [expected["refs"]]
    else:
        hypotheses, *columns = (
            (DATA / f"nlgeval_{name}.txt").read_text().lower().splitlines() for name in ("hyp", "ref1", "ref2")
        )
        references = list(zip(*columns, strict=True))
    numbers = score_captions(
        [caption.split() for caption in hypotheses],
        [[caption.split() for caption in of_image] for of_image in references],
    ).numbers
    names = {f"BLEU-{length}": f"Bleu_{length}" for length in range(1, 5)} | {"ROUGE-L": "ROUGE_L", "CIDEr-D": "CIDEr"}
    for ours, theirs in names.items():
        assert numbers[ours] == pytest.approx(expected[theirs], abs=1.1e-6)


@pytest.mark.skipif(not FLICKR8K.is_dir(), reason="shared/data/flickr8k is not here")
def test_how_well_people_agree_on_flickr8k():
    references = {image: [] for image in (FLICKR8K / "Flickr_8k.testImages.txt").read_text().split()}
    with gzip.open(FLICKR8K / "Flickr8k.token.txt.gz", "rt", encoding="utf-8") as file:
        for line in file:
            name, caption = line.rstrip("\n").split("\t")
            if (image := name.split("#")[0]) in references:
                references[image].append(tokenize(caption))
    numbers = human_agreement(list(references.values())).numbers
    # What pycocoevalcap gives with the PTB tokenizer for the first caption of each image against the other four.
    expected = {"BLEU-1": 63.6, "BLEU-4": 20.9, "CIDEr-D": 78.9}
    assert {name: round(100 * numbers[name], 1) for name in expected} == expected
