"""Captions held to scenes: what the scenes say themselves is right, and each mistake counts where it is made."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from striate.data.shapes import COLOURS, SHAPES, SIZES, Scenes, judge, judge_all, on_object, scenes
from striate.data.shapes.captions import PHRASINGS
from striate.errors import DataError

SOME = scenes(120, seed=5, objects=(1, 4))
WORDS = (*SIZES, *COLOURS, *SHAPES, *"above below left right of and a the there is zebra".split())


@pytest.fixture(scope="module")
def scene() -> Scenes:
    """Object 0: a small red circle; 1, right of it: a large blue square; 2, below 0: a small green star."""
    return replace(
        SOME.chosen([0]),
        images=np.zeros((1, 64, 64, 3), np.uint8),
        sizes=np.array([[0, 1, 0, -1]]),
        colours=np.array([[[*COLOURS].index(colour) for colour in ("red", "blue", "green")] + [-1]]),
        shapes=np.array([[SHAPES.index(shape) for shape in ("circle", "square", "star")] + [-1]]),
        boxes=np.array([[[0, 0, 10, 10], [40, 0, 60, 10], [0, 50, 10, 60], [0, 0, 0, 0]]], np.float32),
    )


@pytest.mark.parametrize("phrasing", range(PHRASINGS))
def test_what_scenes_say_of_themselves_is_right(phrasing):
    captions = [own[phrasing] for own in SOME.captions]
    for index, caption in enumerate(captions):
        judged = judge(SOME, index, caption.text)
        assert judged.objects == caption.objects
        assert judged == judge(SOME, index, caption.text.split())
        assert judged.named == (SOME.counts[index], SOME.counts[index])
        assert judged.relations.total == SOME.counts[index] - 1
        for count in (judged.colours, judged.shapes, judged.sizes, judged.relations):
            assert count.right == count.total
    everything = judge_all(SOME, [caption.text for caption in captions])
    assert everything.share == 1 and everything.objects == sum((caption.objects for caption in captions), ())
    said = everything.colours.total + everything.shapes.total + everything.relations.total
    assert everything.told == (
        f"100.0% of {said:,} words for colours, shapes and relations are right; 100.0% of the objects are named"
    )


@pytest.mark.parametrize(
    ("caption", "colours", "shapes", "sizes", "relations", "named", "objects"),
    [
        ("", (0, 0), (0, 0), (0, 0), (0, 0), 0, []),
        ("a zebra is there", (0, 0), (0, 0), (0, 0), (0, 0), 0, [-1] * 4),
        ("A Red Circle.", (1, 1), (1, 1), (0, 0), (0, 0), 1, [-1, 0, 0]),
        ("a large red circle", (1, 1), (1, 1), (0, 1), (0, 0), 1, [-1, -1, 0, 0]),
        ("a red square", (1, 1), (0, 1), (0, 0), (0, 0), 0, [-1, 0, -1]),
        ("a large red square", (0, 1), (1, 1), (1, 1), (0, 0), 0, [-1, 1, -1, 1]),  # its size says which is meant
        ("a pink ring", (0, 1), (0, 1), (0, 0), (0, 0), 0, [-1] * 3),
        ("small small small", (0, 0), (0, 0), (0, 3), (0, 0), 0, [-1] * 3),
        ("red", (1, 1), (0, 0), (0, 0), (0, 0), 0, [0]),
        ("circle red", (1, 1), (1, 1), (0, 0), (0, 0), 0, [0, 0]),  # two mentions: the order is another
        ("red blue square", (2, 2), (1, 1), (0, 0), (0, 0), 1, [0, 1, 1]),
        ("a red circle left of a blue square", (2, 2), (2, 2), (0, 0), (1, 1), 2, [-1, 0, 0, -1, -1, -1, 1, 1]),
        ("a red circle left a blue square", (2, 2), (2, 2), (0, 0), (1, 1), 2, [-1, 0, 0, -1, -1, 1, 1]),
        ("a red circle right of a blue square", (2, 2), (2, 2), (0, 0), (0, 1), 2, [-1, 0, 0, -1, -1, -1, 1, 1]),
        ("a red circle above the red circle", (2, 2), (2, 2), (0, 0), (0, 1), 1, [-1, 0, 0, -1, -1, 0, 0]),
        # The only circle is named: another of another colour is no mistake about the colour alone.
        ("a red circle and a pink circle", (1, 2), (1, 2), (0, 0), (0, 0), 1, [-1, 0, 0, -1, -1, -1, -1]),
        # One object is meant twice, and not named at all.
        ("a red ring above a red cross", (2, 2), (0, 2), (0, 0), (0, 1), 0, [-1, 0, -1, -1, -1, 0, -1]),
        ("above a red circle below", (1, 1), (1, 1), (0, 0), (0, 2), 1, [-1, -1, 0, 0, -1]),
        # No relation reaches over an "and".
        ("red circle above and green star", (2, 2), (2, 2), (0, 0), (0, 1), 2, [0, 0, -1, -1, 2, 2]),
        ("red circle and above green star", (2, 2), (2, 2), (0, 0), (0, 1), 2, [0, 0, -1, -1, 2, 2]),
        ("red circle above left of green star", (2, 2), (2, 2), (0, 0), (1, 2), 2, [0, 0, -1, -1, -1, 2, 2]),
        (
            "a red circle above a green star and a large blue square right of the red circle",
            (4, 4),
            (4, 4),
            (1, 1),
            (2, 2),
            3,
            [-1, 0, 0, -1, -1, 2, 2, -1, -1, 1, 1, 1, -1, -1, -1, 0, 0],
        ),
    ],
)
def test_captions_worked_out_by_hand(scene, caption, colours, shapes, sizes, relations, named, objects):
    judged = judge(scene, 0, caption)
    found = judged.colours, judged.shapes, judged.sizes, judged.relations, judged.named
    assert found == (colours, shapes, sizes, relations, (named, 3))
    assert judged.objects == tuple(objects)
    said = colours[1] + shapes[1] + relations[1]
    assert judged.share == ((colours[0] + shapes[0] + relations[0]) / said if said else 0)


@given(st.integers(0, len(SOME) - 1), st.lists(st.sampled_from(WORDS), max_size=12))
def test_any_words_are_counted_and_what_is_named_is_there(index, words):
    judged = judge(SOME, index, words)
    for kind, known in (
        (judged.sizes, SIZES),
        (judged.colours, COLOURS),
        (judged.shapes, SHAPES),
        (judged.relations, ("above", "below", "left", "right")),
    ):
        assert 0 <= kind.right <= kind.total == sum(word in known for word in words)
    things = {
        thing: {SIZES[SOME.sizes[index, thing]], [*COLOURS][SOME.colours[index, thing]]}
        | {SHAPES[SOME.shapes[index, thing]]}
        for thing in range(SOME.counts[index])
    }
    assert len(judged.objects) == len(words)
    for word, thing in zip(words, judged.objects, strict=True):
        assert thing == -1 or word in things[thing]
    right = judged.sizes.right + judged.colours.right + judged.shapes.right
    assert right == sum(thing >= 0 for thing in judged.objects)
    assert judged.named.right <= judged.named.total == len(things)


@given(st.integers(0, len(SOME) - 1), st.integers(0, PHRASINGS - 1), st.data())
def test_a_wrong_colour_is_one_wrong_word_and_breaks_the_relations_beside_it(index, phrasing, data):
    caption = SOME.captions[index][phrasing]
    words = caption.text.split()
    absent = sorted({*COLOURS} - {[*COLOURS][code] for code in SOME.colours[index, : SOME.counts[index]]})
    place = data.draw(st.sampled_from([place for place, word in enumerate(words) if word in COLOURS]))
    words[place] = data.draw(st.sampled_from(absent))
    judged, thing = judge(SOME, index, words), caption.objects[place]
    again = sum(word in COLOURS and other == thing for word, other in zip(words, caption.objects, strict=True)) > 1
    assert judged.colours.total - judged.colours.right == 1
    assert judged.objects[place] == -1
    assert judged.relations.right < judged.relations.total or SOME.counts[index] == 1
    # Of an object that the caption names once more, this mention is of nothing that is there.
    if again:
        assert judged.named.right == judged.named.total and judged.shapes.right == judged.shapes.total - 1
    else:
        assert judged.named.right == judged.named.total - 1


def test_several_are_summed_and_are_one_for_each_scene():
    captions = ["a red circle"] * len(SOME)
    each = [judge(SOME, index, "a red circle") for index in range(len(SOME))]
    together = judge_all(SOME, captions)
    assert together.colours == (sum(one.colours.right for one in each), len(SOME))
    assert together.named == (sum(one.named.right for one in each), SOME.counts.sum())
    with pytest.raises(DataError, match="120 scenes but 1 captions"):
        judge_all(SOME, ["a red circle"])


def test_attention_is_on_an_object_where_its_greatest_cell_is(scene):
    attention = np.full((6, 4, 8), 0.01)  # cells of 16 × 8 pixels
    for word, cell in enumerate([(0, 0), (0, 1), (0, 2), (1, 0), (0, 7), (0, 5)]):
        attention[word][cell] = 1
    # The red circle is at 0 to 10 along both sides, the blue square at 40 to 60 and 0 to 10.
    assert on_object(scene, 0, (0, 0, 0, 0, 1, 1), attention) == (4, 6)
    assert (
        on_object(scene, 0, (0, -1, 0, -1, 1, -1), attention)
        == (2, 3)
        == on_object(scene, 0, (0, -1, 0, -1, 1, -1), attention.astype(np.float32))
    )
    assert on_object(scene, 0, (0, 0, -1, -1, -1, 1), attention) == (3, 3)
    with pytest.raises(DataError, match="6 × 4 × 8; expected words × rows × columns, of 2 words"):
        on_object(scene, 0, (0, 1), attention)


def test_attention_on_the_middle_of_an_object_is_on_it():
    for index in range(len(SOME)):
        caption = SOME.captions[index][0]
        attention = np.zeros((len(caption.objects), 8, 8))
        for word, thing in enumerate(caption.objects):
            left, upper, right, lower = SOME.boxes[index, thing]
            attention[word, int((upper + lower) / 2 // 8), int((left + right) / 2 // 8)] = thing >= 0
        hits, words = on_object(SOME, index, caption.objects, attention)
        assert hits == words == sum(thing >= 0 for thing in caption.objects)
