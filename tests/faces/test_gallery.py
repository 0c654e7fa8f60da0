"""Galleries: people enrolled, forgotten, found; files that are damaged or another model's."""

import json

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file

from striate.errors import ArgumentError, DataError, ShapeError, UnknownNameError
from striate.faces import Embedder, Gallery, Match, embed, load_gallery
from striate.faces.gallery import fingerprint
from striate.zoo.resnet import BasicBlock, ResNet


def small(seed=0):
    torch.manual_seed(seed)
    return Embedder(ResNet(BasicBlock, (1,)), 8, 16)


def points(*degrees):
    radians = np.deg2rad(degrees)
    return np.stack([np.cos(radians), np.sin(radians)], axis=1).astype(np.float32)


@pytest.fixture
def gallery():
    made = Gallery("model", 2)
    made.enrol("Zoë", points(0, 40))
    made.enrol("Åsa", points(90))
    return made


def test_a_face_is_that_of_the_person_with_the_nearest_image(gallery):
    similarity = pytest.approx(np.cos(np.deg2rad(10)))
    found = gallery.match(points(50, 80, 200), threshold=0.9)
    assert found[0] == Match("Zoë", "Zoë", similarity)
    assert found[1] == Match("Åsa", "Åsa", similarity)
    assert found[2].person is None
    assert gallery.match(points(200), threshold=-1)[0].person == "Åsa"


def test_people_are_enrolled_again_and_forgotten(gallery):
    gallery.enrol("Zoë", points(200))
    assert gallery.names == ["Zoë", "Åsa"]
    assert gallery.match(points(200), 0.9)[0].person == "Zoë"
    gallery.remove("Zoë")
    assert gallery.names == ["Åsa"] and gallery.embeddings.shape == (1, 2)
    with pytest.raises(UnknownNameError, match=r"Nobody called 'Asa' is enrolled\. Did you mean 'Åsa'"):
        gallery.remove("Asa")


def test_a_gallery_is_read_as_it_was_written(gallery, tmp_path):
    gallery.save(tmp_path / "office.gallery")
    again = load_gallery(tmp_path / "office.gallery")
    assert (again.model, again.people) == ("model", gallery.people)
    assert np.array_equal(again.embeddings, gallery.embeddings)
    assert [path.name for path in tmp_path.iterdir()] == ["office.gallery"]


def test_an_empty_gallery_can_be_kept_but_not_asked(tmp_path):
    Gallery("model", 2).save(tmp_path / "empty")
    again = load_gallery(tmp_path / "empty")
    assert again.people == []
    with pytest.raises(DataError, match="Nobody is enrolled"):
        again.match(points(0), 0.5)


def test_what_is_no_gallery_is_said_to_be_none(gallery, tmp_path):
    path = tmp_path / "gallery"
    with pytest.raises(DataError, match="There is no gallery"):
        load_gallery(path)
    told = {"format": 1, "model": "m", "people": ["ann"]}
    spoiled = [
        ({}, {"embeddings": points(0)}),
        ({"striate.gallery": "{"}, {"embeddings": points(0)}),
        ({"striate.gallery": json.dumps(told)}, {"other": points(0)}),
        ({"striate.gallery": json.dumps(told)}, {"embeddings": points(0, 1)}),
        ({"striate.gallery": json.dumps(told)}, {"embeddings": points(0).astype(np.float64)}),
        ({"striate.gallery": json.dumps(told)}, {"embeddings": 2 * points(0)}),
        ({"striate.gallery": json.dumps(told)}, {"embeddings": np.full((1, 2), np.nan, np.float32)}),
        ({"striate.gallery": json.dumps(told)}, {"embeddings": points(0)[0]}),
        ({"striate.gallery": json.dumps(told | {"format": 9})}, {"embeddings": points(0)}),
        ({"striate.gallery": json.dumps([])}, {"embeddings": points(0)}),
        ({"striate.gallery": json.dumps(told | {"people": None})}, {"embeddings": points(0)}),
    ]
    for metadata, arrays in spoiled:
        save_file(arrays, path, metadata)
        with pytest.raises(DataError, match="is no gallery, or is damaged"):
            load_gallery(path)
    gallery.save(path)
    whole = path.read_bytes()
    for length in (0, 7, 40, len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(DataError, match="is no gallery, or is damaged"):
            load_gallery(path)


def test_only_embeddings_are_enrolled(gallery):
    with pytest.raises(ShapeError, match=r"expected \(images, 2\)"):
        gallery.enrol("ann", np.ones((1, 3)))
    with pytest.raises(DataError, match="length 1"):
        gallery.enrol("ann", np.ones((1, 2)))
    for name in ("", " ", "a\nb"):
        with pytest.raises(ArgumentError, match="expected a name"):
            gallery.enrol(name, points(0))
    with pytest.raises(DataError, match="cannot be written"):
        gallery.save("/no/such/folder/gallery")


def test_the_fingerprint_is_that_of_all_that_decides_an_embedding():
    assert fingerprint(small()) == fingerprint(small())
    others = [small(seed=1), Embedder(small().backbone, 9, 16), Embedder(small().backbone, 8, 20)]
    weights = small()
    weights.norm.running_var[0] += 1e-3
    prints = {fingerprint(embedder) for embedder in (small(), weights, *others)}
    assert len(prints) == 5


def test_the_gallery_of_another_model_is_refused():
    gallery, x = Gallery.of(small()), np.zeros((1, 16, 16, 3), np.uint8)
    gallery.enrol("ann", embed(small(), x))
    gallery.check_model(small())
    with pytest.raises(ArgumentError, match="made with another model"):
        gallery.check_model(small(seed=1))
