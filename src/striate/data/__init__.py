"""Arrays, image folders, IDX and NPZ files to data sets, and data sets to batches."""

from striate.data.arrays import from_arrays
from striate.data.batches import Batch, Batches, LoaderBatches, as_batches, split_validation
from striate.data.class_weights import class_weights_to_samples
from striate.data.dataset import Dataset, SkippedFile, Task
from striate.data.folder import load_folder
from striate.data.idx import read_idx
from striate.data.image import load_image
from striate.data.sources import embedded, load

__all__ = [
    "Batch",
    "Batches",
    "Dataset",
    "LoaderBatches",
    "SkippedFile",
    "Task",
    "as_batches",
    "class_weights_to_samples",
    "embedded",
    "from_arrays",
    "load",
    "load_folder",
    "load_image",
    "read_idx",
    "split_validation",
]
