"""Training, for any torch module."""

from striate.train.trainer import History, Trainer, fit

__all__ = ["History", "Trainer", "fit"]
