"""From a pretrained backbone to a task of one's own: features, probes, and fine-tuning that thaws part after part."""

from striate.transfer.features import FeatureExtractor, features
from striate.transfer.network import network
from striate.transfer.probing import Probe, knn, linear_probe
from striate.transfer.unfreezing import GradualUnfreezing, parts, rate_scales

__all__ = [
    "FeatureExtractor",
    "GradualUnfreezing",
    "Probe",
    "features",
    "knn",
    "linear_probe",
    "network",
    "parts",
    "rate_scales",
]
