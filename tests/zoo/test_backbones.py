"""Each network of the zoo beside torchvision's: keys, shapes and outputs; its card beside its count; its stages."""

import re
from pathlib import Path

import pytest
import torch
from torch import nn

import striate
from striate import zoo
from striate.errors import ArgumentError, UnknownNameError
from striate.zoo.backbone import Backbone

# Of each family the smallest network goes through all of its weights; the others are compared without values.
BY_COST = sorted(zoo.names(), key=lambda name: zoo.card(name).macs, reverse=True)
SMALLEST = {zoo.card(name).family: name for name in BY_COST}
OWN = ["lenet5"]  # of no library
PUBLISHED = [name for name in zoo.names() if name not in OWN]


def small_input(name):
    """The smallest image that the network takes well."""
    card = zoo.card(name)
    side = {"inception": 299, "vit": 224, "lenet": 32}.get(card.family, 64)
    return torch.randn(2, card.input_shape[0], side, side, generator=torch.Generator().manual_seed(0))


def without_values(name, **options):
    with torch.device("meta"):
        return zoo.create(name, **options)


def shapes(module):
    return {key: tuple(tensor.shape) for key, tensor in module.state_dict().items()}


def theirs(models, name):
    options = {"init_weights": False} if name in ("googlenet", "inception_v3") else {}
    if name == "googlenet":
        options["aux_logits"] = True
    return models.get_model(name, weights=None, **options)


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_keys_and_shapes_are_torchvisions(models, name):
    with torch.device("meta"):
        oracle = theirs(models, name)
    assert shapes(without_values(name)) == shapes(oracle)


@pytest.mark.parametrize("name", [name for name in SMALLEST.values() if name not in OWN])
def test_the_outputs_are_torchvisions_for_the_same_weights(models, name):
    torch.manual_seed(0)
    network, oracle = zoo.create(name).eval(), theirs(models, name).eval()
    # Weights of a size that keeps a signal alive through any depth, and statistics that are not those of the start.
    for key, tensor in network.state_dict().items():
        if key.endswith("running_mean"):
            tensor.normal_(0, 0.1)
        elif key.endswith(("running_var", "layer_scale")):
            tensor.uniform_(0.5, 1.5)
        elif key.endswith("class_token") or (key.endswith("bias") and tensor.ndim == 1):
            tensor.normal_(0, 0.1)
    oracle.load_state_dict(network.state_dict())
    x = small_input(name)
    with torch.no_grad():
        expected, found = oracle(x), network(x)
    assert expected.std() > 1e-4  # else equal outputs say nothing
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", zoo.names())
def test_the_card_says_what_is_counted(name):
    card = zoo.card(name)
    ledger = striate.count(without_values(name).eval(), input_shape=card.input_shape)
    assert (ledger.parameters, ledger.macs, ledger.neurons) == (card.parameters, card.macs, card.neurons)
    assert not ledger.unknown


@pytest.mark.parametrize("name", PUBLISHED)
def test_parameters_costs_and_accuracy_are_those_published(models, name):
    card = zoo.card(name)
    weights = models.get_model_weights(name)["IMAGENET1K_V1"]
    network = without_values(name, **({"auxiliary": False} if name == "googlenet" else {}))  # as torchvision counts it
    assert sum(p.numel() for p in network.parameters()) == weights.meta["num_params"]
    assert card.macs == pytest.approx(weights.meta["_ops"] * 1e9, rel=0.01)
    assert card.top1 == weights.meta["_metrics"]["ImageNet-1K"]["acc@1"]


@pytest.mark.parametrize("name", SMALLEST.values())
def test_stages_are_as_described(name):
    network = zoo.create(name).eval()
    x = small_input(name)
    with torch.no_grad():
        grids = network.forward_stages(x)
    found = [(grid.shape[1], round(x.shape[-1] / grid.shape[-1])) for grid in grids]
    paths = dict(network.named_modules())
    assert [stage.channels for stage in network.feature_info] == [channels for channels, _ in found]
    assert all(stage.name in paths for stage in network.feature_info)
    if not {"inception", "lenet", "alexnet", "squeezenet"} & {zoo.card(name).family}:  # whose convolutions cut borders
        assert [stage.stride for stage in network.feature_info] == [stride for _, stride in found]


@pytest.mark.parametrize("name", SMALLEST.values())
def test_the_head_fits_the_body(name):
    network = zoo.create(name, num_classes=3).eval()
    x = small_input(name)
    with torch.no_grad():
        features = network.forward_features(x)
        assert network.forward_head(features).shape == (2, 3)
        vectors = network.forward_head(features, pre_logits=True)
        assert vectors.shape == (2, network.num_features)
        torch.testing.assert_close(network.forward_head(features), network(x))
        network.reset_classifier(0)
        torch.testing.assert_close(network(x), vectors)
        network.reset_classifier(5)
        assert network(x).shape == (2, 5)
    assert network.num_classes == 5
    assert isinstance(network.get_classifier(), nn.Linear | nn.Conv2d)


@pytest.mark.parametrize("name", SMALLEST.values())
def test_other_channels(name):
    network = zoo.create(name, in_channels=2, num_classes=2).eval()
    x = small_input(name)[:, :1].repeat(1, 2, 1, 1)
    with torch.no_grad():
        assert network(x).shape == (2, 2)


@pytest.mark.parametrize("name", SMALLEST.values())
def test_training_reaches_every_parameter(name):
    torch.manual_seed(0)
    network = zoo.create(name, num_classes=4).train()
    out = network(small_input(name))
    outputs = [out] if isinstance(out, torch.Tensor) else [part for part in out if part is not None]
    sum(output.square().sum() for output in outputs).backward()
    assert [key for key, p in network.named_parameters() if p.grad is None or not p.grad.isfinite().all()] == []


def module_of(name):
    """The file whose class makes a network."""
    build = zoo.card(name).build
    return getattr(build, "func", build).__module__


@pytest.mark.parametrize("path", sorted(Path(zoo.__file__).parent.glob("*.py")), ids=lambda path: path.stem)
def test_the_table_of_a_file_says_what_the_cards_say(path):
    """Parameters, MACs and accuracy in a family's docstring."""
    rows = re.findall(
        r"^\| (\w+) \| ([\d,]+) \| ([\d.]+) ([GM]) \| ([\d.–]+) \|(?: (\d+) \|)?$", path.read_text(), re.M
    )
    for name, parameters, macs, unit, top1, side in rows:
        card = zoo.card(name)
        assert side in ("", str(card.input_shape[1]))
        assert card.parameters == int(parameters.replace(",", ""))
        assert f"{card.macs / {'G': 1e9, 'M': 1e6}[unit]:.2f}" == macs
        assert (f"{card.top1:.2f}" if card.top1 else "–") == top1
    assert {name for name, *_ in rows} == {
        name for name in zoo.names() if module_of(name) == f"striate.zoo.{path.stem}"
    }


def test_every_network_is_a_backbone():
    assert all(issubclass(type(without_values(name)), Backbone) for name in SMALLEST.values())


def test_a_name_that_is_near():
    with pytest.raises(UnknownNameError, match=r"Did you mean .*'resnet18'"):
        zoo.create("resnet19")


@pytest.mark.parametrize(("options", "said"), [({"num_classes": -1}, "at least 0"), ({"in_channels": 0}, "at least 1")])
def test_numbers_that_cannot_be_used(options, said):
    with pytest.raises(ArgumentError, match=said):
        zoo.create("resnet18", **options)
