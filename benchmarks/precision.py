"""Does bfloat16 cost accuracy? `python -m benchmarks.precision DATA[=EPOCHS] ...`

The network `cnn` is trained on each set in float32 and in bfloat16, once for each seed, which both precisions share:
the same first weights, order of samples and dropout, Adam under one cycle. The accuracy is that on the test part. DATA
is what `striate train` takes: `digits`, a folder of MNIST's files, an `.npz` file. What is printed is Markdown.
"""

from __future__ import annotations

import argparse
import math
import statistics
import sys
from pathlib import Path

import torch

from striate import data
from striate.data import Dataset
from striate.models import small
from striate.optimizers import Adam
from striate.schedules import OneCycle
from striate.train import Trainer

PRECISIONS = ("float32", "bf16")
RATE = 3e-3
BATCH_SIZE = 128


def accuracy(train: Dataset, test: Dataset, precision: str, epochs: int, seed: int) -> float:
    """The share of the test part that a network got right, in percent."""
    torch.manual_seed(seed)
    model = small.build("cnn", train.x.shape[1:], len(train.class_names), rescale=True)
    schedule = OneCycle(RATE, epochs * math.ceil(len(train) / BATCH_SIZE))
    trainer = Trainer(
        model, Adam(schedule), "sparse_categorical_crossentropy", metrics=["accuracy"], precision=precision
    )
    trainer.fit(train.x, train.y, batch_size=BATCH_SIZE, epochs=epochs, seed=seed, verbose=0)
    return 100 * trainer.evaluate(test.x, test.y, batch_size=512, verbose=0, return_dict=True)["accuracy"]


def row(name: str, results: dict[str, list[float]], epochs: int) -> str:
    """Means with their standard errors, and the difference in units of its own."""
    means = {precision: statistics.mean(values) for precision, values in results.items()}
    errors = {precision: statistics.stdev(values) / math.sqrt(len(values)) for precision, values in results.items()}
    difference, error = means["bf16"] - means["float32"], math.hypot(*errors.values())
    cells = [f"{means[precision]:.2f} ± {errors[precision]:.2f}" for precision in PRECISIONS]
    return f"| {name} | {epochs} | {' | '.join(cells)} | {difference:+.2f} | {abs(difference) / error:.1f} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("sets", nargs="+", metavar="DATA[=EPOCHS]")
    parser.add_argument("--seeds", type=int, default=5)
    asked = parser.parse_args()
    print("| data | epochs | float32, % right | bf16, % right | difference | in standard errors |")
    print("|---|---|---|---|---|---|", flush=True)
    for item in asked.sets:
        source, _, number = item.partition("=")
        epochs = int(number or 3)
        train, test = data.load(source).split(0.2, 0)
        results: dict[str, list[float]] = {precision: [] for precision in PRECISIONS}
        for seed in range(asked.seeds):
            for precision in PRECISIONS:
                results[precision].append(accuracy(train, test, precision, epochs, seed))
            print(f"{source}, seed {seed}: {[values[-1] for values in results.values()]}", file=sys.stderr, flush=True)
        print(row(Path(source).stem, results, epochs), flush=True)


if __name__ == "__main__":
    main()
