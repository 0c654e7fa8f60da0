"""Arrays, image folders, lists, boxes, masks, drawn scenes and more to data sets, and data sets to batches.

Names are imported when they are first used: the processes that decode images need no torch, and start at once.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

_NAMES = {
    "Batch": "batches",
    "Batches": "batches",
    "BoxDataset": "annotated",
    "Dataset": "dataset",
    "LoaderBatches": "batches",
    "OnDisk": "on_disk",
    "SegmentationDataset": "annotated",
    "SkippedFile": "dataset",
    "Task": "dataset",
    "as_batches": "batches",
    "augmentation_picture": "pictures",
    "balanced_order": "sampling",
    "class_weights_to_samples": "class_weights",
    "embedded": "sources",
    "first_batch_picture": "pictures",
    "from_arrays": "arrays",
    "leakage_notes": "leakage",
    "load": "sources",
    "load_detection": "annotated",
    "load_folder": "folder",
    "load_image": "image",
    "load_list": "lists",
    "load_segmentation": "annotated",
    "read_idx": "idx",
    "shared_samples": "leakage",
    "split_validation": "batches",
}
__all__ = [*_NAMES]

if TYPE_CHECKING:
    from striate.data.annotated import BoxDataset as BoxDataset
    from striate.data.annotated import SegmentationDataset as SegmentationDataset
    from striate.data.annotated import load_detection as load_detection
    from striate.data.annotated import load_segmentation as load_segmentation
    from striate.data.arrays import from_arrays as from_arrays
    from striate.data.batches import Batch as Batch
    from striate.data.batches import Batches as Batches
    from striate.data.batches import LoaderBatches as LoaderBatches
    from striate.data.batches import as_batches as as_batches
    from striate.data.batches import split_validation as split_validation
    from striate.data.class_weights import class_weights_to_samples as class_weights_to_samples
    from striate.data.dataset import Dataset as Dataset
    from striate.data.dataset import SkippedFile as SkippedFile
    from striate.data.dataset import Task as Task
    from striate.data.folder import load_folder as load_folder
    from striate.data.idx import read_idx as read_idx
    from striate.data.image import load_image as load_image
    from striate.data.leakage import leakage_notes as leakage_notes
    from striate.data.leakage import shared_samples as shared_samples
    from striate.data.lists import load_list as load_list
    from striate.data.on_disk import OnDisk as OnDisk
    from striate.data.pictures import augmentation_picture as augmentation_picture
    from striate.data.pictures import first_batch_picture as first_batch_picture
    from striate.data.sampling import balanced_order as balanced_order
    from striate.data.sources import embedded as embedded
    from striate.data.sources import load as load


def __getattr__(name: str) -> Any:
    if name in ("augment", "shapes"):
        return importlib.import_module(f"striate.data.{name}")
    if name in _NAMES:
        return getattr(importlib.import_module(f"striate.data.{_NAMES[name]}"), name)
    raise AttributeError(f"module 'striate.data' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
