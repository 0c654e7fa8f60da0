"""The table of published weights says what torchvision says, and what a file says of itself survives the file."""

import json
import re
from dataclasses import replace

import numpy as np
import pytest
import torch

from striate import zoo
from striate.errors import ArgumentError, UnknownNameError
from striate.zoo.preprocessing import Preprocessing
from striate.zoo.weights import WeightsRecord, published, record, records
from striate.zoo.weights.records import imagenet_classes

CENTRED = {"inception_v3", "googlenet"}
"""Torchvision normalises for these as for all, and has the networks themselves turn that into mean and std of 0.5."""


@pytest.mark.parametrize("known", published(), ids=lambda known: f"{known.architecture}-{known.name}")
def test_equals_torchvisions_table(models, known):
    theirs = models.get_model_weights(known.architecture)[known.name.upper()]
    transform = theirs.transforms()
    assert known.source == theirs.url
    assert known.sha256.startswith(re.search(r"-([0-9a-f]{8})\.pth$", theirs.url)[1])
    assert len(known.sha256) in (8, 64)
    assert known.mebibytes == pytest.approx(theirs.meta["_file_size"], abs=0.001)
    assert list(known.class_names) == theirs.meta["categories"]
    accuracy = theirs.meta["_metrics"]["ImageNet-1K"]
    assert (known.top1, known.top5) == (accuracy["acc@1"], accuracy["acc@5"])
    centred = (0.5,) * 3
    assert known.preprocessing == Preprocessing(
        crop=tuple(transform.crop_size * 2),
        resize=transform.resize_size[0],
        interpolation=transform.interpolation.value,
        mean=centred if known.architecture in CENTRED else tuple(transform.mean),
        std=centred if known.architecture in CENTRED else tuple(transform.std),
    )


def test_centred_preprocessing_is_what_torchvisions_networks_do_inside(models):
    """Torchvision's GoogLeNet turns images normalised as for ImageNet into centred ones before its first layer."""
    theirs = models.googlenet(weights=None, transform_input=True, aux_logits=False, init_weights=False).eval()
    ours = zoo.create("googlenet", auxiliary=False).eval()
    ours.load_state_dict(theirs.state_dict())
    image = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    centred = replace(record("googlenet").preprocessing, crop=(64, 64), resize=None)
    with torch.no_grad():
        torch.testing.assert_close(
            ours(centred(image)), theirs(Preprocessing((64, 64), None)(image)), atol=1e-5, rtol=1e-4
        )


def test_every_network_of_torchvision_that_the_zoo_has_is_in_the_table(models):
    for name in set(zoo.names()) & set(models.list_models(models)):
        enum = models.get_model_weights(name)
        assert set(records(name)) == {"imagenet", *(w.lower() for w in enum.__members__ if "1K_V" in w)}, name
        assert records(name)["imagenet"].source == enum.DEFAULT.url


def test_published_accuracy_is_the_cards():
    for name in zoo.names():
        versions = records(name)
        assert zoo.card(name).top1 == (versions["imagenet1k_v1"].top1 if versions else None), name


def test_the_classes_are_imagenets():
    classes = imagenet_classes()
    assert len(classes) == 1000 and classes[0] == "tench" and classes[281] == "tabby" and classes[-1] == "toilet tissue"


def test_unknown_names():
    with pytest.raises(UnknownNameError, match="lenet5 has no published weights: train it"):
        record("lenet5")
    with pytest.raises(UnknownNameError, match=r"'imagenet1k_v3'. Did you mean 'imagenet1k_v2'.*There are imagenet, "):
        record("resnet50", "imagenet1k_v3")


def test_a_record_goes_through_json():
    own = WeightsRecord("resnet18", Preprocessing((8, 8)), 2, ("cat", "dog"), "tf_same", "MIT", "made by hand")
    assert WeightsRecord.from_config(json.loads(json.dumps(own.to_config()))) == own
    with pytest.raises(ArgumentError, match="describes no weights"):
        WeightsRecord.from_config({"architecture": "resnet18"})
    with pytest.raises(ArgumentError, match="3 class names for 2 classes"):
        WeightsRecord("resnet18", Preprocessing(), 2, ("a", "b", "c"))
    with pytest.raises(ArgumentError, match="padding"):
        WeightsRecord("resnet18", Preprocessing(), 2, padding="same")
