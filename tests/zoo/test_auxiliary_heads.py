"""GoogLeNet and Inception v3 in training: what their auxiliary classifiers give, and when there are none."""

import copy

import pytest
import torch

from striate import zoo
from striate.errors import ShapeError

SIDES = {"googlenet": 64, "inception_v3": 299}


@pytest.fixture(scope="module", params=SIDES)
def pair(request, models):
    """A network and torchvision's with the same weights, in training without dropout, and two images."""
    torch.manual_seed(0)
    name = request.param
    options = {"dropout": 0.0, "num_classes": 3}
    network = zoo.create(name, **options, **({"auxiliary_dropout": 0.0} if name == "googlenet" else {}))
    theirs = {"dropout_aux": 0.0} if name == "googlenet" else {}
    oracle = models.get_model(name, weights=None, init_weights=False, aux_logits=True, **options, **theirs)
    oracle.load_state_dict(network.state_dict())
    return network.train(), oracle.train(), torch.randn(2, 3, SIDES[name], SIDES[name])


def test_scores_and_gradients_in_training_are_torchvisions(pair):
    network, oracle, x = pair
    found, expected = network(x), oracle(x)
    assert len(found) == len(expected) == (3 if hasattr(network, "aux2") else 2)
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)
    for scores in (found, expected):
        sum(part.square().sum() for part in scores).backward()
    theirs = dict(oracle.named_parameters())
    for name, parameter in network.named_parameters():
        torch.testing.assert_close(
            parameter.grad, theirs[name].grad, rtol=1e-3, atol=1e-4 * theirs[name].grad.abs().max()
        )


def test_other_classes_for_all_heads(pair):
    network, _, x = pair
    network = copy.deepcopy(network)
    network.reset_classifier(5)
    assert {tuple(scores.shape) for scores in network(x)} == {(2, 5)}
    network.reset_classifier(0)
    assert network(x).shape == (2, network.num_features)  # without classes nothing is auxiliary
    assert not [key for key in network.state_dict() if key.endswith("fc2.weight")]


@pytest.mark.parametrize("name", SIDES)
def test_without_them(name):
    network = zoo.create(name, num_classes=3, auxiliary=False)
    assert not [key for key in network.state_dict() if key.lower().startswith("aux")]
    assert network.train()(torch.zeros(2, 3, 128, 128)).shape == (2, 3)
    assert zoo.create(**network.config).state_dict().keys() == network.state_dict().keys()


def test_an_image_too_small_for_the_head():
    network = zoo.create("inception_v3", num_classes=3)
    with pytest.raises(ShapeError, match=r"got 6 × 6: train on images of at least 299 × 299, .*auxiliary=False"):
        network.train()(torch.zeros(2, 3, 128, 128))
    assert network.eval()(torch.zeros(2, 3, 128, 128)).shape == (2, 3)
