"""Drawn scenes: every truth told about them is held to the pixels, and the pixels to their seed."""

import hashlib
import itertools

import numpy as np
import pytest
from scipy import ndimage

from striate.data import load, load_detection, load_segmentation, shapes
from striate.data.shapes import COLOURS, SHAPES, SIZES, Scenes, scenes
from striate.data.shapes.drawing import TILTS, Objects, render
from striate.errors import ArgumentError

_RELATIONS = {"above": (1, 1), "below": (1, -1), "left": (0, 1), "right": (0, -1)}


@pytest.fixture(scope="module")
def some() -> Scenes:
    return scenes(400, seed=3)


def objects(data: Scenes) -> list[tuple[int, int]]:
    return [(scene, index) for scene, count in enumerate(data.counts) for index in range(count)]


def test_the_same_bits_everywhere_and_however_many_follow(some: Scenes) -> None:
    digest = hashlib.sha256(some.images.tobytes() + some.instances.tobytes()).hexdigest()
    assert digest == "7d393c6640b80bbd190f2743dc07131081a8869044674e1a2fe7bbf9aae93aa0"
    more = scenes(450, seed=3)
    np.testing.assert_array_equal(more.images[:400], some.images)
    assert more.captions[:400] == some.captions
    assert (scenes(400, seed=4).images != some.images).any()


def test_boxes_are_tight_around_the_instances(some: Scenes) -> None:
    for scene, index in objects(some):
        rows, columns = ndimage.find_objects(some.instances[scene], index + 1)[index]
        assert some.boxes[scene, index].tolist() == [columns.start, rows.start, columns.stop, rows.stop]
    assert (some.boxes[some.shapes < 0] == 0).all()


def test_every_object_is_mostly_seen_and_is_one_thing(some: Scenes) -> None:
    for scene, index in objects(some):
        seen = some.instances[scene] == index + 1
        assert seen.sum() >= 40
        assert ndimage.label(seen, np.ones((3, 3)))[1] == 1


def test_masks_are_the_shapes_of_the_instances(some: Scenes) -> None:
    for scene, index in objects(some):
        assert (some.masks[scene][some.instances[scene] == index + 1] == some.shapes[scene, index] + 1).all()
    np.testing.assert_array_equal(some.masks == 0, some.instances == 0)


def test_colours_are_those_of_the_pixels(some: Scenes) -> None:
    palette = np.array([*COLOURS.values()], float)
    palette /= np.linalg.norm(palette, axis=1, keepdims=True)
    right = []
    for scene, index in objects(some):
        inside = ndimage.binary_erosion(some.instances[scene] == index + 1)
        mean = some.images[scene][inside].mean(axis=0)
        right.append((palette @ mean).argmax() == some.colours[scene, index])
    assert np.mean(right) == 1


def test_sizes_are_those_of_the_boxes(some: Scenes) -> None:
    sides = (some.boxes[..., 2:] - some.boxes[..., :2]).max(axis=-1)
    alone = (some.counts == 1)[:, None]
    for shape in range(len(SHAPES)):
        small, large = (sides[alone & (some.shapes == shape) & (some.sizes == size)] for size in range(len(SIZES)))
        assert small.max() + 3 < large.min()


def test_no_two_objects_of_a_scene_have_one_name(some: Scenes) -> None:
    for scene, count in enumerate(some.counts):
        assert len(set(zip(some.shapes[scene, :count], some.colours[scene, :count], strict=True))) == count


def test_all_kinds_come_equally_often(some: Scenes) -> None:
    for values, kinds in ((some.shapes, len(SHAPES)), (some.colours, len(COLOURS)), (some.sizes, len(SIZES))):
        shares = np.bincount(values[values >= 0], minlength=kinds) / (values >= 0).sum()
        assert np.abs(shares - 1 / kinds).max() < 0.05
    assert np.abs(np.bincount(some.counts)[1:] / 400 - 1 / 3).max() < 0.1


def test_captions_differ_and_name_every_object_once_or_again(some: Scenes) -> None:
    for scene, captions in enumerate(some.captions):
        assert len({caption.text for caption in captions}) == len(captions) == 5
        for caption in captions:
            words = caption.text.split()
            assert len(words) == len(caption.objects)
            assert set(caption.objects) - {-1} == set(range(some.counts[scene]))
            for word, index in zip(words, caption.objects, strict=True):
                if index == -1:
                    assert word in {*"a an and the there is picture of image with above below left right".split()}
                else:
                    code = some.sizes[scene, index], some.colours[scene, index], some.shapes[scene, index]
                    assert word in (SIZES[code[0]], [*COLOURS][code[1]], SHAPES[code[2]])


def test_what_captions_say_of_places_is_true(some: Scenes) -> None:
    centres = (some.boxes[..., :2] + some.boxes[..., 2:]) / 2
    for scene, captions in enumerate(some.captions):
        true = some.relations(scene)
        for caption in captions:
            words = caption.text.split()
            for place, word in enumerate(words):
                if word not in _RELATIONS:
                    continue
                one = next(index for index in reversed(caption.objects[:place]) if index >= 0)
                other = next(index for index in caption.objects[place:] if index >= 0)
                axis, sign = _RELATIONS[word]
                apart = sign * (centres[scene, other] - centres[scene, one])
                assert apart[axis] == np.abs(apart).max() > 0
                assert (one, word + " of" * (word in ("left", "right")), other) in true


