"""Training, for any torch module."""

from striate.train.augmented_prediction import predict_augmented
from striate.train.averaging import AveragedWeights
from striate.train.checkpoint import Checkpoint
from striate.train.limits import TimeBudget, UntilConverged
from striate.train.rate_finder import find_learning_rate
from striate.train.state import History
from striate.train.tracking import Tracking
from striate.train.trainer import Trainer, fit

__all__ = [
    "AveragedWeights",
    "Checkpoint",
    "History",
    "TimeBudget",
    "Tracking",
    "Trainer",
    "UntilConverged",
    "find_learning_rate",
    "fit",
    "predict_augmented",
]
