"""Trainings that a test compares between one process and several; each writes what came of it to a file.

Run as `python -m tests.distributed.trainings FOLDER [NAME ...]`, by one process or by several that the environment
tells of each other, as torchrun sets it.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from striate import distributed, layers, models
from striate.callbacks import CSVLogger, EarlyStopping, ModelCheckpoint
from striate.distributed import sharding
from striate.metrics import AUC
from striate.optimizers import SGD, Adam
from striate.see import Diagnosis
from striate.train import AveragedWeights, Checkpoint, Trainer

SAMPLES, CLASSES = 43, 3  # the last batch of 8 has 3 samples: 2 and 1, or 1 each for three processes

# Adam would make large what is rounding alone: a bias before a batch normalisation has no gradient.
SYNCHRONISED: dict[str, Any] = {"sync_batch_norm": True, "optimizer": SGD(0.05, momentum=0.9)}


def data(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(SAMPLES, 6, generator=generator)
    return x, (x[:, :CLASSES].argmax(1) + torch.randint(2, (SAMPLES,), generator=generator)) % CLASSES


def dense(*inside: nn.Module) -> nn.Module:
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(6, 16), *inside, nn.ReLU(), nn.Linear(16, CLASSES))


def images() -> nn.Module:
    """A Striate model with batch normalisation."""
    torch.manual_seed(1)
    parts = [layers.Conv2D(4, 3, input_shape=(6, 6, 1)), layers.BatchNormalization(), layers.Flatten(), layers.Dense(3)]
    return models.Sequential(parts)


def pictures() -> tuple[torch.Tensor, torch.Tensor]:
    x, y = data()
    return (x[:, :, None] * x[:, None, :])[..., None], y


class Idle(nn.Module):
    """Has a weight that takes no part, and one whose output has no loss."""

    def __init__(self) -> None:
        super().__init__()
        self.used, self.idle, self.aside = nn.Linear(6, 3), nn.Linear(2, 2), nn.Linear(6, 2)
        self.output_names = ["first", "second"]

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return self.used(x), self.aside(x)


def result(trainer: Trainer, history: Any, **more: Any) -> dict[str, Any]:
    weights = distributed.whole_state(trainer.module)
    return {"history": history.history, "weights": {key: value.tolist() for key, value in weights.items()}, **more}


def train(module: nn.Module, *xy: Any, optimizer: Any = "adam", loss: Any = "cross_entropy", **options: Any) -> Any:
    made = {
        key: options.pop(key) for key in ("accumulate", "shard", "sync_batch_norm", "loss_weights") if key in options
    }
    metrics = options.pop("metrics", ["accuracy"])
    trainer = Trainer(module, optimizer, loss, metrics=metrics, device="cpu", **made)
    options = {"epochs": 3, "batch_size": 8, "seed": 5, "verbose": 0, **options}
    return trainer, trainer.fit(*xy, **options)


def plain(folder: Path) -> dict[str, Any]:
    """Uneven last batches, class weights, momentum, validation, evaluation and prediction."""
    x, y = data()
    trainer, history = train(
        dense(),
        x,
        y,
        optimizer=SGD(0.1, momentum=0.9),
        validation_data=data(1),
        class_weight="balanced",
    )
    evaluated = trainer.evaluate(*data(2), batch_size=10, verbose=0, return_dict=True)
    return result(trainer, history, evaluated=evaluated, predicted=trainer.predict(x, batch_size=4).tolist())


def adam(folder: Path) -> dict[str, Any]:
    """Clipping, averaged weights, early stopping, the files of callbacks."""
    average, stop = AveragedWeights(0.8), EarlyStopping("val_loss", patience=9, restore_best_weights=True)
    writers = [CSVLogger(folder / "history.csv"), ModelCheckpoint(str(folder / "weights"), save_weights_only=True)]
    trainer, history = train(
        dense(),
        *data(),
        optimizer=Adam(0.01, global_clipnorm=0.5),
        validation_data=data(1),
        callbacks=[average, stop, *writers],
    )
    return result(trainer, history)


def pieces(folder: Path) -> dict[str, Any]:
    """Batches in pieces."""
    return result(*train(dense(), *data(), accumulate=3))


def ignored(folder: Path) -> dict[str, Any]:
    """A mean that is not over samples: classes are weighed, and labels left out, of some parts all."""
    x, y = data()
    y[torch.arange(SAMPLES) % 5 < 2] = -100
    loss = nn.CrossEntropyLoss(weight=torch.tensor([0.2, 1.0, 3.0]))
    return result(*train(dense(), x, y, loss=loss, metrics=None, shuffle=False, validation_data=(x, y)))


def ranked(folder: Path) -> dict[str, Any]:
    """A metric that keeps all predictions."""
    x, y = data()
    module = nn.Sequential(dense(), nn.Linear(CLASSES, 1), nn.Sigmoid())
    metrics = [AUC(num_thresholds=None), "auc", "precision", "f1"]
    for metric in metrics[:1]:
        metric.name = "exact_auc"
    history = train(module, x, (y == 1).float()[:, None], loss="binary_crossentropy", metrics=metrics)
    return result(*history)


def looked(folder: Path) -> dict[str, Any]:
    """A diagnosis, whose record the first process writes."""
    diagnosis = Diagnosis(every=4, file=folder / "diagnosis.json")
    return result(*train(dense(), *data(), callbacks=[diagnosis]), record=asdict(diagnosis.record))


def idle(folder: Path) -> dict[str, Any]:
    """Weights without a gradient."""
    x, y = data()
    return result(*train(Idle(), x, [y, y], loss=["cross_entropy", None], metrics=[["accuracy"], None]))


def normal(folder: Path) -> dict[str, Any]:
    """Batch normalisation over the batches of all processes, torch's; in pieces too small for all."""
    return result(
        *train(
            dense(nn.Sequential(nn.BatchNorm1d(16), nn.ReLU(), nn.BatchNorm1d(16, affine=False))),
            *data(),
            **SYNCHRONISED,
            validation_data=data(1),
        )
    )


