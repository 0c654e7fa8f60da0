"""Where a network looks: maps over an image of what speaks for a class, each with a check of whether it is true.

All is Striate's own code and equals pytorch-grad-cam and Captum, which the tests compare with: both together would be
more to install than this is to read.
"""

from striate.see.attribution.checking import Checks
from striate.see.attribution.classes import output_of
from striate.see.attribution.comparison import Attributions
from striate.see.attribution.methods import (
    Options,
    attribute,
    eigencam,
    gradcam,
    gradcam_plus_plus,
    integrated_gradients,
    occlusion,
    saliency,
    scorecam,
    smoothgrad,
)
from striate.see.attribution.result import Attribution

__all__ = [
    "Attribution",
    "Attributions",
    "Checks",
    "Options",
    "attribute",
    "eigencam",
    "gradcam",
    "gradcam_plus_plus",
    "integrated_gradients",
    "occlusion",
    "output_of",
    "saliency",
    "scorecam",
    "smoothgrad",
]
