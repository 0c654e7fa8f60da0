"""Published weights, and files of weights: known, fetched, read, fitted, written."""

from striate.zoo.weights.download import fetch, weights_folder
from striate.zoo.weights.fitting import Fitted, fit_weights
from striate.zoo.weights.loading import LoadedWeights, load_weights
from striate.zoo.weights.reading import WeightsFile, read_weights
from striate.zoo.weights.records import WeightsRecord, published, record, records
from striate.zoo.weights.writing import write_weights

__all__ = [
    "Fitted",
    "LoadedWeights",
    "WeightsFile",
    "WeightsRecord",
    "fetch",
    "fit_weights",
    "load_weights",
    "published",
    "read_weights",
    "record",
    "records",
    "weights_folder",
    "write_weights",
]
