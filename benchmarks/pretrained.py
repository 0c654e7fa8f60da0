"""ImageNet weights for `mobilenet_v2` from Google's TensorFlow ones: `python -m benchmarks.pretrained OUT.safetensors`.

The input, `mobilenet_v2_1.0_224_imagenet.npz`, lies in `../shared/data/pretrained`, beside its source and licence: the
weights of each layer as bytes with a scale and a zero point, and biases. The network was trained to be quantised, its
batch normalisations are folded into the convolutions, and there is one class more than in ImageNet, for the background.

What is written has torchvision's names and the 1,000 classes. Batch normalisations that change nothing would be wrong
as soon as they were trained, so each gets the mean and variance that it sees on photographs, and the weight and bias
that undo them: outputs stay as they are in evaluation mode, and nearly so in training mode.
"""

from __future__ import annotations

import sys
import zipfile
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from striate.zoo import create
from striate.zoo.padding import tf_same_padding
from striate.zoo.preprocessing import Preprocessing
from striate.zoo.weights import WeightsRecord, write_weights
from striate.zoo.weights.records import imagenet_classes

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
RECORD = WeightsRecord(
    architecture="mobilenet_v2",
    preprocessing=Preprocessing((224, 224), 256, mean=(128 / 255,) * 3, std=(128 / 255,) * 3),
    num_classes=1000,
    class_names=imagenet_classes(),
    padding="tf_same",
    licence="Apache-2.0",
    source="github.com/google-coral/test_data, mobilenet_v2_1.0_224_quant.tflite",
)
_PHOTOS = 64


def tensors(path: Path) -> dict[str, Tensor]:
    """The convolutions and the classifier, with a bias each, by torchvision's names of their layers."""
    with np.load(path) as file:
        found = {}
        for layer in {name.rpartition(".")[0] for name in file if name.endswith(".bias")}:
            quantised = file[f"{layer}.weight.q"].astype(np.float32)
            weight = (quantised - file[f"{layer}.weight.zero_point"]) * file[f"{layer}.weight.scale"]
            found[f"{layer}.weight"] = torch.from_numpy(weight.astype(np.float32))
            found[f"{layer}.bias"] = torch.from_numpy(file[f"{layer}.bias"].astype(np.float32))
    return found


def convert(folded: dict[str, Tensor]) -> nn.Module:
    """The network, in evaluation mode, with batch normalisations that only add the biases."""
    network = create("mobilenet_v2").eval()
    layers = dict(network.named_modules())
    state = {}
    for path, layer in layers.items():
        if isinstance(layer, nn.Conv2d):
            state[f"{path}.weight"] = folded[f"{path}.weight"]
            head, _, number = path.rpartition(".")
            norm = f"{head}.{int(number) + 1}"
            state[f"{norm}.bias"] = folded[f"{path}.bias"]
            state[f"{norm}.weight"] = torch.ones_like(folded[f"{path}.bias"])
            state[f"{norm}.running_mean"] = torch.zeros_like(folded[f"{path}.bias"])
            state[f"{norm}.running_var"] = torch.full_like(folded[f"{path}.bias"], 1 - layers[norm].eps)
    for part in ("weight", "bias"):  # the classifier, which was a convolution, without the background
        state[f"classifier.1.{part}"] = folded[f"classifier.1.{part}"].reshape(1001, -1).squeeze(1)[1:]
    network.load_state_dict({**network.state_dict(), **state})
    tf_same_padding(network)
    return network


def photos(count: int = _PHOTOS) -> Iterable[Image.Image]:
    """Photographs of Flickr8k."""
    with zipfile.ZipFile(DATA / "flickr8k" / "images_train.zip") as archive:
        for name in sorted(archive.namelist())[:count]:
            with archive.open(name) as file:
                yield Image.open(file).convert("RGB")


@torch.no_grad()
def unfold(network: nn.Module, images: Tensor) -> None:
    """Give each batch normalisation the statistics of what it sees, and the weight and bias that undo them."""
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]

    def measure(norm: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        variance, mean = torch.var_mean(inputs[0], dim=(0, 2, 3))
        norm.bias += mean
        norm.running_mean.copy_(mean)
        norm.running_var.copy_(variance)
        norm.weight.copy_((variance + norm.eps).sqrt())

    hooks = [norm.register_forward_pre_hook(measure) for norm in norms]
    network(images)
    for hook in hooks:
        hook.remove()


def main(out: str) -> None:
    network = convert(tensors(DATA / "pretrained" / "mobilenet_v2_1.0_224_imagenet.npz"))
    unfold(network, RECORD.preprocessing(list(photos())))
    write_weights(out, network, RECORD)
    print(f"{out}: {RECORD.architecture}, {RECORD.licence}, {RECORD.preprocessing.describe()}")


if __name__ == "__main__":
    main(*sys.argv[1:])
