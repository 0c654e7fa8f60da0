"""`count` of the papers' architectures, equal to the integer to what is worked out on paper."""

import pytest
import torch
from torch import nn

from striate.account import count
from tests.conformance.architectures import (
    MOBILENET_V3_LARGE,
    convnext,
    inception_v3,
    lstm,
    mobilenet_v3,
    multi_head_attention,
    resnet,
    vgg,
    vit,
)

VGG_16 = ((64,) * 2, (128,) * 2, (256,) * 3, (512,) * 3, (512,) * 3)

# The sheet; MACs, parameters and neurons as integers, so that the sheets cannot drift with what they check.
PAPER = {
    "resnet18": (resnet((2, 2, 2, 2), bottleneck=False), 1_814_073_344, 11_689_512, 2_484_712),
    "resnet50": (resnet((3, 4, 6, 3), bottleneck=True), 4_089_184_256, 25_557_032, 11_114_984),
    "vgg16": (vgg(VGG_16), 15_470_264_320, 138_357_544, 13_556_712),
    "vit_b_16": (vit(16, 12, 768, 3072), 17_563_828_224, 86_567_656, 16_491_496),
    "convnext_large": (convnext((3, 3, 27, 3), (192, 384, 768, 1536)), 34_361_433_600, 197_767_336, 43_127_272),
    "mobilenet_v3_large": (mobilenet_v3(MOBILENET_V3_LARGE, 1280), 216_589_760, 5_483_032, 4_407_168),
    "inception_v3": (inception_v3(), 5_713_216_096, 23_834_568, 8_968_488),
}


@pytest.mark.parametrize("name", PAPER)
def test_the_sheets_add_up_to_what_is_published(name):
    sheet, *published = PAPER[name]
    assert [sheet.macs, sheet.parameters, sheet.neurons] == published


@pytest.mark.parametrize("name", PAPER)
def test_torchvisions_models(models, name):
    inception = name == "inception_v3"
    with torch.device("meta"):
        model = models.get_model(name, **({"init_weights": False} if inception else {})).eval()
    ledger = count(model, (3, 299, 299) if inception else (3, 224, 224))
    unused = ledger["AuxLogits"].parameters if inception else 0
    sheet = PAPER[name][0]
    assert ledger.macs == sheet.macs
    assert ledger.parameters - unused == sheet.parameters
    assert ledger.neurons == sheet.neurons
    assert (ledger.unknown, ledger.notes) == ({}, [])


# The same networks in plain torch ----------------------------------------------------------------------------------


class Residual(nn.Module):
    def __init__(self, channels: int, filters: int, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(channels, filters, 3, stride, 1, bias=False),
            nn.BatchNorm2d(filters),
            nn.ReLU(),
            nn.Conv2d(filters, filters, 3, 1, 1, bias=False),
            nn.BatchNorm2d(filters),
        )
        self.shortcut = nn.Identity()
        if channels != filters:
            self.shortcut = nn.Sequential(nn.Conv2d(channels, filters, 1, stride, bias=False), nn.BatchNorm2d(filters))

    def forward(self, x):
        return torch.relu(self.body(x) + self.shortcut(x))


def residual_network() -> nn.Module:
    stem = [nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64), nn.ReLU(), nn.MaxPool2d(3, 2, 1)]
    widths = [(64, 64), (64, 64), (64, 128), (128, 128), (128, 256), (256, 256), (256, 512), (512, 512)]
    blocks = [Residual(before, after, 1 + (before != after)) for before, after in widths]
    return nn.Sequential(*stem, *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(512, 1000))


def plain_network() -> nn.Module:
    layers, channels = [], 3
    for stage in VGG_16:
        for filters in stage:
            layers += [nn.Conv2d(channels, filters, 3, padding=1), nn.ReLU()]
            channels = filters
        layers.append(nn.MaxPool2d(2))
    head = [nn.Flatten(), nn.Linear(25088, 4096), nn.ReLU(), nn.Linear(4096, 4096), nn.ReLU(), nn.Linear(4096, 1000)]
    return nn.Sequential(*layers, *head)


class VisionTransformer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 768, 16, 16)
        self.class_token = nn.Parameter(torch.zeros(1, 1, 768))
        self.positions = nn.Parameter(torch.zeros(1, 197, 768))
        block = nn.TransformerEncoderLayer(768, 12, 3072, batch_first=True, norm_first=True, activation="gelu")
        self.blocks = nn.TransformerEncoder(block, 12, nn.LayerNorm(768), enable_nested_tensor=False)
        self.head = nn.Linear(768, 1000)

    def forward(self, x):
        tokens = self.patches(x).flatten(2).mT
        tokens = torch.cat([self.class_token.expand(len(x), -1, -1), tokens], dim=1)
        return self.head(self.blocks(tokens + self.positions)[:, 0])


@pytest.mark.parametrize(
    ("build", "name"),
    [(residual_network, "resnet18"), (plain_network, "vgg16"), (VisionTransformer, "vit_b_16")],
)
@pytest.mark.parametrize("training", [True, False])
def test_the_same_in_plain_torch(build, name, training):
    with torch.device("meta"):
        model = build().train(training)
    ledger = count(model, (3, 224, 224))
    sheet = PAPER[name][0]
    assert (ledger.macs, ledger.parameters, ledger.neurons) == (sheet.macs, sheet.parameters, sheet.neurons)
    assert (ledger.unknown, ledger.notes) == ({}, [])


class Rows(nn.Module):
    """A digit read row by row."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(28, 128, 2, batch_first=True)
        self.head = nn.Linear(128, 10)

    def forward(self, x):
        return self.head(self.lstm(x)[0][:, -1])


def test_recurrence():
    assert count(Rows(), (28, 28)).macs == lstm(28, 28, 128, 2) + 128 * 10 == 5_907_712


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("heads", [1, 8])
def test_attention(training, heads):
    module = nn.MultiheadAttention(256, heads, batch_first=True).train(training)
    tokens = torch.empty(1, 100, 256)
    assert count(module, inputs=(tokens, tokens, tokens)).macs == multi_head_attention(100, 256) == 31_334_400
