"""A backbone of the zoo in a model: turned images, and a file that makes it again."""

import pytest
import torch

import striate
from striate import zoo
from striate.layers import Dense, Input, Rescaling, ZooNetwork, wrap
from striate.models import Model, Sequential


def network():
    torch.manual_seed(0)
    return zoo.create("squeezenet1_1", num_classes=4, padding="tf_same")


@pytest.fixture
def model():
    made = network()
    return Sequential([Input((33, 33, 3)), Rescaling(1 / 255), wrap(made, name="body"), Dense(2)]).eval(), made


def test_images_are_turned_and_outputs_are_the_networks(model):
    model, made = model
    assert [layer.name for layer in model.layers] == ["rescaling", "body_to_channels_first", "body", "dense"]
    assert isinstance(model.layers[2], ZooNetwork)
    x = torch.randint(0, 256, (2, 33, 33, 3), dtype=torch.uint8)
    with torch.no_grad():
        inner = made.eval()((x / 255).permute(0, 3, 1, 2))
        torch.testing.assert_close(model(x), model.layers[3](inner))
    assert model.count_params() == sum(p.numel() for p in made.parameters()) + 4 * 2 + 2


@pytest.mark.parametrize("functional", [False, True])
def test_a_file_makes_it_again(model, functional, tmp_path):
    model, made = model
    if functional:
        inputs = Input((33, 33, 3))
        model = Model(inputs, wrap(made)(inputs)).eval()
    model.save(tmp_path / "model.safetensors")
    again = striate.load(tmp_path / "model.safetensors").eval()
    x = torch.rand(2, 33, 33, 3)
    with torch.no_grad():
        torch.testing.assert_close(again(x), model(x), rtol=0, atol=0)
    again.save(tmp_path / "again.safetensors")
    assert (tmp_path / "again.safetensors").read_bytes() == (tmp_path / "model.safetensors").read_bytes()


def test_a_network_with_another_classifier_is_saved_as_it_is(tmp_path):
    made = network()
    made.reset_classifier(7)
    Sequential([Input((33, 33, 3)), wrap(made)]).save(tmp_path / "model.safetensors")
    assert striate.load(tmp_path / "model.safetensors").outputs[0].shape == (None, 7)


def test_frozen():
    layer = ZooNetwork(network(), trainable=False)
    Sequential([Input((33, 33, 3)), layer])
    assert layer.trainable_weights == []