def layer(folder: Path) -> dict[str, Any]:
    """The same of Striate's layer."""
    x, y = pictures()
    return result(*train(images(), x, y, **SYNCHRONISED, validation_data=(x, y)))


def loader(folder: Path) -> dict[str, Any]:
    """A loader of the user's, in its own order."""
    return result(*train(dense(), DataLoader(TensorDataset(*data()), batch_size=8)))


def sharded(folder: Path) -> dict[str, Any]:
    """Weights in parts, with clipping, an accumulated batch, a checkpoint and its resumption."""
    sharding._UNIT = 10  # several units in a small model

    def go_on(**options: Any) -> Any:
        optimizer = Adam(0.01, global_clipnorm=0.5, weight_decay=0.1)
        callbacks = [AveragedWeights(0.8)]
        return train(
            dense(nn.LayerNorm(16)),
            *data(),
            optimizer=optimizer,
            shard=True,
            accumulate=2,
            validation_data=data(1),
            callbacks=callbacks,
            **options,
        )

    go_on(epochs=2, checkpoint=Checkpoint(folder / "sharded", every_steps=4))
    torch.manual_seed(77)
    trainer, history = go_on(epochs=3, resume=sorted((folder / "sharded").iterdir())[-2])
    sizes = [
        parameter.to_local().numel() for parameter in trainer.module.parameters() if hasattr(parameter, "to_local")
    ]
    return result(trainer, history, held=sum(sizes), predicted=trainer.predict(data()[0]).tolist())


def again(folder: Path) -> dict[str, Any]:
    """Goes on within an epoch, with dropout, momentum and an exact metric: whether it ends in the same bits."""

    def fit(**options: Any) -> Any:
        metrics = [AUC(num_thresholds=None), "accuracy"]
        x, y = (part[:40] for part in data())  # torch's batch normalisation needs two samples in each process
        module = nn.Sequential(dense(nn.Dropout(0.3), nn.BatchNorm1d(16)), nn.Linear(CLASSES, 1), nn.Sigmoid())
        average = AveragedWeights(0.8)
        y = (y == 1).float()[:, None]
        return train(module, x, y, loss="binary_crossentropy", metrics=metrics, callbacks=[average], **options)

    whole = result(*fit(checkpoint=Checkpoint(folder, every_steps=1, keep=99)))
    return {"same": whole == result(*fit(resume=folder / "step-00000009.safetensors"))}


def handed(folder: Path) -> dict[str, Any]:
    """A training whose checkpoints another number of processes takes up."""
    place = folder.parent / f"handed-by-{distributed.world().size}"
    return result(*train(dense(), *data(), checkpoint=Checkpoint(place, every_steps=1, keep=99)))


def taken(folder: Path) -> dict[str, Any]:
    """The same, from within an epoch of it on."""
    other = 3 - distributed.world().size
    return result(*train(dense(), *data(), resume=folder.parent / f"handed-by-{other}" / "step-00000009.safetensors"))


def taken_in_parts(folder: Path) -> dict[str, Any]:
    """The same, with the weights in parts."""
    place = folder.parent / "handed-by-1" / "step-00000009.safetensors"
    return result(*train(dense(), *data(), shard=True, resume=place))


def main(folder: Path, names: list[str]) -> None:
    known: dict[str, Callable[[Path], dict[str, Any]]] = {name: globals()[name] for name in names}
    world = distributed.join()
    for name, training in known.items():
        place = folder / name
        place.mkdir(exist_ok=True)
        (folder / f"{name}-{world.rank}-of-{world.size}.json").write_text(json.dumps(training(place)))
    distributed.leave()


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
