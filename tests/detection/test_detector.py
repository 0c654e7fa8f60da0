"""The network: shapes on backbones of all kinds, what its positions mean, and its parts by hand."""

import pytest
import torch

import striate
from striate import zoo
from striate.detection import Detector, positions
from striate.errors import ArgumentError, ShapeError
from striate.zoo.preprocessing import Preprocessing
from tests.detection.small import Plain


def small(**options):
    options = {"num_classes": 3, "image_size": (64, 64), "strides": (4, 8, 16), "width": 16, "depth": 1} | options
    return Detector(Plain((8, 8, 16, 16)), **options)


@pytest.mark.parametrize(("height", "width"), [(64, 64), (64, 96), (50, 37)])
def test_one_row_for_each_position(height, width):
    output = small()(torch.randint(0, 256, (2, height, width, 3), dtype=torch.uint8))
    assert output.shape == (2, len(positions((height, width), (4, 8, 16))[0]), 3 + 5)
    assert output.dtype == torch.float32
    assert (output[..., 3:7] > 0).all()


@pytest.mark.parametrize("strides", [(4,), (8, 16), (4, 8, 16), (8, 16, 32, 64)])
def test_strides_within_and_beyond_the_backbone(strides):
    output = small(strides=strides)(torch.zeros(1, 64, 64, 3))
    assert output.shape[1] == sum((64 // stride) ** 2 for stride in strides)


def test_a_backbone_without_padding():
    backbone = Plain((8, 8, 8))
    for module in backbone.modules():
        module.padding = (0, 0)
    assert backbone.forward_stages(torch.zeros(1, 3, 64, 64))[-1].shape[2:] == (3, 3)
    detector = Detector(backbone, 2, (64, 64), (4, 8), width=8, depth=1)
    assert detector(torch.zeros(1, 64, 64, 3)).shape == (1, 16 * 16 + 8 * 8, 7)


def test_rows_stand_for_their_places():
    """A change at one place of the image changes the rows of the positions there most."""
    torch.manual_seed(0)
    detector = small(strides=(4,), image_size=(128, 96)).eval()
    images = torch.full((2, 128, 96, 3), 128.0)
    images[1, 92:100, 20:28] = 255
    before, after = detector(images)[..., :3]
    centres, _ = positions((128, 96), (4,))
    most = (after - before).abs().sum(-1).argmax()
    assert (centres[most] - torch.tensor([24, 96])).abs().max() < 24


def test_pixels_are_normalised_as_the_weights_ask():
    seen = []
    backbone = Plain((8, 8, 8, 8))
    backbone.preprocessing = Preprocessing(mean=(0.5, 0.4, 0.3), std=(0.2, 0.2, 0.1))
    detector = Detector(backbone, 2, (64, 64), width=8, depth=1)
    detector.backbone.stages[0].register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    detector(torch.full((1, 64, 64, 3), 255, dtype=torch.uint8))
    torch.testing.assert_close(seen[0][0, :, 0, 0], torch.tensor([2.5, 3.0, 7.0]))


def test_everything_can_be_learned_and_nothing_is_left_over():
    detector = small()
    detector(torch.rand(2, 64, 64, 3) * 255).square().sum().backward()
    without = [name for name, parameter in detector.named_parameters() if parameter.grad is None]
    assert without == []


def test_first_scores_are_rare():
    torch.manual_seed(0)
    scores = small(width=64).eval()(torch.rand(1, 64, 64, 3) * 255)[..., :3].sigmoid()
    assert 0.003 < scores.mean() < 0.03


def test_it_is_counted_exported_and_copied():
    detector = small().eval()
    ledger = striate.count(detector, input_shape=(64, 64, 3))
    assert ledger.total.parameters == sum(parameter.numel() for parameter in detector.parameters())
    images = torch.rand(2, 64, 64, 3) * 255
    exported = torch.export.export(detector, (images,))
    torch.testing.assert_close(exported.module()(images), detector(images))
    other = small().eval()
    other.load_state_dict(detector.state_dict())
    assert other(images).equal(detector(images))


def test_a_backbone_of_the_zoo():
    detector = Detector(zoo.create("resnet18"), 80, (96, 64), width=32, depth=1)
    assert detector(torch.zeros(1, 96, 64, 3)).shape == (1, 12 * 8 + 6 * 4 + 3 * 2, 85)


def test_mistakes():
    with pytest.raises(ArgumentError, match="expected numbers each twice the one before"):
        small(strides=(4, 16))
    with pytest.raises(ArgumentError, match="the backbone's deepest stage has the stride 16"):
        small(strides=(32, 64))
    with pytest.raises(ArgumentError, match="num_classes=0: expected a positive integer"):
        small(num_classes=0)
    with pytest.raises(ArgumentError, match="width=12: expected a multiple of 8"):
        small(width=12)
    with pytest.raises(ShapeError, match=r"given the shape \(1, 3, 64, 64\): expected images"):
        small()(torch.zeros(1, 3, 64, 64))