def test_relations_come_in_pairs(some: Scenes) -> None:
    opposite = {"above": "below", "below": "above", "left of": "right of", "right of": "left of"}
    for scene in range(50):
        found = some.relations(scene)
        assert {(other, opposite[word], one) for one, word, other in found} == found
        pairs = {frozenset((one, other)) for one, _, other in found}
        assert len(pairs) == len([*itertools.combinations(range(some.counts[scene]), 2)])


def test_views_have_the_same_truth(some: Scenes) -> None:
    boxes, masks = some.detection(), some.segmentation()
    assert boxes.class_names == SHAPES and masks.class_names == ("background", *SHAPES)
    np.testing.assert_array_equal(boxes.targets()[..., 0], some.shapes)
    np.testing.assert_array_equal(boxes.targets()[..., 1:], some.boxes)
    np.testing.assert_array_equal(masks.masks, some.masks)
    several = some.classification()
    assert several.task == "multilabel"
    np.testing.assert_array_equal(several.y[:, 2], (some.shapes == 2).any(axis=1))
    single = some.chosen(some.counts == 1)
    assert single.classification().task == "multiclass"
    assert single.captions[0] == some.captions[np.flatnonzero(some.counts == 1)[0]]


def test_a_circle_covers_what_its_radius_says() -> None:
    values = {
        "shape": 0,
        "colour": 0,
        "pattern": 0,
        "tilt": 0,
        "x": 30.25,
        "y": 31.5,
        "radius": 20.0,
        "brightness": 1.0,
    }
    arrays = {
        name: np.array([[value]], np.float32 if isinstance(value, float) else np.int64)
        for name, value in values.items()
    }
    _, seen = render(Objects(**arrays), 64, 0)
    rows, columns = np.mgrid[:64, :64] + 0.5
    distance = np.hypot(columns - 30.25, rows - 31.5) - 20 * 0.92
    clear = np.abs(distance) > 1e-3
    np.testing.assert_array_equal((seen[0] == 1)[clear], (distance < 0)[clear])


def test_all_shapes_fit_their_circle_and_turn_within_it() -> None:
    count = len(SHAPES) * TILTS
    number, shape, tilt = np.ones((count, 1)), *np.divmod(np.arange(count)[:, None], TILTS)
    zero = np.zeros((count, 1), np.int64)
    place = (number * 32).astype(np.float32)
    objects = Objects(
        shape, zero, zero, place, place, (number * 24).astype(np.float32), tilt, number.astype(np.float32)
    )
    _, seen = render(objects, 64, 0)
    rows, columns = np.mgrid[:64, :64] + 0.5
    outside = np.hypot(columns - 32, rows - 32) > 24
    assert not (seen[:, outside] > 0).any()
    areas = (seen > 0).sum(axis=(1, 2)).reshape(len(SHAPES), TILTS) / 24**2
    # Closed forms for the radius 1: the square's side is 1.4; the star is ten triangles; the cross is two bars.
    expected = {"circle": np.pi * 0.92**2, "square": 1.4**2, "triangle": 3 * 3**0.5 / 4, "star": 1.1226}
    expected |= {"ring": np.pi * (0.95**2 - 0.55**2), "cross": 4 * 0.95 * 0.56 - 0.56**2}
    for name, found in zip(SHAPES, areas, strict=True):
        np.testing.assert_allclose(found, expected[name], rtol=0.05)


def test_the_embedded_data_set() -> None:
    data = load("shapes")
    assert data.describe() == "3,000 + 1,000 test images of 32 × 32 × 3, 6 classes, 469 to 532 per class"
    assert data.class_names == SHAPES and data.test is not None
    assert not {image.tobytes() for image in data.x} & {image.tobytes() for image in data.test.x}


def test_the_embedded_scenes_are_a_source_of_boxes_and_masks() -> None:
    boxes, masks = load_detection("shapes"), load_segmentation("shapes")
    assert boxes.test is not None and masks.test is not None and len(boxes.test) == len(masks.test) == 500
    np.testing.assert_array_equal(boxes.images, masks.images)
    assert load_segmentation("shapes", size=32).test.masks.shape == (500, 32, 32)  # type: ignore[union-attr]


def test_identities_of_the_test_part_are_new() -> None:
    train, test = shapes.identities(images_each=3, seed=1)
    assert len(train.class_names) + len(test.class_names) == len({*train.class_names, *test.class_names}) == 168
    assert (train.class_counts == 3).all() and (test.class_counts == 3).all()
    assert shapes.identities(images_each=3, seed=2)[1].class_names != test.class_names


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"number": 0}, "number=0: expected at least 1"),
        ({"size": 16}, "size=16: expected at least 32"),
        ({"seed": -1}, "seed=-1: expected at least 0"),
        ({"objects": (2, 1)}, r"objects=\(2, 1\): expected 2 to 4"),
        ({"objects": (1, 9)}, r"objects=\(1, 9\): expected 1 to 4"),
    ],
)
def test_what_cannot_be_drawn(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        scenes(**{"number": 2, **arguments})  # type: ignore[arg-type]
    with pytest.raises(ArgumentError, match="leaves two identities in each part"):
        shapes.identities(test_fraction=0)
    with pytest.raises(ArgumentError, match="number=3: expected an integer of at least 12"):
        shapes.portraits(3)
