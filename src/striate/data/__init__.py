"""Arrays, image folders, IDX and NPZ files to data sets, and data sets to batches."""

from striate.data.arrays import from_arrays
from striate.data.batches import Batch, Batches, LoaderBatches, as_batches, split_validation
from striate.data.class_weights import class_weights_to_samples
from striate.data.dataset import Dataset, SkippedFile, Task
from striate.data.folder import load_folder
from striate.data.idx import read_idx
from striate.data.image import load_image
from striate.data.leakage import leakage_note, shared_samples
from striate.data.lists import load_list
from striate.data.pictures import augmentation_picture, first_batch_picture
from striate.data.sampling import balanced_order
from striate.data.sources import embedded, load

__all__ = [
    "Batch",
    "Batches",
    "Dataset",
    "LoaderBatches",
    "SkippedFile",
    "Task",
    "as_batches",
    "augmentation_picture",
    "balanced_order",
    "class_weights_to_samples",
    "embedded",
    "first_batch_picture",
    "from_arrays",
    "leakage_note",
    "load",
    "load_folder",
    "load_image",
    "load_list",
    "read_idx",
    "shared_samples",
    "split_validation",
]
