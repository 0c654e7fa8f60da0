"""Faces of people whom the training never saw, on the ORL set: `python -m benchmarks.faces [WEIGHTS.safetensors]`.

Persons 1 to 30 are trained on, 31 to 40 tested on: all pairs of their 100 images, and identification with one enrolled
image of each. Beside plain pixels, a small network is trained from nothing, and a pretrained one, if its weights are
given (`python -m benchmarks.pretrained`), is used as it is and fine-tuned. What is printed is a table in Markdown.

The images lie in `../shared/data/orl_faces`. Credit: Olivetti Research Laboratory; F. Samaria and A. Harter,
"Parameterisation of a stochastic model for human face identification", 2nd IEEE Workshop on Applications of Computer
Vision, Sarasota, 1994.
"""

from __future__ import annotations

import io
import sys
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from striate import optimizers, zoo
from striate.data import Dataset
from striate.data.augment import Augmentation, ColorJitter, Flip, Pipeline, Rotate, Scale, Translate
from striate.data.image import pixels
from striate.faces import (
    ArcFaceLoss,
    Embedder,
    PeopleBatches,
    Recognizer,
    TripletLoss,
    embed,
    of_people,
    rank1_with_one_image,
    verify,
)
from striate.schedules import OneCycle
from striate.train import Trainer
from striate.transfer import features, parts, rate_scales
from striate.zoo.resnet import BasicBlock, ResNet

ARCHIVE = Path(__file__).resolve().parents[2] / "shared" / "data" / "orl_faces" / "att_faces.zip"
SIZE = (56, 46)
_PEOPLE, _IMAGES, _TRAINED = 40, 10, 30
_SEEDS = range(3)


def orl(size: tuple[int, int] = SIZE, channels: int = 1) -> tuple[Dataset, Dataset]:
    """The people to train on and those to test on."""
    names = [f"s{person}" for person in range(1, _PEOPLE + 1)]
    with zipfile.ZipFile(ARCHIVE) as archive:
        files = [archive.read(f"{name}/{image}.pgm") for name in names for image in range(1, _IMAGES + 1)]
    x = np.stack([pixels(Image.open(io.BytesIO(file)), size, channels) for file in files])
    data = Dataset("ORL faces", x, np.repeat(np.arange(_PEOPLE), _IMAGES), tuple(names))
    return of_people(data, names[:_TRAINED]), of_people(data, names[_TRAINED:])


def augmentation() -> Augmentation:
    """What is done to training images: they are mirrored, moved a little, and lit otherwise."""
    moves = [Translate(0.1, "edge"), Scale((0.9, 1.1), "edge"), Rotate(10, "edge")]
    return Pipeline([Flip(), *moves, ColorJitter(0.3, 0.3, 0)])


def small_embedder(seed: int = 0) -> Embedder:
    """A residual network of three blocks, 1.2 million parameters, with fresh weights."""
    torch.manual_seed(seed)
    backbone = ResNet(BasicBlock, (1, 1, 1), in_channels=1)
    backbone.preprocessing = backbone.preprocessing.for_channels(1)
    return Embedder(backbone, image_size=SIZE)


def train_arcface(embedder: Embedder, train: Dataset, epochs: int, rate: float, seed: int = 0, **options: Any) -> None:
    """Train with a direction for each person."""
    recognizer = Recognizer(embedder, len(train.class_names))
    trainer = Trainer(recognizer, _optimizer(rate, epochs * -(-len(train) // 32)), ArcFaceLoss(scale=16), **options)
    trainer.fit(train.x, train.y, epochs=epochs, augmentation=augmentation(), seed=seed, verbose=0)


def train_triplets(embedder: Embedder, train: Dataset, epochs: int, rate: float, seed: int = 0) -> None:
    """Train with the hardest triplets of eight people with four images each."""
    batches = PeopleBatches(train.x, train.y, people=8, images=4, seed=seed, augmentation=augmentation())
    trainer = Trainer(embedder, _optimizer(rate, epochs * len(batches)), TripletLoss())
    trainer.fit(batches, epochs=epochs, seed=seed, verbose=0)


def unit_length(values: np.ndarray) -> np.ndarray:
    """Rows brought to length 1."""
    flat = values.reshape(len(values), -1).astype(np.float64)
    return flat / np.linalg.norm(flat, axis=1, keepdims=True)


def _optimizer(rate: float, steps: int) -> optimizers.Optimizer:
    return optimizers.AdamW(learning_rate=OneCycle(rate, steps))


def _from_scratch(fit: Callable[..., None], epochs: int) -> Iterator[tuple[np.ndarray, float]]:
    train, test = orl()
    for seed in _SEEDS:
        embedder, begin = small_embedder(seed), time.perf_counter()
        fit(embedder, train, epochs, 1e-3, seed)
        yield embed(embedder, test.x), time.perf_counter() - begin


def _pretrained(weights: str) -> zoo.Backbone:
    return zoo.create("mobilenet_v2", weights=weights, num_classes=0)


def _frozen(weights: str) -> Iterator[tuple[np.ndarray, float]]:
    backbone = _pretrained(weights)
    begin = time.perf_counter()
    _, test = orl(backbone.preprocessing.size, 3)
    yield unit_length(features(backbone, test.x, keep=False)), time.perf_counter() - begin


def _fine_tuned(weights: str, size: tuple[int, int], epochs: int) -> Iterator[tuple[np.ndarray, float]]:
    train, test = orl(size, 3)
    for seed in _SEEDS:
        torch.manual_seed(seed)
        embedder, begin = Embedder(_pretrained(weights), image_size=size), time.perf_counter()
        scales = rate_scales(parts(embedder.backbone), 0.6, "embedder.features.backbone.")
        train_arcface(embedder, train, epochs, 1e-3, seed, rate_scales=scales)
        yield embed(embedder, test.x), time.perf_counter() - begin


def main(weights: str | None = None) -> None:
    """Print the table."""
    _, test = orl()
    centred = test.x - test.x.mean((1, 2, 3), keepdims=True)
    rows: dict[str, Iterator[tuple[np.ndarray, float]]] = {
        "pixels, cosine": iter([(unit_length(test.x), 0.0)]),
        "pixels, correlation": iter([(unit_length(centred), 0.0)]),
        "small network, ArcFace": _from_scratch(train_arcface, 30),
        "small network, triplets": _from_scratch(train_triplets, 30),
    }
    if weights is not None:
        rows["MobileNet v2, its features as they are"] = _frozen(weights)
        rows["MobileNet v2, fine-tuned with ArcFace"] = _fine_tuned(weights, (112, 92), 10)
    print("| embedding | EER | AUC | TAR at FAR 1 % | rank-1 | seconds |\n|---|---|---|---|---|---|")
    for name, made in rows.items():
        found = []
        for embeddings, seconds in made:
            result = verify(embeddings, test.y)
            rank1 = rank1_with_one_image(embeddings, test.y)
            found.append((100 * result.eer, result.auc, 100 * result.tar(0.01), 100 * rank1, seconds))
        eer, auc, tar, rank1, seconds = np.mean(found, axis=0)
        print(f"| {name} | {eer:.1f} % | {auc:.4f} | {tar:.1f} % | {rank1:.1f} % | {seconds:.0f} |", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
