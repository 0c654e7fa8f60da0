"""What a network does, in numbers and pictures, for any torch module."""

from striate.see.attribution import (
    Attribution,
    Attributions,
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
from striate.see.classic import Gallery, gallery
from striate.see.convolution import Convolved, convolve
from striate.see.diagnosis import Diagnosis, Finding, Findings
from striate.see.field import Field, receptive_field
from striate.see.gating import Gates, recurrent
from striate.see.images import as_batch, to_picture
from striate.see.kernels import Filters, filters
from striate.see.looking import AttentionWeights, attention
from striate.see.maps import FeatureMaps, feature_maps
from striate.see.maximizing import Maximized, maximize
from striate.see.patches import TopPatches, top_patches
from striate.see.pooling import Pooled, pool
from striate.see.responses import Firing, firing
from striate.see.shifting import Shift, shift
from striate.see.tracing import Trace, trace

__all__ = [
    "AttentionWeights",
    "Attribution",
    "Attributions",
    "Convolved",
    "Diagnosis",
    "FeatureMaps",
    "Field",
    "Filters",
    "Finding",
    "Findings",
    "Firing",
    "Gallery",
    "Gates",
    "Maximized",
    "Pooled",
    "Shift",
    "TopPatches",
    "Trace",
    "as_batch",
    "attention",
    "attribute",
    "convolve",
    "eigencam",
    "feature_maps",
    "filters",
    "firing",
    "gallery",
    "gradcam",
    "gradcam_plus_plus",
    "integrated_gradients",
    "maximize",
    "occlusion",
    "pool",
    "receptive_field",
    "recurrent",
    "saliency",
    "scorecam",
    "shift",
    "smoothgrad",
    "to_picture",
    "top_patches",
    "trace",
]
