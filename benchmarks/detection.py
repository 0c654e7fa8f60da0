"""Whether the detector can learn a few photographs by heart: the 41 of COCO in ../shared/data/coco_cc_by.

    python -m benchmarks.detection --epochs 100

It is tested on the images it was trained on, so the numbers say that boxes, loss, decoding and metric fit together on
photographs with 57 classes of objects of all sizes, and nothing about new images. 60 epochs at 192 pixels, with a
learning rate of 0.002, took 8 minutes on one core: AP 0.246, AP50 0.383; 0.604 for large objects, 0.011 for small ones,
which are 10 pixels wide or less at this size.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import torch

import striate
from striate import zoo
from striate.data.annotated import load_detection
from striate.data.augment import WithBoxes
from striate.detection import DetectionLoss, DetectionSheet, Detector, detect, mean_average_precision, truth_of
from striate.optimizers import AdamW
from striate.schedules import OneCycle

PHOTOGRAPHS = Path(__file__).parents[2] / "shared" / "data" / "coco_cc_by"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--backbone", default="resnet18")
    parser.add_argument("--size", type=int, default=256, help="of the images, which are squares")
    parser.add_argument("--epochs", type=int, default=100)
    parser.add_argument("--learning-rate", type=float, default=0.001)
    parser.add_argument("--sheet", help="a PNG of what is found")
    asked = parser.parse_args()
    data = load_detection(PHOTOGRAPHS)
    fitted = data.resized(asked.size)
    torch.manual_seed(0)
    size = (asked.size, asked.size)
    detector = Detector(zoo.create(asked.backbone), len(data.class_names), size, width=128, depth=2)
    begin = time.perf_counter()
    striate.fit(
        detector,
        fitted.images,
        fitted.targets(),
        loss=DetectionLoss(detector.image_size, detector.strides),
        optimizer=AdamW(learning_rate=OneCycle(asked.learning_rate, asked.epochs * 6)),
        epochs=asked.epochs,
        batch_size=8,
        augmentation=WithBoxes(["flip"]),
        seed=0,
        verbose=2,
    )
    print(f"{time.perf_counter() - begin:.0f} s")
    found = detect(detector, data.images, threshold=0.05)
    print(mean_average_precision(found, truth_of(data), data.class_names))
    if asked.sheet:
        few = range(0, 36, 4)
        shown = detect(detector, [data.images[index] for index in few])
        truth = truth_of(data)
        sheet = DetectionSheet(
            [data.images[index] for index in few], shown, data.class_names, [truth[index] for index in few]
        )
        sheet.save(asked.sheet)


if __name__ == "__main__":
    main()
