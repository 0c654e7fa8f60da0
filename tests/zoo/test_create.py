"""Networks with weights: from files, for other classes and channels, frozen."""

import pytest
import torch
from torch import nn

from striate import zoo
from striate.errors import ArgumentError, WeightKeysError
from striate.zoo import Preprocessing
from striate.zoo.weights import write_weights


@pytest.fixture
def file(tmp_path):
    torch.manual_seed(0)
    network = zoo.create("resnet18", num_classes=3)
    path = tmp_path / "three.safetensors"
    write_weights(
        path,
        network,
        zoo.WeightsRecord("resnet18", Preprocessing(crop=(64, 64), resize=None), 3, ("a", "b", "c"), padding="tf_same"),
    )
    return path, network


def same(first, second, but=()):
    first, second = first.state_dict(), second.state_dict()
    return {key for key in first if first[key].shape != second[key].shape or not torch.equal(first[key], second[key])}


def test_a_file_says_all_that_a_network_needs(file):
    path, network = file
    made = zoo.create("resnet18", weights=path)
    assert same(network, made) == set()
    assert made.num_classes == 3
    assert made.preprocessing == Preprocessing(crop=(64, 64), resize=None)
    assert made.weights.record.class_names == ("a", "b", "c")
    assert type(made.conv1).__name__ == "SameConv2d"  # as the file's padding says
    again = zoo.create(**made.config)  # what a model's file knows
    again.load_state_dict(made.state_dict())
    x = torch.randn(1, 3, 33, 33)
    with torch.no_grad():
        torch.testing.assert_close(again.eval()(x), made.eval()(x), rtol=0, atol=0)


def test_plain_weights_bring_their_classes(tmp_path):
    network = zoo.create("resnet18", num_classes=7)
    torch.save(network.state_dict(), tmp_path / "seven.pth")
    made = zoo.create("resnet18", weights=tmp_path / "seven.pth")
    assert made.num_classes == 7
    assert same(network, made) == set()


def test_other_classes_and_channels(file):
    path, network = file
    made = zoo.create("resnet18", weights=path, num_classes=5, in_channels=1)
    assert same(network, made) == {"conv1.weight", "fc.weight", "fc.bias"}
    assert made.num_classes == 5
    torch.testing.assert_close(made.conv1.weight, network.conv1.weight.sum(1, keepdim=True))
    assert made.preprocessing.channels == 1
    assert len(made.weights.notes) == 3  # classes, channels, padding
    with pytest.raises(WeightKeysError, match="resnet18"):
        zoo.create("resnet34", weights=path)


def test_without_a_classifier(file):
    path, network = file
    made = zoo.create("resnet18", weights=path, num_classes=0)
    assert isinstance(made.get_classifier(), nn.Identity)
    assert made.eval()(torch.zeros(1, 3, 32, 32)).shape == (1, 512)


def test_frozen(file):
    """Nothing but the classifier learns, and the statistics of the batch normalisations stay."""
    path, network = file
    made = zoo.create("resnet18", weights=path, num_classes=2, trainable=False).train()
    before = {key: tensor.clone() for key, tensor in made.state_dict().items()}
    optimizer = torch.optim.SGD([p for p in made.parameters() if p.requires_grad], lr=0.1)
    nn.functional.cross_entropy(made(torch.randn(4, 3, 32, 32)), torch.tensor([0, 1, 0, 1])).backward()
    optimizer.step()
    changed = {key for key, tensor in made.state_dict().items() if not torch.equal(tensor, before[key])}
    assert changed == {"fc.weight", "fc.bias"}


def test_an_unknown_padding():
    with pytest.raises(ArgumentError, match="padding"):
        zoo.create("resnet18", padding="reflect")
