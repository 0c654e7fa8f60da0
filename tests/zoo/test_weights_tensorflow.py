"""Padding as TensorFlow does it, and a MobileNet v2 that was trained there, on photographs beside its known answers."""

import copy
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from striate.zoo import create
from striate.zoo.padding import tf_same_padding
from striate.zoo.weights import load_weights, read_weights, write_weights

DATA = Path(__file__).parents[2].parent / "shared" / "data"
NAME = "mobilenet_v2_1.0_224_imagenet"
needs_weights = pytest.mark.skipif(
    not all((DATA / folder).is_dir() for folder in ("pretrained", "coco_cc_by", "flickr8k")),
    reason="needs ../shared/data: pretrained, coco_cc_by, flickr8k",
)


@pytest.mark.parametrize("size", [(7, 8), (8, 7), (9, 12)])
@pytest.mark.parametrize(
    ("layer", "name", "options"),
    [
        (nn.Conv2d(3, 4, 3, stride=2, padding=1), "Conv2D", {"filters": 4, "kernel_size": 3}),
        (nn.Conv2d(3, 4, (5, 3), stride=2, padding=2), "Conv2D", {"filters": 4, "kernel_size": (5, 3)}),
        (nn.MaxPool2d(3, 2, padding=1), "MaxPooling2D", {"pool_size": 3}),
    ],
)
def test_equals_keras(layer, name, options, size):
    keras = pytest.importorskip("keras")
    oracle = getattr(keras.layers, name)(padding="same", strides=2, **options)
    oracle.build((2, *size, 3))
    if name == "Conv2D":
        oracle.set_weights([layer.weight.detach().permute(2, 3, 1, 0).numpy(), layer.bias.detach().numpy()])
    x = torch.randn(2, 3, *size) - 3  # a maximum of padding zeros would show
    network = nn.Sequential(layer)
    tf_same_padding(network)
    expected = torch.as_tensor(oracle(x.permute(0, 2, 3, 1))).detach().permute(0, 3, 1, 2)
    torch.testing.assert_close(network(x).detach(), expected, atol=1e-5, rtol=1e-5)


def test_a_mean_is_over_the_image_alone():
    network = nn.Sequential(nn.AvgPool2d(3, 2, padding=1))
    tf_same_padding(network)
    x = torch.arange(16.0).reshape(1, 1, 4, 4)
    # Windows begin at 0 and 2; the second is cut off after two rows or columns.
    expected = torch.tensor(
        [[x[..., :3, :3].mean(), x[..., :3, 2:].mean()], [x[..., 2:, :3].mean(), x[..., 2:, 2:].mean()]]
    )
    torch.testing.assert_close(network(x)[0, 0], expected)


def test_what_pads_alike_in_both_stays():
    network = nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 4, 1, stride=2), nn.MaxPool2d(2), nn.Conv2d(4, 4, 3, 2, padding=1)
    )
    before, keys = list(network), list(network.state_dict())
    weight = network[3].weight
    tf_same_padding(network)
    assert [a is b for a, b in zip(before, network, strict=True)] == [True, True, True, False]
    assert list(network.state_dict()) == keys and network[3].weight is weight
    again = network[3]
    tf_same_padding(network)
    assert network[3] is again


def test_is_exported_for_any_size():
    network = nn.Sequential(nn.Conv2d(3, 4, 3, 2, padding=1), nn.MaxPool2d(3, 2, padding=1)).eval()
    tf_same_padding(network)
    x = torch.randn(1, 3, 16, 16)
    torch.testing.assert_close(torch.export.export(network, (x,)).module()(x), network(x))


@pytest.fixture(scope="module")
def pretrained():
    from benchmarks import pretrained

    return pretrained


@pytest.fixture(scope="module")
def converted(pretrained):
    return pretrained.convert(pretrained.tensors(DATA / "pretrained" / f"{NAME}.npz"))


@needs_weights
def test_mobilenet_gives_the_answers_of_tensorflow(converted, pretrained):
    """The logits that onnxruntime computed for the original, and its five best classes, on 41 photographs."""
    reference = json.loads((DATA / "pretrained" / f"{NAME}.reference.json").read_text())["reference"]
    agree = near = 0
    for file, answers in reference.items():
        image = Image.open(DATA / "coco_cc_by" / "images" / file).convert("RGB")
        side = int(0.875 * min(image.size))
        left, top = ((length - side) // 2 for length in image.size)
        square = image.crop((left, top, left + side, top + side)).resize((224, 224), Image.Resampling.BILINEAR)
        x = torch.from_numpy((np.asarray(square, np.float32) - 128) / 128).permute(2, 0, 1)[None]
        with torch.no_grad():
            logits = converted(x)[0]
            cropped = converted(pretrained.RECORD.preprocessing(image))[0]
        known = {index - 1: logit for index, _, _, logit in answers["float_top5"] if index}
        np.testing.assert_allclose(logits[list(known)], list(known.values()), atol=2e-3)
        assert set(known) <= set(logits.topk(5).indices.tolist())
        agree += int(logits.argmax()) == next(iter(known))
        near += int(cropped.argmax()) in known
    assert agree == len(reference) == 41
    assert near >= 39  # the usual preprocessing resizes before it crops: nearly the same pixels


@needs_weights
def test_unfolded_batch_normalisations_change_nothing_and_can_be_trained(converted, pretrained, tmp_path):
    network = copy.deepcopy(converted)
    images = pretrained.RECORD.preprocessing(list(pretrained.photos(12)))
    pretrained.unfold(network, images)
    with torch.no_grad():
        expected = converted(images)
        torch.testing.assert_close(network(images), expected, atol=2e-3, rtol=1e-3)
        # With the statistics of the very batch, training mode is evaluation mode; folded ones would give nonsense.
        in_training = network.train()
        in_training.classifier[0].eval()
        torch.testing.assert_close(in_training(images), expected, atol=5e-2, rtol=1e-2)
    write_weights(tmp_path / "mobilenet.safetensors", network.eval(), pretrained.RECORD)
    record = read_weights(tmp_path / "mobilenet.safetensors").record
    assert record == pretrained.RECORD and record.class_names[281] == "tabby"
    again = create("mobilenet_v2", num_classes=3).eval()
    loaded = load_weights(again, tmp_path / "mobilenet.safetensors", adapt_classes=True)
    assert loaded.record.num_classes == 3 and loaded.record.class_names == ()
    assert loaded.record.preprocessing == record.preprocessing
    assert loaded.notes == (
        "The classifier classifier.1 starts anew, with 3 classes: the file has 1,000.",
        "Strided layers pad as TensorFlow does, where the weights were trained.",
    )
    with torch.no_grad():
        torch.testing.assert_close(again.forward_features(images[:2]), network.forward_features(images[:2]))
