"""Class activation maps: a layer's maps, weighted by what each means to the class, summed and laid over the image.

Channels are weighted by the mean of their gradient (Grad-CAM, Selvaraju et al. 2017, arXiv:1610.02391); by their
positive gradients, those of several instances alike (Grad-CAM++, Chattopadhay et al. 2018, arXiv:1710.11063); by the
score of the image masked with the channel (Score-CAM, Wang et al. 2020, arXiv:1910.01279); or the maps are projected on
their first principal component, whatever the class (Eigen-CAM, Muhammad and Yeasin 2020, arXiv:2008.00299).
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from striate.see.attribution.subject import Subject, gradients
from striate.see.attribution.target_layer import TargetLayer
from striate.see.watching import watched


def gradcam(subject: Subject, layer: TargetLayer) -> Tensor:
    """Maps weighted by the mean of their gradient."""
    maps, gradient = _maps_and_gradient(subject, layer)
    return _on_image((gradient.mean((2, 3), keepdim=True) * maps).sum(1), subject)


def gradcam_plus_plus(subject: Subject, layer: TargetLayer) -> Tensor:
    """Maps weighted by their positive gradients: equation 19 of the paper, for the exponential of the score."""
    maps, gradient = _maps_and_gradient(subject, layer)
    # The epsilon is the one of pytorch-grad-cam, and decides where gradients are tiny.
    alike = gradient**2 / (2 * gradient**2 + maps.sum((2, 3), keepdim=True) * gradient**3 + 1e-6)
    weights = (gradient.relu() * alike).sum((2, 3), keepdim=True)
    return _on_image((weights * maps).sum(1), subject)


def scorecam(subject: Subject, layer: TargetLayer) -> Tensor:
    """Maps weighted by the softmax, over channels, of the score of the image masked with each."""
    with torch.no_grad():
        maps = _maps(subject, layer)
        scores = torch.empty(maps.shape[1], dtype=maps.dtype)

        def masked(channels: Tensor) -> Tensor:
            masks = interpolate(maps[:, channels], subject.size, mode="bilinear", align_corners=True)[0, :, None]
            return subject.image * _from_0_to_1(masks).to(subject.image)

        for channels, batch in subject.in_batches(maps.shape[1], masked, subject.scores):
            scores[channels] = batch.cpu()
        weights = scores.softmax(0).to(maps.device)
        return _on_image((weights[:, None, None] * maps[0]).sum(0, keepdim=True), subject)


def eigencam(subject: Subject, layer: TargetLayer) -> Tensor:
    """The projection of the maps on their first principal component."""
    with torch.no_grad():
        maps = _maps(subject, layer)
        positions = maps[0].flatten(1).T  # (positions, channels)
        left, lengths, _ = torch.linalg.svd(positions - positions.mean(0), full_matrices=False)
        projection = left[:, 0] * lengths[0]
        if -projection.min() > projection.max():  # a component has no sign of its own; the sharper side is the object
            projection = -projection
        return _on_image(projection.reshape(1, *layer.grid), subject)


def _maps(subject: Subject, layer: TargetLayer) -> Tensor:
    with watched(subject.module, [layer.path]) as outputs:
        subject.outputs(subject.image)
    return _precise(layer.maps(outputs[layer.path][-1]))


def _maps_and_gradient(subject: Subject, layer: TargetLayer) -> tuple[Tensor, Tensor]:
    with watched(subject.module, [layer.path]) as outputs:
        score = subject.scores(subject.image.detach().requires_grad_()).sum()
    output = outputs[layer.path][-1]
    gradient = gradients(score, output)
    return _precise(layer.maps(output.detach())), _precise(layer.maps(gradient))


def _precise(maps: Tensor) -> Tensor:
    return maps.to(torch.promote_types(maps.dtype, torch.float32))


def _on_image(cam: Tensor, subject: Subject) -> Tensor:
    """What speaks for the class, from 0 to 1, at the size of the image."""
    cam = interpolate(_from_0_to_1(cam.relu())[None], subject.size, mode="bilinear", align_corners=False)
    return _from_0_to_1(cam[0])[0]


def _from_0_to_1(maps: Tensor) -> Tensor:
    """Each map stretched; one that is the same everywhere becomes 0."""
    least, most = maps.amin((-2, -1), keepdim=True), maps.amax((-2, -1), keepdim=True)
    return (maps - least) / (most - least).clamp_min(torch.finfo(maps.dtype).tiny)
