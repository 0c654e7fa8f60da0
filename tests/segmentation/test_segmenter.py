"""The network: sizes on backbones of all kinds, its two heads, and its parts by hand."""

from dataclasses import replace

import pytest
import torch

import striate
from striate import zoo
from striate.errors import ArgumentError, ShapeError
from striate.segmentation import Segmenter
from tests.detection.small import Plain


def small(head="unet", **options):
    options = {"num_classes": 3, "image_size": (64, 64), "width": 4, "head": head} | options
    return Segmenter(Plain((8, 8, 16, 16)), **options)


@pytest.mark.parametrize("head", ["unet", "fcn"])
@pytest.mark.parametrize(("height", "width"), [(64, 64), (64, 96), (50, 37)])
def test_a_row_of_scores_for_each_pixel(head, height, width):
    output = small(head).eval()(torch.randint(0, 256, (2, height, width, 3), dtype=torch.uint8))
    assert output.shape == (2, height, width, 3)
    assert output.dtype == torch.float32


@pytest.mark.parametrize("head", ["unet", "fcn"])
@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("lenet5", 32),  # begins at the stride 1
        ("alexnet", 64),  # at 4
        ("squeezenet1_1", 65),  # does not pad
        ("googlenet", 64),  # has auxiliary classifiers
        ("mobilenet_v3_small", 64),
        ("vgg11", 64),
        ("vit_b_32", 224),  # has one stride
    ],
)
def test_backbones_of_the_zoo(head, name, size):
    with torch.device("meta"):
        segmenter = Segmenter(zoo.create(name), 4, (size, size), head=head)
        channels = segmenter.backbone.preprocessing.channels
        assert segmenter.eval()(torch.zeros(1, size, size, channels)).shape == (1, size, size, 4)


@pytest.mark.parametrize("head", ["unet", "fcn"])
@pytest.mark.parametrize("name", ["plain", "vgg11", "googlenet"])
def test_everything_can_be_learned_and_nothing_is_left_over(head, name):
    backbone = Plain() if name == "plain" else zoo.create(name)
    segmenter = Segmenter(backbone, 3, (32, 32), head=head, width=2)
    segmenter(torch.rand(2, 32, 32, 3) * 255).square().sum().backward()
    assert [path for path, parameter in segmenter.named_parameters() if parameter.grad is None] == []


def test_the_levels_of_a_u_net():
    """Counted by hand: convolutions without biases, and two numbers a channel of each normalisation."""
    unet = small(width=4).head
    assert unet.strides == [16, 8, 4, 2, 1]
    expected = 4 * 3 + 3  # the scores
    above = 16
    for stride, beside in ((8, 16), (4, 8), (2, 8), (1, 3)):
        expected += 9 * (above + beside) * 4 * stride + 9 * (4 * stride) ** 2 + 4 * 4 * stride
        above = 4 * stride
    assert sum(parameter.numel() for parameter in unet.parameters()) == expected
    assert small(width=100).head.blocks[0][0].out_channels == 256  # and no more


def test_strides_that_no_stage_has():
    backbone = Plain((8, 8))
    backbone.feature_info = backbone.feature_info[1:]
    unet = Segmenter(backbone, 3, (32, 32), width=4).head
    assert [block[0].in_channels for block in unet.blocks] == [8, 4 * 2 + 3]


def test_an_fcn_adds_its_scores_up():
    segmenter = small("fcn")
    head = segmenter.head
    assert [score.in_channels for score in head.scores] == [16, 16, 8]  # of the strides 16, 8 and 4
    assert [bool(score.weight.any()) for score in head.scores] == [True, False, False]
    with torch.no_grad():
        for number, score in enumerate(head.scores):
            score.weight.zero_()
            score.bias.fill_(10.0**number)
    output = segmenter.eval()(torch.rand(1, 64, 64, 3))
    torch.testing.assert_close(output, torch.full_like(output, 111.0))


@pytest.mark.parametrize("head", ["unet", "fcn"])
def test_first_probabilities_are_the_shares_of_the_classes(head):
    segmenter = small(head, class_shares=[0.7, 0.3, 0.0]).eval()
    with torch.no_grad():
        (segmenter.head.scores if head == "unet" else segmenter.head.scores[0]).weight.zero_()
    probabilities = segmenter(torch.rand(1, 64, 64, 3) * 255).softmax(-1)
    torch.testing.assert_close(probabilities, torch.tensor([0.7, 0.3, 0.0]).expand(1, 64, 64, 3), atol=1e-4, rtol=0)


def test_a_change_in_the_image_changes_the_scores_there():
    torch.manual_seed(0)
    segmenter = small().eval()
    images = torch.full((2, 128, 96, 3), 128.0)
    images[1, 92:100, 20:28] = 255
    before, after = segmenter(images)
    row, column = divmod(int((after - before).abs().sum(-1).argmax()), 96)
    assert abs(row - 96) < 12
    assert abs(column - 24) < 12


def test_pixels_are_normalised_as_the_weights_ask():
    backbone, seen = Plain((8, 8)), []
    backbone.preprocessing = replace(backbone.preprocessing, mean=(0.5, 0.4, 0.3), std=(0.2, 0.2, 0.1))
    backbone.stages[0].register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    Segmenter(backbone, 3, (64, 64), width=4)(torch.full((1, 64, 64, 3), 255, dtype=torch.uint8))
    torch.testing.assert_close(seen[0][0, :, 0, 0], torch.tensor([2.5, 3.0, 7.0]))


@pytest.mark.parametrize("head", ["unet", "fcn"])
def test_it_is_counted_exported_and_made_again(head):
    torch.manual_seed(0)
    segmenter = small(head).eval()
    ledger = striate.count(segmenter, input_shape=(64, 64, 3))
    assert ledger.total.parameters == sum(parameter.numel() for parameter in segmenter.parameters())
    images = torch.rand(2, 64, 64, 3) * 255
    exported = torch.export.export(segmenter, (images,))
    torch.testing.assert_close(exported.module()(images), segmenter(images))
    other = Segmenter(Plain((8, 8, 16, 16)), **segmenter.config).eval()
    other.load_state_dict(segmenter.state_dict())
    assert other(images).equal(segmenter(images))


def test_mistakes():
    with pytest.raises(ArgumentError, match="num_classes=1: expected an integer of at least 2"):
        small(num_classes=1)
    with pytest.raises(ArgumentError, match="width=0: expected an integer of at least 1"):
        small(width=0)
    with pytest.raises(ArgumentError, match=r"head='u-net': expected one of 'unet', 'fcn'\. Did you mean 'unet'"):
        small("u-net")
    with pytest.raises(ArgumentError, match=r"class_shares=\[0.5, 0.5\]: expected 3 parts that add up to 1"):
        small(class_shares=[0.5, 0.5])
    with pytest.raises(ShapeError, match=r"given the shape \(1, 3, 64, 64\): expected images"):
        small()(torch.zeros(1, 3, 64, 64))
