"""Peak memory of training and inference, before anything is trained."""

from striate.account.peak.prediction import Memory, Saving, memory, parse_size

__all__ = ["Memory", "Saving", "memory", "parse_size"]
