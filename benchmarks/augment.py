"""How fast batches are augmented, beside torchvision and kornia, where installed: `python -m benchmarks.augment`.

Every image gets its own random change. torchvision draws one change for all images it is given, so it takes them one by
one, as in a `DataLoader`; kornia takes the batch, as Striate does. The contenders take turns after a warm-up; printed
are the medians of images per second, and Striate's over theirs.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import torch

from striate.data.augment import ColorJitter, Flip, PadCrop, Pipeline, RandomResizedCrop, Rotate, Scale, Translate

REPEATS = 9
SETS = {
    "MNIST: rotate, shift, scale": ((256, 28, 28, 1), [Rotate(10), Translate(0.08), Scale((0.9, 1.1))]),
    "CIFAR: pad-crop, flip": ((256, 32, 32, 3), [PadCrop(4), Flip()]),
    "photos: crop, flip, colour": (
        (16, 224, 224, 3),
        [RandomResizedCrop((0.35, 1)), Flip(), ColorJitter(0.2, 0.2, 0.2)],
    ),
}


def torchvision_peer(name: str) -> Callable[[torch.Tensor], object]:
    """The same changes by torchvision, one image after the other."""
    library = torch.library.Library("torchvision", "FRAGMENT")
    for operator in ("nms", "qnms"):  # compiled ones, which some builds lack and none of this needs
        if not hasattr(torch.ops.torchvision, operator):
            library.define(f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    from torchvision.transforms import v2

    size, fine = 224, v2.InterpolationMode.BILINEAR
    recipes = {
        "MNIST": [v2.RandomAffine(10, (0.08, 0.08), (0.9, 1.1), interpolation=fine)],
        "CIFAR": [v2.RandomCrop(32, padding=4), v2.RandomHorizontalFlip()],
        "photos": [
            v2.RandomResizedCrop(size, (0.35, 1), antialias=False),
            v2.RandomHorizontalFlip(),
            v2.ColorJitter(0.2, 0.2, 0.2),
        ],
    }
    change = v2.Compose(recipes[name.partition(":")[0]])

    def run(x: torch.Tensor) -> torch.Tensor:
        return torch.stack([change(image) for image in x.permute(0, 3, 1, 2)])

    return run


def kornia_peer(name: str) -> Callable[[torch.Tensor], object]:
    """The same changes by kornia, on the batch."""
    import kornia.augmentation as K

    recipes = {
        "MNIST": [K.RandomAffine(10.0, (0.08, 0.08), (0.9, 1.1), p=1.0)],
        "CIFAR": [K.RandomCrop((32, 32), padding=4), K.RandomHorizontalFlip()],
        "photos": [
            K.RandomResizedCrop((224, 224), (0.35, 1.0)),
            K.RandomHorizontalFlip(),
            K.ColorJitter(0.2, 0.2, 0.2, 0.0, p=1.0),
        ],
    }
    change = K.AugmentationSequential(*recipes[name.partition(":")[0]])
    return lambda x: change(x.permute(0, 3, 1, 2).float() / 255)


def main() -> None:
    generator = torch.Generator().manual_seed(0)
    for name, (shape, steps) in SETS.items():
        x = torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)
        pipeline = Pipeline(steps)
        runs: dict[str, Callable[[torch.Tensor], object]] = {"striate": lambda x, p=pipeline: p(x, None, generator)}
        for peer, make in {"torchvision": torchvision_peer, "kornia": kornia_peer}.items():
            try:
                runs[peer] = make(name)
                runs[peer](x)
            except ImportError as error:
                print(f"{peer} is left out: {error}")
                runs.pop(peer, None)
        rates: dict[str, list[float]] = {peer: [] for peer in runs}
        for turn in range(REPEATS + 1):
            for peer, run in runs.items():
                start = time.perf_counter()
                run(x)
                if turn:
                    rates[peer].append(len(x) / (time.perf_counter() - start))
        ours = statistics.median(rates["striate"])
        for peer, measured in rates.items():
            median = statistics.median(measured)
            print(f"{name:28} {peer:12} {median:12,.0f} images per second  {ours / median:6.1f} ×")


if __name__ == "__main__":
    main()
