"""The network: backbones of every kind and the grids they are cut to, its costs, its config and back."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

import striate
from striate import zoo
from striate.account.peak import memory
from striate.caption.captioner import Captioner
from striate.caption.vocabulary import Vocabulary
from striate.errors import ArgumentError, ShapeError, UnknownNameError
from striate.zoo.vision_transformer import VisionTransformer
from tests.test_memory import OPTIMIZERS, real_peaks

VOCABULARY = Vocabulary(["a", "red", "blue", "circle", "square"])
WORDS = torch.from_numpy(VOCABULARY.encode_all(["a red circle", "a blue", "square", "a a a"])).view(2, 2, 5)
SMALL = {"size": 16, "embedding": 8, "dropout": 0.0}


def small(backbone="resnet18", image_size=(48, 64), **options):
    torch.manual_seed(0)
    return Captioner(zoo.create(backbone), VOCABULARY, image_size, **SMALL | options)


def pictures(number=2, size=(48, 64)):
    return torch.randint(0, 256, (number, *size, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))


# Backbones -----------------------------------------------------------------------------------------------------------

BY_COST = sorted(zoo.names(), key=lambda name: zoo.card(name).macs, reverse=True)
SMALLEST = {zoo.card(name).family: name for name in BY_COST}


def body_of(family):
    """The body of a family's smallest network, with weights that keep a signal alive through any depth."""
    if family == "vit":
        return VisionTransformer(32, 8, depth=4, heads=2, width=16, inner=32).eval()
    with torch.device("meta"):
        network = zoo.create(SMALLEST[family])
    network.take_heads_off()
    network.to_empty(device="cpu")
    for name, tensor in network.state_dict().items():
        if not tensor.is_floating_point():
            tensor.zero_()
        elif tensor.ndim < 2 or name.endswith("layer_scale"):
            tensor.uniform_(0.5, 1)
        else:
            tensor.uniform_(-1, 1).div_((tensor[0].numel() / 3) ** 0.5)
    return network.eval()


@pytest.mark.parametrize("family", SMALLEST)
def test_a_backbone_that_ends_at_a_stage_gives_what_it_gave_there(family):
    torch.manual_seed(0)
    network = body_of(family)
    card = zoo.card(SMALLEST[family])
    side = {"inception": 96, "alexnet": 64}.get(family, 32)
    x = torch.randn(1, card.input_shape[0], side, side)
    with torch.no_grad():
        before = network.forward_stages(x)
    stages = network.feature_info
    for place in reversed(range(len(stages))):
        network.end_at(stages[place].name)
        assert network.feature_info == stages[: place + 1]
        grids = network.forward_stages(x)
        assert len(grids) == place + 1
        assert before[place].std() > 1e-3  # else equal grids say nothing
        torch.testing.assert_close(grids[-1], before[place])
        if place == len(stages) // 2:
            grids[-1].square().sum().backward()
            left = {name for name, parameter in network.named_parameters() if parameter.grad is None}
            assert left <= {"f6.weight", "f6.bias"}  # LeNet-5 has a layer more before its classifier


def test_no_such_stage():
    with pytest.raises(UnknownNameError, match=r"no stage 'layer5'.*layer"):
        zoo.create("resnet18").end_at("layer5")


@pytest.mark.parametrize(
    ("name", "image_size", "grid", "expected"),
    [
        ("vit_b_16", (224, 224), 7, (14, 14)),  # one stride at all depths
        ("vit_b_16", (224, 320), 7, (14, 20)),
        ("squeezenet1_1", (224, 224), 7, (13, 13)),
        ("squeezenet1_1", (224, 224), 14, (27, 27)),  # it does not pad: 224 / 16 is not enough
        ("densenet121", (224, 224), 7, (7, 7)),
        ("densenet121", (224, 224), 14, (14, 14)),
        ("googlenet", (224, 224), 7, (7, 7)),
        ("inception_v3", (299, 299), 7, (8, 8)),
        ("inception_v3", (299, 299), 9, (17, 17)),
        ("lenet5", (32, 32), 7, (10, 10)),
        ("resnet18", (50, 64), 7, (7, 8)),  # 50 / 8, rounded up
        ("resnet18", (224, 224), 14, (14, 14)),
        ("resnet18", (16, 16), 20, (8, 8)),  # no stage has as many
    ],
)
def test_the_deepest_grid_that_is_fine_enough(name, image_size, grid, expected):
    with torch.device("meta"):
        captioner = Captioner(zoo.create(name), VOCABULARY, image_size, grid=grid, **SMALL)
        images = torch.zeros(2, *image_size, captioner.backbone.preprocessing.channels)
        scores, weights = captioner(images, torch.zeros(2, 1, 4, dtype=torch.int64))
        encoded = captioner.encoder(images)
    assert captioner.grid_size == expected
    assert encoded.shape[1:3] == expected
    assert scores.shape == (2, 1, 4, 9)
    assert weights.shape == (2, 1, 4, expected[0] * expected[1])


def test_only_what_the_grid_needs_is_kept():
    names = dict(small(image_size=(56, 56)).named_parameters())
    assert any(name.startswith("encoder.backbone.layer2") for name in names)
    assert not any(name.startswith(("encoder.backbone.layer3", "encoder.backbone.fc")) for name in names)


