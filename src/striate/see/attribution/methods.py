"""The methods as they are called: each makes one map, for one class on one image, and checks it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, TypedDict, Unpack

import torch
from torch import Tensor, nn

from striate._registry import suggestion
from striate.errors import ArgumentError, NotApplicableError, ShapeError, UnknownNameError
from striate.see.attribution import cams, pixels
from striate.see.attribution.checking import check
from striate.see.attribution.comparison import Attributions
from striate.see.attribution.result import Attribution
from striate.see.attribution.subject import Progress, Subject, explained
from striate.see.attribution.target_layer import TargetLayer, find_target_layer
from striate.see.images import to_picture
from striate.shapes import spread, text, times


class Options(TypedDict, total=False):
    """What every method takes beside its own.

    Attributes:
        class_names: what the classes are called, in the order of the network's outputs.
        checks: whether the map is checked, which takes some hundred runs of the network; by default it is.
        progress: called with how many images have run, and of how many, for the map and then for each of its checks.
    """

    class_names: Sequence[str] | None
    checks: bool
    progress: Progress | None


def gradcam(
    module: nn.Module, image: Any, target: int | str | None = None, layer: str | None = None, **options: Unpack[Options]
) -> Attribution:
    """Grad-CAM: the maps of a layer, weighted by the mean of their gradient (Selvaraju et al. 2017, arXiv:1610.02391).

    Args:
        module: any network that gives one score for each class; Striate's take channels last, others channels first.
        image: one image: a path, an array, a tensor or an image of Pillow.
        target: the class to explain, its index or one of `class_names`; by default the likeliest.
        layer: whose maps; by default the last layer before pooling that has several positions.
        options: `class_names`, `checks` and `progress`, see `Options`.

    Returns:
        The map, from 0 to 1 at the size of the image; what speaks against the class is 0.

    Raises:
        ArgumentError: no such class or layer, several images, or a network without maps, such as a perceptron.
        ShapeError: the network does not give one score for each class, or cannot take the image.

    Example:
        >>> _ = torch.manual_seed(0)
        >>> net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2))
        >>> found = gradcam(net, torch.rand(8, 8), target=1)
        >>> found.layer, found.grid, found.map.shape
        ('1', (6, 6), (8, 8))
    """
    return _cam("Grad-CAM", cams.gradcam, module, image, target, layer, **options)


def gradcam_plus_plus(
    module: nn.Module, image: Any, target: int | str | None = None, layer: str | None = None, **options: Unpack[Options]
) -> Attribution:
    """Grad-CAM++: the maps of a layer, weighted by their positive gradients, so that several objects of a class count
    alike (Chattopadhay et al. 2018, arXiv:1710.11063). Arguments and errors as for `gradcam`.
    """
    return _cam("Grad-CAM++", cams.gradcam_plus_plus, module, image, target, layer, **options)


def scorecam(
    module: nn.Module, image: Any, target: int | str | None = None, layer: str | None = None, **options: Unpack[Options]
) -> Attribution:
    """Score-CAM: the maps of a layer, weighted by the score of the image masked with each (Wang et al. 2020,
    arXiv:1910.01279). It needs no gradients, and one run for each channel. Arguments and errors as for `gradcam`.
    """
    return _cam("Score-CAM", cams.scorecam, module, image, target, layer, **options)


def eigencam(
    module: nn.Module, image: Any, target: int | str | None = None, layer: str | None = None, **options: Unpack[Options]
) -> Attribution:
    """Eigen-CAM: the first principal component of a layer's maps (Muhammad and Yeasin 2020, arXiv:2008.00299).

    It is the same for every class: `target` only decides what its checks measure. The sign of the component is chosen
    so that the sharper side is positive. Arguments and errors as for `gradcam`.
    """
    return _cam("Eigen-CAM", cams.eigencam, module, image, target, layer, **options)


def saliency(module: nn.Module, image: Any, target: int | str | None = None, **options: Unpack[Options]) -> Attribution:
    """Saliency: how steeply the score changes with each pixel (Simonyan et al. 2014, arXiv:1312.6034).

    Args:
        module: any network that gives one score for each class; Striate's take channels last, others channels first.
        image: one image: a path, an array, a tensor or an image of Pillow.
        target: the class to explain, its index or one of `class_names`; by default the likeliest.
        options: `class_names`, `checks` and `progress`, see `Options`.

    Returns:
        The largest absolute gradient of a pixel's channels, divided by the largest of all.

    Raises:
        ArgumentError: no such class, several images, or a network without gradients.
        ShapeError: the network does not give one score for each class, or cannot take the image.

    Example:
        >>> net = nn.Sequential(nn.Flatten(), nn.Linear(4, 1, bias=False))
        >>> _ = net[1].weight.data.copy_(torch.tensor([1.0, -2.0, 0.0, 4.0]))
        >>> saliency(net, torch.ones(2, 2), checks=False).map
        array([[0.25, 0.5 ],
               [0.  , 1.  ]], dtype=float32)
    """

    def plan(subject: Subject) -> _Plan:
        return _Plan(pixels.saliency, subject.size)

    return _attribution("Saliency", plan, module, image, target, **options)


def smoothgrad(
    module: nn.Module,
    image: Any,
    target: int | str | None = None,
    *,
    samples: int = 25,
    noise: float = 0.15,
    seed: int = 0,
    **options: Unpack[Options],
) -> Attribution:
    """SmoothGrad: `saliency` of the mean gradient of noisy copies of the image (Smilkov et al. 2017, arXiv:1706.03825).

    Args:
        module, image, target, options: as for `saliency`.
        samples: how many copies.
        noise: the standard deviation of the noise, as a share of the range of the image's values.
        seed: what the noise is drawn from.

    Returns:
        The largest absolute mean gradient of a pixel's channels, divided by the largest of all.

    Raises:
        ArgumentError, ShapeError: as for `saliency`.
    """
    (samples,) = spread(samples, 1, "samples")
    if not noise >= 0:
        raise ArgumentError(f"noise={noise!r}: expected a share of the range of the image's values, such as 0.15.")

    def plan(subject: Subject) -> _Plan:
        return _Plan(partial(pixels.smoothgrad, samples=samples, noise=noise, seed=seed), subject.size)

    return _attribution("SmoothGrad", plan, module, image, target, **options)


def integrated_gradients(
    module: nn.Module,
    image: Any,
    target: int | str | None = None,
    *,
    steps: int = 50,
    baseline: Any = 0.0,
    **options: Unpack[Options],
) -> Attribution:
    """Integrated Gradients: what each pixel adds to the score on the way from a baseline (Sundararajan et al. 2017,
    arXiv:1703.01365).

    Args:
        module, image, target, options: as for `saliency`.
        steps: at how many points of the way the gradient is taken, by the rule of Gauss and Legendre.
        baseline: the image that says nothing, or one number for all its values in the range that the network takes: 0
            is black for most networks, and the mean colour for those that take normalised images.

    Returns:
        A signed map in units of the score. Its sum is how much the score differs from that of the baseline, as far as
        the steps suffice; `note` has both numbers.

    Raises:
        ArgumentError, ShapeError: as for `saliency`; or the baseline has another shape than the image.

    Example:
        >>> net = nn.Sequential(nn.Flatten(), nn.Linear(4, 1, bias=False))
        >>> _ = net[1].weight.data.copy_(torch.tensor([1.0, -2.0, 0.0, 4.0]))
        >>> found = integrated_gradients(net, torch.tensor([[1.0, 1], [1, 3]]), checks=False)
        >>> found.map.round(4)
        array([[ 1., -2.],
               [ 0., 12.]], dtype=float32)
        >>> found.note
        'the map sums to 11, the score is 11 above that of the baseline'
    """
    (steps,) = spread(steps, 1, "steps")

    def plan(subject: Subject) -> _Plan:
        start = _baseline(subject, baseline)
        with torch.no_grad():
            above = subject.score - float(subject.scores(start))

        def note(map: Tensor) -> str:
            way = "above" if above >= 0 else "below"
            return f"the map sums to {float(map.sum()):.4g}, the score is {abs(above):.4g} {way} that of the baseline"

        make = partial(pixels.integrated_gradients, steps=steps, baseline=start)
        return _Plan(make, subject.size, unit="part of the score", note=note)

    return _attribution("Integrated Gradients", plan, module, image, target, **options)


def occlusion(
    module: nn.Module,
    image: Any,
    target: int | str | None = None,
    *,
    window: int | tuple[int, int] | None = None,
    step: int | tuple[int, int] | None = None,
    baseline: Any = 0.0,
    **options: Unpack[Options],
) -> Attribution:
    """Occlusion: how far the score falls when a window is covered (Zeiler and Fergus 2014, arXiv:1311.2901).

    Args:
        module, image, target, options: as for `saliency`. No gradients are needed.
        window: height and width of the window in pixels, or one number for both; by default an eighth of the shorter
            side.
        step: how far the window moves, down and across; by default half of the window.
        baseline: what covers, as for `integrated_gradients`.

    Returns:
        A signed map in units of the score: of each pixel, the mean fall of the score over the windows that cover it.

    Raises:
        ArgumentError: as for `saliency`; or a window larger than the image, or a step larger than the window.
        ShapeError: as for `saliency`; or the baseline has another shape than the image.
    """

    def plan(subject: Subject) -> _Plan:
        windows = _windows(subject.size, window, step)
        make = partial(pixels.occlusion, windows=windows, baseline=_baseline(subject, baseline))
        return _Plan(
            make,
            windows.grid,
            unit="fall of the score",
            note=lambda _: f"{times(windows.grid)} windows of {times(windows.side)} pixels",
        )

    return _attribution("Occlusion", plan, module, image, target, **options)


_CAMS = {"gradcam": gradcam, "gradcam_plus_plus": gradcam_plus_plus, "scorecam": scorecam, "eigencam": eigencam}
_ON_PIXELS = {
    "saliency": saliency,
    "smoothgrad": smoothgrad,
    "integrated_gradients": integrated_gradients,
    "occlusion": occlusion,
}


def attribute(
    module: nn.Module,
    image: Any,
    methods: Sequence[str] = ("gradcam", "gradcam_plus_plus", "eigencam", "saliency", "integrated_gradients"),
    target: int | str | None = None,
    layer: str | None = None,
    **options: Unpack[Options],
) -> Attributions:
    """Several methods side by side; those that do not apply to the network are left out, with the reason.

    Args:
        module, image, target, layer, options: as for `gradcam`.
        methods: the names of functions of this module.

    Raises:
        UnknownNameError: there is no such method.
        ArgumentError: as for `gradcam`, or none of the methods applies.
        ShapeError: as for `gradcam`.

    Example:
        >>> net = nn.Sequential(nn.Flatten(), nn.Linear(16, 3))
        >>> found = attribute(net, torch.rand(4, 4), ["gradcam", "saliency"], target=2)
        >>> list(found.maps), list(found.left_out)
        (['saliency'], ['gradcam'])
    """
    known = [*_CAMS, *_ON_PIXELS]
    unknown = next((name for name in methods if name not in known), None)
    if unknown is not None or isinstance(methods, str) or not methods:
        wrong = str(methods if unknown is None or isinstance(methods, str) else unknown)
        raise UnknownNameError(f"methods={wrong!r}: expected some of {', '.join(known)}.{suggestion(wrong, known)}")
    maps: dict[str, Attribution] = {}
    left_out: dict[str, str] = {}
    for name in methods:
        try:
            if name in _CAMS:
                maps[name] = _CAMS[name](module, image, target, layer, **options)
            else:
                maps[name] = _ON_PIXELS[name](module, image, target, **options)
        except NotApplicableError as error:
            left_out[name] = str(error)
    if not maps:
        raise NotApplicableError(next(iter(left_out.values())))
    return Attributions(maps, left_out)


@dataclass(frozen=True)
class _Plan:
    """How the map of a subject is made: `Attribution` has the rest."""

    make: Callable[[Subject], Tensor]
    grid: tuple[int, int]
    layer: str | None = None
    unit: str | None = None
    note: Callable[[Tensor], str] = lambda _: ""


def _cam(
    method: str,
    make: Callable[[Subject, TargetLayer], Tensor],
    module: nn.Module,
    image: Any,
    target: int | str | None,
    layer: str | None,
    **options: Unpack[Options],
) -> Attribution:
    def plan(subject: Subject) -> _Plan:
        found = find_target_layer(subject, layer)
        return _Plan(lambda subject: make(subject, found), found.grid, found.path)

    return _attribution(method, plan, module, image, target, **options)


def _attribution(
    method: str,
    plan: Callable[[Subject], _Plan],
    module: nn.Module,
    image: Any,
    target: int | str | None,
    *,
    class_names: Sequence[str] | None = None,
    checks: bool = True,
    progress: Progress | None = None,
) -> Attribution:
    with explained(module, image, target, class_names, progress) as subject:
        planned = plan(subject)
        map = planned.make(subject).float()
        passes = subject.passes
        return Attribution(
            method,
            map.cpu().numpy(),
            to_picture(subject.image),
            subject.target,
            subject.label,
            subject.probability,
            planned.layer,
            planned.grid,
            passes,
            check(subject, map, planned.grid, planned.make) if checks else None,
            planned.unit,
            planned.note(map),
        )


def _baseline(subject: Subject, baseline: Any) -> Tensor:
    if isinstance(baseline, (int, float)):
        return torch.full_like(subject.image, baseline)
    start = subject.as_image(baseline)
    if start.shape != subject.image.shape:
        raise ShapeError(f"baseline: got {text(start.shape)} for an image of {text(subject.image.shape)}.")
    return start


def _windows(size: tuple[int, int], window: Any, step: Any) -> pixels.Windows:
    height, width = spread(max(round(min(size) / 8), 1) if window is None else window, 2, "window")
    down, across = (max(height // 2, 1), max(width // 2, 1)) if step is None else spread(step, 2, "step")
    if height > size[0] or width > size[1]:
        raise ArgumentError(f"window={window!r}: the image has {times(size)} pixels.")
    if down > height or across > width:
        raise ArgumentError(
            f"step={step!r}: pixels would be left out; expected at most the window, {height} × {width}."
        )
    return pixels.Windows(size, (height, width), (down, across))
