"""What pretrained weights are worth: probe, fine-tuning and fresh weights on the same images with the same epochs.

`python -m benchmarks.transfer WEIGHTS.safetensors` takes the weights that `python -m benchmarks.pretrained` writes, and
CIFAR-10 as it lies in `../shared/data`: 500 training images, 50 a class, and 1,000 test images, enlarged to 96 × 96.
It prints one line for each way to train, as a Markdown table, with three seeds where one counts, and
takes some ten minutes on two cores.
"""

from __future__ import annotations

import contextlib
import io
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from striate import zoo
from striate.cli.networks import make_model
from striate.cli.plan import Plan
from striate.cli.reading import Parts
from striate.cli.recipe import choose
from striate.data import Dataset
from striate.transfer import knn, linear_probe

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
_SIDE = 96
_EACH = {"train": 50, "test": 100}  # images of a class
_EPOCHS = 6
_SEEDS = 3


def cifar10() -> tuple[Dataset, Dataset]:
    """The first images of each class, of the first fifth of the training images and of the test images."""
    labels = np.load(DATA / "cifar10/labels.npz")
    names = tuple(map(str, labels["class_names"]))
    tiles = {"train": ("train_1.jpg", labels["y_train"][:10_000]), "test": ("test.webp", labels["y_test"])}
    found = []
    for part, (file, y) in tiles.items():
        pixels = np.asarray(Image.open(DATA / "cifar10" / file).convert("RGB"))
        images = pixels.reshape(100, 32, 100, 32, 3).swapaxes(1, 2).reshape(-1, 32, 32, 3)
        found.append(_chosen(images, y.astype(np.int64), names, _EACH[part]))
    return found[0], found[1]


def _chosen(images: np.ndarray, labels: np.ndarray, names: tuple[str, ...], each: int) -> Dataset:
    """So many of each class, enlarged."""
    first = np.concatenate([np.flatnonzero(labels == label)[:each] for label in range(len(names))])
    size = (_SIDE, _SIDE)
    enlarged = [np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BICUBIC)) for image in images[first]]
    return Dataset("CIFAR-10", np.stack(enlarged), labels[first], names)


def trained(train: Dataset, test: Dataset, weights: str | None, how: str, seed: int) -> float:
    """The accuracy of `striate train` with these settings."""
    plan = Plan("", model="mobilenet_v2", weights=weights, fine_tune=how, epochs=_EPOCHS, seed=seed)
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
    train, test = cifar10()
    pretrained, fresh = (zoo.create("mobilenet_v2", weights=given) for given in (weights, None))
    ways: dict[str, Callable[[int], float]] = {
        "20 nearest neighbours in pretrained features": lambda _: knn(pretrained, train, test, keep=False).score,
        "a linear layer on pretrained features": lambda _: linear_probe(pretrained, train, test, keep=False).score,
        "a linear layer on random features": lambda _: linear_probe(fresh, train, test, keep=False).score,
        "fine-tuned from the head down": lambda seed: trained(train, test, weights, "gradual", seed),
        "fine-tuned, the whole network at once": lambda seed: trained(train, test, weights, "all", seed),
        "from fresh weights": lambda seed: trained(train, test, None, "gradual", seed),
    }
    print("| way | test accuracy % | seconds |\n|---|---|---|")
    for name, way in ways.items():
        begin = time.perf_counter()
        found = [100 * way(seed) for seed in (range(_SEEDS) if "features" not in name else [0])]
        seconds = (time.perf_counter() - begin) / len(found)
        spread = f" ± {np.std(found):.1f}" if len(found) > 1 else ""
        print(f"| {name} | {np.mean(found):.1f}{spread} | {seconds:.0f} |", flush=True)


if __name__ == "__main__":
    main()
