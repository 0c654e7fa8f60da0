"""What pretrained weights are worth: probe, fine-tuning and fresh weights on the same images with the same epochs.

`python -m benchmarks.transfer WEIGHTS.safetensors` takes the weights that `python -m benchmarks.pretrained` writes, and
CIFAR-10 and Fashion-MNIST as they lie in `../shared/data`: 1,000 training images of each, 100 a class, and 1,000 test
images, enlarged to 96 × 96. It prints one line for each way to train, as a Markdown table; a run takes minutes.
"""

from __future__ import annotations

import contextlib
import gzip
import io
import sys
import time
from pathlib import Path

import numpy as np
from PIL import Image

from striate import zoo
from striate.cli.plan import Plan
from striate.cli.reading import Parts
from striate.cli.recipe import choose
from striate.cli.networks import make_model
from striate.data import Dataset
from striate.transfer import features, knn, linear_probe

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
_SIDE = 96
_EACH = 100  # images of a class
_EPOCHS = 6
_ARTICLES = ("T-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "boot")


def cifar10() -> tuple[Dataset, Dataset]:
    """Of the first fifth of the training images, and of the test images."""
    labels = np.load(DATA / "cifar10/labels.npz")
    names = tuple(map(str, labels["class_names"]))
    tiles = {"train": ("train_1.jpg", labels["y_train"][:10_000]), "test": ("test.webp", labels["y_test"])}
    found = []
    for part, (file, y) in tiles.items():
        pixels = np.asarray(Image.open(DATA / "cifar10" / file).convert("RGB"))
        images = pixels.reshape(100, 32, 100, 32, 3).swapaxes(1, 2).reshape(-1, 32, 32, 3)
        found.append(_chosen(f"CIFAR-10 {part}", images, y.astype(np.int64), names))
    return found[0], found[1]


def fashion_mnist() -> tuple[Dataset, Dataset]:
    """Of the training and of the test images, in three equal channels."""
    found = []
    for part, prefix in (("train", "train"), ("test", "t10k")):
        raw = [
            gzip.decompress((DATA / f"fashion-mnist/{prefix}-{kind}-ubyte.gz").read_bytes())
            for kind in ("images-idx3", "labels-idx1")
        ]
        images = np.frombuffer(raw[0], np.uint8, offset=16).reshape(-1, 28, 28, 1)
        labels = np.frombuffer(raw[1], np.uint8, offset=8).astype(np.int64)
        found.append(_chosen(f"Fashion-MNIST {part}", np.repeat(images, 3, axis=3), labels, _ARTICLES))
    return found[0], found[1]


def _chosen(name: str, images: np.ndarray, labels: np.ndarray, names: tuple[str, ...]) -> Dataset:
    """The first images of each class, enlarged."""
    first = np.concatenate([np.flatnonzero(labels == label)[:_EACH] for label in range(len(names))])
    size = (_SIDE, _SIDE)
    enlarged = [np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BICUBIC)) for image in images[first]]
    return Dataset(name, np.stack(enlarged), labels[first], names)


def trained(train: Dataset, test: Dataset, weights: str | None, how: str, seed: int) -> float:
    """The accuracy of `striate train` with these settings."""
    plan = Plan("", model="mobilenet_v2", weights=weights, fine_tune=how, epochs=_EPOCHS, seed=seed)
    import torch

    torch.manual_seed(seed)
    with contextlib.redirect_stdout(io.StringIO()):
        model = make_model(plan, train)
        recipe = choose(plan, Parts(train, train, None, test), model, "probabilities")
        if recipe.transfer is not None:
            recipe.transfer.fit_head(train, None)
        trainer = recipe.trainer(model)
        data = recipe.data(Parts(train, train, None, test))
        trainer.fit(**data, verbose=0, callbacks=recipe.callbacks())
    return float((trainer.predict(test.x).argmax(1) == test.y).mean())


def main() -> None:
    weights = sys.argv[1]
    seeds = range(int(sys.argv[2]) if len(sys.argv) > 2 else 1)
    print("| data | way | accuracy % | seconds |\n|---|---|---|---|")
    for read in (cifar10, fashion_mnist):
        train, test = read()
        backbone = zoo.create("mobilenet_v2", weights=weights)
        fresh = zoo.create("mobilenet_v2")
        begin = time.perf_counter()
        for data in (train, test):
            features(backbone, data.x)
        both = time.perf_counter() - begin
        rows = {
            "20 nearest neighbours, pretrained features": lambda seed: knn(backbone, train, test).score,  # noqa: B023
            "linear probe, pretrained features": lambda seed: linear_probe(backbone, train, test).score,  # noqa: B023
            "linear probe, random features": lambda seed: linear_probe(fresh, train, test).score,  # noqa: B023
            "fine-tuned from the head down": lambda seed: trained(train, test, weights, "gradual", seed),  # noqa: B023
            "fine-tuned, the whole network": lambda seed: trained(train, test, weights, "all", seed),  # noqa: B023
            "from fresh weights": lambda seed: trained(train, test, None, "gradual", seed),  # noqa: B023
        }
        for name, way in rows.items():
            begin = time.perf_counter()
            found = [100 * way(seed) for seed in (seeds if "features" not in name else [0])]
            took = (time.perf_counter() - begin) / len(found) + (both if "pretrained" in name else 0)
            spread = f" ± {np.std(found):.1f}" if len(found) > 1 else ""
            print(f"| {train.name.rpartition(' ')[0]} | {name} | {np.mean(found):.1f}{spread} | {took:.0f} |", flush=True)


if __name__ == "__main__":
    main()
