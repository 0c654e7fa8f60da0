"""Vocabularies: which words, in which order, there and back."""

import json

import pytest

from striate.caption import Vocabulary
from striate.errors import ArgumentError, DataError

CAPTIONS = ["A dog runs.", "A dog sits.", "The cat sits on a mat"]


def test_the_most_frequent_come_first_and_equals_by_the_alphabet():
    vocabulary = Vocabulary.of(CAPTIONS)
    assert vocabulary.words[:4] == ("<pad>", "<start>", "<end>", "<unk>")
    assert vocabulary.words[4:] == ("a", "dog", "sits", "cat", "mat", "on", "runs", "the")
    assert Vocabulary.of(reversed(CAPTIONS)).words == vocabulary.words


def test_rare_words_are_unknown():
    vocabulary = Vocabulary.of(CAPTIONS, minimum_count=2)
    assert vocabulary.words[4:] == ("a", "dog", "sits")
    assert "cat" not in vocabulary and "dog" in vocabulary and len(vocabulary) == 7
    assert vocabulary.encode("A cat sits!") == [1, 4, 3, 6, 2]
    assert vocabulary.decode([1, 4, 3, 6, 2, 5, 0]) == "a <unk> sits"


def test_captions_come_back_as_their_words():
    vocabulary = Vocabulary.of(CAPTIONS)
    for caption in CAPTIONS:
        assert vocabulary.decode(vocabulary.encode(caption)) == caption.lower().rstrip(".")


def test_several_captions_are_filled_up_or_cut_to_one_length():
    vocabulary = Vocabulary(["a", "dog", "runs"])
    assert vocabulary.encode_all(["a dog runs", "a"]).tolist() == [[1, 4, 5, 6, 2], [1, 4, 2, 0, 0]]
    assert vocabulary.encode_all(["a dog runs", "a"], length=4).tolist() == [[1, 4, 5, 2], [1, 4, 2, 0]]
    assert vocabulary.encode_all([]).shape == (0, 0)
    with pytest.raises(ArgumentError, match="length=2"):
        vocabulary.encode_all(["a"], length=2)


def test_a_saved_one_is_the_same():
    vocabulary = Vocabulary.of(CAPTIONS)
    again = Vocabulary.from_config(json.loads(json.dumps(vocabulary.to_config())))
    assert again.words == vocabulary.words


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({}, "holds its 'words'"),
        ([], "holds its 'words'"),
        ({"words": []}, "needs a list of words"),
        ({"words": "dog"}, "needs a list of words"),
        ({"words": ["dog", 3]}, "3 is no word"),
        ({"words": ["hot dog"]}, "without spaces"),
        ({"words": [""]}, "'' is no word"),
        ({"words": ["dog", "cat", "dog"]}, "'dog' is in the vocabulary twice"),
        ({"words": ["<end>", "dog"]}, "'<end>' is a special one"),
    ],
)
def test_broken_words_are_named(config, message):
    with pytest.raises(DataError, match=message):
        Vocabulary.from_config(config)


def test_what_cannot_be_asked():
    with pytest.raises(ArgumentError, match="minimum_count=0"):
        Vocabulary.of(CAPTIONS, minimum_count=0)
    with pytest.raises(DataError, match="3 times"):
        Vocabulary.of(["a dog"], minimum_count=3)
    with pytest.raises(ArgumentError, match="99 is the number of no word"):
        Vocabulary.of(CAPTIONS).decode([1, 99])


def test_special_words_in_a_caption_are_no_words_of_it():
    vocabulary = Vocabulary.of(["press <end> or <start> to go"])
    assert vocabulary.words[4:] == ("go", "or", "press", "to")
    assert vocabulary.encode("go <end> <pad>") == [1, 4, 3, 3, 2]