def test_pixels_are_normalised_and_places_are_in_reading_order():
    captioner = small().eval()
    preprocessing, backbone = captioner.backbone.preprocessing, captioner.backbone
    images = pictures()
    x = (images.double() / 255 - torch.tensor(preprocessing.mean)) / torch.tensor(preprocessing.std)
    x = backbone.relu(backbone.bn1(backbone.conv1(x.float().permute(0, 3, 1, 2))))
    x = backbone.layer1(backbone.maxpool(x))
    assert x.shape == (2, 64, 12, 16)
    expected = captioner.decoder(torch.einsum("nchw->nhwc", x), WORDS)
    torch.testing.assert_close(captioner(images, WORDS), expected, rtol=1e-4, atol=1e-5)


def test_gradients_reach_all_of_it():
    captioner = small(image_size=(56, 56)).train()
    scores, weights = captioner(pictures(size=(56, 56)), WORDS)
    (scores.square().sum() + weights.square().sum()).backward()
    assert [name for name, parameter in captioner.named_parameters() if parameter.grad is None] == []


# Costs ---------------------------------------------------------------------------------------------------------------


def test_counts_are_those_of_the_parts():
    captioner = small(image_size=(64, 64), tied=True)
    inputs = torch.zeros(2, 64, 64, 3), WORDS
    ledger = striate.count(captioner, inputs=inputs)
    assert ledger.parameters == sum(parameter.numel() for parameter in captioner.parameters())
    # What torchvision's table would say of the first stages: 7 × 7 × 3 × 64 at 32 × 32, four of 3 × 3 × 64 × 64 at
    # 16 × 16, one of stride 2 and three at 8 × 8, with the shortcut of 1 × 1.
    convolutions = 32**2 * 49 * 3 * 64 + 16**2 * 4 * 9 * 64**2 + 8**2 * (9 * 64 * 128 + 3 * 9 * 128**2 + 64 * 128)
    assert ledger["encoder"].macs == 2 * convolutions
    grid = torch.zeros(2, 8, 8, 128)
    assert ledger["decoder"].macs == striate.count(captioner.decoder, inputs=(grid, WORDS)).macs
    assert ledger.macs == ledger["encoder"].macs + ledger["decoder"].macs
    assert not ledger.unknown
    assert "decoder" in str(ledger)
    apart = striate.count(small(image_size=(64, 64)), inputs=inputs)
    assert apart.parameters - ledger.parameters == len(VOCABULARY) * SMALL["embedding"]


@pytest.mark.parametrize("attention", ["bahdanau", "luong"])
@pytest.mark.parametrize("optimizer", ["momentum", "adamw"])
def test_the_memory_of_a_step(optimizer, attention):
    captioner = small(dropout=0.5, attention=attention)
    words = torch.randint(4, len(VOCABULARY), (2, 3, 6))
    inputs = torch.rand(2, 48, 64, 3) * 255, words
    predicted = memory(captioner, inputs=inputs, optimizer=OPTIMIZERS[optimizer])
    assert (predicted.inference_bytes, predicted.peak_bytes) == real_peaks(captioner, inputs, OPTIMIZERS[optimizer])


# There and back ------------------------------------------------------------------------------------------------------

KINDS = [
    {"cell": "gru", "attention": "luong"},
    {"attention": "bahdanau"},
    {"attention": "none", "gated": False},
    {"tied": True, "grid": 14, "dropout": 0.25},
]


@pytest.mark.parametrize("options", KINDS)
def test_it_is_made_again_from_its_config(options):
    captioner = small(**options)
    captioner.backbone.preprocessing = replace(captioner.backbone.preprocessing, mean=(0.5, 0.4, 0.3), resize=99)
    captioner = Captioner(captioner.backbone, VOCABULARY, (48, 64), **SMALL | options).eval()  # as with such weights
    again = Captioner.from_config(json.loads(json.dumps(captioner.get_config()))).eval()
    assert again.get_config() == captioner.get_config()
    assert again.vocabulary.words == VOCABULARY.words
    assert again.image_size == (48, 64)
    assert again.backbone.preprocessing == captioner.backbone.preprocessing
    again.load_state_dict(captioner.state_dict(), strict=True)
    for found, expected in zip(again(pictures(), WORDS), captioner(pictures(), WORDS), strict=True):
        assert found.equal(expected)


def test_a_network_with_heads_beside_is_made_again():
    with torch.device("meta"):
        captioner = Captioner(zoo.create("googlenet"), VOCABULARY, (64, 64), **SMALL)
        again = Captioner.from_config(json.loads(json.dumps(captioner.get_config())))
    shapes = [{name: tensor.shape for name, tensor in one.state_dict().items()} for one in (captioner, again)]
    assert shapes[0] == shapes[1]


def test_mistakes():
    for grid in (0, 7.0):
        with pytest.raises(ArgumentError, match=f"grid={grid}: expected a positive integer"):
            small(grid=grid)
    with pytest.raises(ShapeError, match=r"given images of .*: expected \(images, 48 × 64, channels\)"):
        small()(pictures(size=(64, 48)), WORDS)
    with pytest.raises(ShapeError, match="given images of"):
        small()(torch.from_numpy(np.zeros((2, 3, 48, 64), np.uint8)), WORDS)
    with pytest.raises(ArgumentError, match=r"image_size="):
        small(image_size=(48, 0))
