"""Attribution by hand: networks whose answer is known, maps that must fail, and everything left as it was."""

import copy

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from striate import layers, models, see
from striate.errors import ArgumentError, DataError, ShapeError, UnknownNameError
from striate.see.attribution.checking import check, rank_correlation
from striate.see.attribution.pixels import Windows
from striate.see.attribution.subject import Subject
from striate.see.attribution.target_layer import find_target_layer
from tests.see.looking import assert_readable

METHODS = {
    "gradcam": see.gradcam,
    "gradcam_plus_plus": see.gradcam_plus_plus,
    "scorecam": see.scorecam,
    "eigencam": see.eigencam,
    "saliency": see.saliency,
    "smoothgrad": see.smoothgrad,
    "integrated_gradients": see.integrated_gradients,
    "occlusion": see.occlusion,
}
CAMS = list(METHODS)[:4]


def small(inplace=False, ending=None):
    torch.manual_seed(0)
    relu = nn.ReLU(inplace)
    parts = [nn.Conv2d(3, 6, 3, padding=1), nn.BatchNorm2d(6), relu, nn.Conv2d(6, 5, 3, stride=2, padding=1), relu]
    parts += [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(5, 4), *([ending] if ending else [])]
    return nn.Sequential(*parts).eval()


def picture(size=12):
    return torch.rand(3, size, size, generator=torch.Generator().manual_seed(1))


class FindsCross(nn.Module):
    """Class 1 where there is a cross of bright pixels, class 0 where there is a bright bar."""

    def __init__(self):
        super().__init__()
        self.patterns = nn.Conv2d(1, 2, 3, padding=1)
        bar = torch.tensor([[-1.0, 1, -1], [-1, 1, -1], [-1, 1, -1]])
        cross = torch.tensor([[-1.0, 1, -1], [1, 1, 1], [-1, 1, -1]])
        self.patterns.weight.data = torch.stack([bar, cross])[:, None]
        self.patterns.bias.data = torch.tensor([-2.5, -4.0])
        self.relu = nn.ReLU()

    def forward(self, x):
        return 20 * self.relu(self.patterns(x)).amax((2, 3))


def bar_and_cross():
    """A bar around row 3, column 2, and a cross around row 9, column 10."""
    image = torch.zeros(1, 13, 14)
    image[0, 2:5, 2] = 1
    image[0, 8:11, 10] = image[0, 9, 9:12] = 1
    return image


@pytest.mark.parametrize("method", ["gradcam", "gradcam_plus_plus", "saliency", "occlusion"])
def test_maps_point_to_what_the_class_is_seen_by(method):
    options = {"window": 3, "step": 1} if method == "occlusion" else {}
    for target, (row, column) in enumerate([(3, 2), (9, 10)]):
        found = METHODS[method](FindsCross(), bar_and_cross(), target, checks=False, **options)
        near = found.map[row - 1 : row + 2, column - 1 : column + 2]
        assert near.max() == found.map.max() > 0
        if method in ("occlusion", "saliency"):
            far = found.map.copy()
            far[max(row - 3, 0) : row + 4, max(column - 3, 0) : column + 4] = 0
            assert not far.any()


def test_score_cam_by_hand():
    net = nn.Sequential(nn.Conv2d(2, 2, 1, bias=False), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2, 2, False))
    net[0].weight.data = torch.eye(2)[..., None, None]
    net[3].weight.data = torch.tensor([[16.0, 0], [0, 16]])
    image = torch.zeros(2, 4, 4)
    image[0, 1, 0], image[1, 2, 3], image[1, 3, 3] = 1, 0.5, 0.25
    # Masked with its own map, scaled to 1, channel 0 keeps its sum of 1; masked with that of channel 1, nothing.
    weights = torch.tensor([1.0, 0]).softmax(0)
    expected = (weights[:, None, None] * image).sum(0) / weights[0]
    np.testing.assert_allclose(see.scorecam(net, image, 0, checks=False).map, expected, atol=1e-6)


def test_a_linear_network_is_its_weights():
    weights = torch.randn(2, 3 * 6 * 7, generator=torch.Generator().manual_seed(2))
    net = nn.Sequential(nn.Flatten(), nn.Linear(126, 2))
    net[1].weight.data = weights
    image, baseline = torch.rand(3, 6, 7), torch.rand(3, 6, 7)
    each = weights[1].reshape(3, 6, 7)
    expected = (each * (image - baseline)).sum(0).numpy()
    options = {"target": 1, "checks": False}
    found = see.integrated_gradients(net, image, steps=3, baseline=baseline, **options)
    np.testing.assert_allclose(found.map, expected, atol=1e-5)
    found = see.occlusion(net, image, window=1, baseline=baseline, **options)
    np.testing.assert_allclose(found.map, expected, atol=1e-5)
    steepest = each.abs().amax(0)
    for method in (see.saliency, see.smoothgrad):
        np.testing.assert_allclose(method(net, image, **options).map, steepest / steepest.max(), atol=1e-5)


@pytest.mark.parametrize("ending", [None, nn.Softmax(1), nn.Sigmoid()])
def test_integrated_gradients_add_up_to_the_score(ending):
    net, image = small(ending=ending).requires_grad_(False), picture()
    scores = net[:8](torch.stack([image, torch.full_like(image, 0.3)]))
    found = see.integrated_gradients(net, image, 2, steps=200, baseline=0.3, checks=False)
    assert found.map.sum() == pytest.approx(float(scores[0, 2] - scores[1, 2]), abs=2e-3)


@pytest.mark.parametrize("method", METHODS)
def test_a_last_softmax_changes_no_map(method):
    class Functional(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = small()

        def forward(self, x):
            return F.log_softmax(self.inner(x), 1)

    plain = METHODS[method](small(), picture(), 1, checks=False)
    for net in (small(ending=nn.Softmax(1)), Functional()):
        found = METHODS[method](net, picture(), 1, checks=False)
        np.testing.assert_array_equal(found.map, plain.map)
        assert found.probability == pytest.approx(plain.probability)
    assert plain.probability == pytest.approx(small()(picture()[None]).softmax(1)[0, 1].item())
    found = METHODS[method](small(ending=nn.Sigmoid()), picture(), 1, checks=False)
    assert found.probability == pytest.approx(small()(picture()[None]).sigmoid()[0, 1].item())


@pytest.mark.parametrize("method", METHODS)
def test_a_striate_model_gives_the_maps_of_its_torch_twin(method):
    twin = nn.Sequential(
        nn.Conv2d(3, 6, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(6, 5, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1)
    )
    twin = nn.Sequential(*twin, nn.Flatten(), nn.Linear(5, 4))
    model = models.Sequential(
        [
            layers.Input((12, 12, 3)),
            layers.Conv2D(6, 3, activation="relu"),
            layers.MaxPooling2D(2),
            layers.Conv2D(5, 3, activation="relu"),
            layers.GlobalAveragePooling2D(),
            layers.Dense(4, activation="softmax"),
        ]
    )
    ops = [part for part in model.modules() if isinstance(part, (nn.Conv2d, nn.Linear))]
    for op, other in zip(ops, [twin[0], twin[3], twin[7]], strict=True):
        other.load_state_dict(op.state_dict())
    image = picture()
    expected = METHODS[method](twin, image, 1)
    found = METHODS[method](model, image.movedim(0, -1), 1)
    np.testing.assert_allclose(found.map, expected.map, atol=1e-5)
    assert found.grid == expected.grid
    assert found.checks.deletion == pytest.approx(expected.checks.deletion, abs=1e-5)
    if method in CAMS:
        assert expected.layer == "4"
        assert found.layer == "layers.conv2d_1"


@pytest.mark.parametrize("method", METHODS)
def test_relus_in_place_and_reused_change_no_map(method):
    plain, shared = small(), small(inplace=True)
    plain[4] = nn.ReLU()
    shared[3].register_forward_hook(lambda *_: None)  # a hook of the user
    layer = {"layer": "4"} if method in CAMS else {}
    expected = METHODS[method](plain, picture(), 1, checks=False, **layer)
    found = METHODS[method](shared, picture(), 1, checks=False)
    np.testing.assert_array_equal(found.map, expected.map)
    if method in CAMS:
        assert found.layer == "2"  # the ReLU's first name; its last call is what is looked at
        assert found.grid == (6, 6)


def test_an_input_that_is_changed_in_place():
    net = nn.Sequential(nn.ReLU(inplace=True), *small())
    image = picture() - 0.5
    before = image.clone()
    for method in METHODS.values():
        method(net, image, checks=False)
    assert torch.equal(image, before)


def everything(net):
    return (
        copy.deepcopy(net.state_dict()),
        {name: part.training for name, part in net.named_modules()},
        {name: (p.requires_grad, None if p.grad is None else p.grad.clone()) for name, p in net.named_parameters()},
        {name: len(part._forward_hooks) + len(part._backward_hooks) for name, part in net.named_modules()},
        torch.get_rng_state(),
    )


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("fails_at", [None, 3, 10])
def test_the_network_is_afterwards_what_it_was(method, fails_at):
    net = small(inplace=True).train()
    net[0].requires_grad_(False)
    net(torch.rand(2, 3, 12, 12)).sum().backward()
    calls = []

    def fail(*_):
        calls.append(0)
        if len(calls) == fails_at:
            raise KeyError

    net[5].register_forward_hook(fail)
    before = everything(net)
    identities = [id(parameter) for parameter in net.parameters()]
    try:
        METHODS[method](net, picture())
        assert fails_at is None
    except KeyError:
        pass
    for one, other in zip(before, everything(net), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=0)
    assert [id(parameter) for parameter in net.parameters()] == identities


def test_inside_no_grad_and_inference_mode_and_with_frozen_weights():
    net = small().requires_grad_(False)
    for method in METHODS.values():
        expected = method(net, picture(), checks=False).map
        for mode in (torch.no_grad, torch.inference_mode):
            with mode():
                np.testing.assert_array_equal(method(net, picture(), checks=False).map, expected)


def layer_of(net, size=16, channels=3):
    return find_target_layer(Subject(net.eval(), torch.rand(channels, size, size), None, None), None)


def test_the_layer_before_pooling_is_found():
    class Branches(nn.Module):
        def __init__(self):
            super().__init__()
            self.one, self.two = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(3, 4, 1)
            self.unused = nn.Conv2d(8, 2, 1)

        def forward(self, x):
            joined = torch.cat([self.one(x), self.two(x)], 1)
            self.unused(joined)
            return joined

    def head():
        return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.LazyLinear(3))

    net = nn.Sequential(nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.MaxPool2d(2)), head())
    assert layer_of(net).path == "0.1"
    found = layer_of(nn.Sequential(Branches(), nn.ReLU(), head()))
    assert (found.path, found.grid) == ("1", (16, 16))
    assert layer_of(nn.Sequential(Branches(), head())).path == "0"
    assert (
        layer_of(nn.Sequential(nn.Conv2d(3, 4, 5), nn.Conv2d(4, 4, 12), nn.ReLU(), head())).path == "0"
    )  # 1 × 1 later


def test_a_backbone_without_gradients_is_passed_over():
    class Frozen(nn.Module):
        def __init__(self):
            super().__init__()
            self.backbone, self.neck = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3)
            self.head = nn.Linear(4, 2)

        def forward(self, x):
            with torch.no_grad():
                x = self.backbone(x)
            return self.head(self.neck(x).mean((2, 3)))

    assert layer_of(Frozen()).path == "neck"


def test_layers_with_channels_last():
    class Swapped(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.norm, self.head = nn.Conv2d(3, 5, 4, 4), nn.LayerNorm(5), nn.Linear(5, 2)

        def forward(self, x):
            return self.head(self.norm(self.conv(x).permute(0, 2, 3, 1)).mean((1, 2)))

    found = layer_of(Swapped())
    assert (found.path, found.layout, found.grid) == ("norm", "channels_last", (4, 4))


class Transformer(nn.Module):
    """Patches of 4 × 4, and a class token where `class_token` is true; else the mean of all tokens."""

    def __init__(self, class_token):
        super().__init__()
        self.patches = nn.Conv2d(3, 8, 4, 4)
        self.token = nn.Parameter(torch.randn(1, 1, 8)) if class_token else None
        block = {"dim_feedforward": 16, "dropout": 0.0, "batch_first": True, "norm_first": True}
        self.blocks = nn.ModuleList([nn.TransformerEncoderLayer(8, 2, **block) for _ in range(2)])
        self.head = nn.Linear(8, 3)

    def forward(self, x):
        x = self.patches(x).flatten(2).movedim(1, 2)
        if self.token is not None:
            x = torch.cat([self.token.expand(len(x), -1, -1), x], 1)
        for block in self.blocks:
            x = block(x)
        return self.head(x.mean(1) if self.token is None else x[:, 0])


def test_tokens_of_transformers_are_maps():
    torch.manual_seed(0)
    found = layer_of(Transformer(class_token=True))
    assert (found.path, found.layout, found.grid) == ("blocks.1.norm1", "tokens", (4, 4))
    assert layer_of(Transformer(class_token=False)).path == "blocks.1"
    tokens = torch.arange(17.0).reshape(1, 17, 1)
    assert torch.equal(found.maps(tokens)[0, 0], torch.arange(1.0, 17).reshape(4, 4))
    for method in METHODS.values():
        assert method(Transformer(class_token=True), picture(16), checks=False).map.shape == (16, 16)


def perceptron():
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(3 * 12 * 12, 6), nn.ReLU(), nn.Linear(6, 4))


def test_what_does_not_apply_says_so():
    for method in CAMS:
        with pytest.raises(ArgumentError, match=r"do not apply.*occlusion do"):
            METHODS[method](perceptron(), picture())
    found = see.attribute(perceptron(), picture(), checks=False)
    assert list(found.maps) == ["saliency", "integrated_gradients"]
    assert list(found.left_out) == ["gradcam", "gradcam_plus_plus", "eigencam"]
    assert "do not apply" in found.text() and "do not apply" in found.alt
    with pytest.raises(UnknownNameError, match="do not apply"):
        found["gradcam"]
    with pytest.raises(ArgumentError, match="do not apply"):
        see.attribute(perceptron(), picture(), ["gradcam"])

    class NoGradients(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = small()

        @torch.no_grad()
        def forward(self, x):
            return self.inner(x)

    for method in ("gradcam", "saliency", "integrated_gradients"):
        with pytest.raises(ArgumentError, match="occlusion, scorecam and eigencam need no gradients"):
            METHODS[method](NoGradients(), picture())
    for method in ("scorecam", "eigencam", "occlusion"):
        expected = METHODS[method](small(), picture(), checks=False)
        np.testing.assert_array_equal(METHODS[method](NoGradients(), picture(), checks=False).map, expected.map)


def test_errors():
    net, image = small(), picture()
    for target in (4, -1, 1.0, True):
        with pytest.raises(ArgumentError, match=r"target=.*expected a class from 0 to 3"):
            see.saliency(net, image, target)
    with pytest.raises(ArgumentError, match="2 images"):
        see.gradcam(net, torch.rand(2, 3, 12, 12))
    with pytest.raises(ArgumentError, match=r"no part 'conv'"):
        see.gradcam(net, image, layer="conv")
    with pytest.raises(ArgumentError, match=r"layer='7' gives \(1, 4\).*such as"):
        see.gradcam(net, image, layer="7")
    with pytest.raises(ShapeError, match=r"gives \(1, 5, 6, 6\): expected one score for each class"):
        see.saliency(net[:5], image)
    with pytest.raises(ShapeError, match=r"fails on an image of height and width \(5, 5\)"):
        see.saliency(perceptron(), picture(5))
    with pytest.raises((ShapeError, DataError)):
        see.saliency(net, torch.rand(7))
    with pytest.raises(DataError):
        see.saliency(net, "nowhere.png")
    with pytest.raises(ArgumentError, match="got 2 for a network of 4"):
        see.saliency(net, image, class_names=["a", "b"])
    with pytest.raises(ShapeError, match="baseline"):
        see.integrated_gradients(net, image, baseline=picture(11))
    with pytest.raises(ArgumentError, match="12 × 12 pixels"):
        see.occlusion(net, image, window=13)
    with pytest.raises(ArgumentError, match="left out"):
        see.occlusion(net, image, window=2, step=3)
    with pytest.raises(ArgumentError, match="steps"):
        see.integrated_gradients(net, image, steps=0)
    with pytest.raises(UnknownNameError, match="Did you mean 'gradcam'"):
        see.attribute(net, image, ["gradcamm"])


def test_windows_are_laid_from_the_top_left_and_cut_off():
    windows = Windows((5, 4), (2, 3), (2, 1))
    assert windows.grid == (3, 2)
    masks = windows.masks(torch.arange(6))[:, 0]
    assert masks[0].int().tolist() == [[1, 1, 1, 0]] * 2 + [[0] * 4] * 3
    assert masks[5].int().tolist() == [[0] * 4] * 4 + [[0, 1, 1, 1]]
    assert masks.any(0).all()


class Sums(nn.Module):
    """The probability of class 1 is the share of bright pixels among the first four."""

    def forward(self, x):
        share = x.flatten(1)[:, :4].mean(1, keepdim=True)
        return torch.cat([1 - share, share], 1).log()


def test_deletion_and_insertion_by_hand():
    image = torch.zeros(1, 4, 4)
    image[0, 0] = 1  # the mean colour is 1/4
    best = torch.arange(16.0, 0, -1).reshape(4, 4)
    subject = Subject(Sums(), image, 1, None)
    checks = check(subject, best, (4, 4), lambda _: best)
    # Pixel by pixel the four go from 1 to 1/4: the mean of the curve, by trapezoids over 16 steps.
    falling = [1 - 0.1875 * min(step, 4) for step in range(17)]
    assert checks.deletion == pytest.approx(np.trapezoid(falling) / 16, abs=1e-6)
    assert checks.insertion == pytest.approx(np.trapezoid([1.25 - value for value in falling]) / 16, abs=1e-6)
    assert checks.beaten == checks.random_maps
    assert checks.random_deletion > checks.deletion and checks.random_insertion < checks.insertion
    worst = check(subject, -best, (4, 4), lambda _: -best)
    assert worst.deletion > checks.random_deletion and worst.beaten == 0
    assert any("no better than random" in failure for failure in worst.failures)


def test_a_map_that_ignores_the_weights_is_labelled():
    image = bar_and_cross()
    subject = Subject(FindsCross(), image, 1, None)
    brightness = image[0]
    assert check(subject, brightness, (13, 14), lambda _: brightness).correlation == pytest.approx(1)
    flat = check(subject, torch.ones(13, 14), (13, 14), lambda _: torch.ones(13, 14))
    assert flat.failures == ("shows nothing: it is the same everywhere",)

    class Edges(nn.Module):
        """Its first principal component is the image, whatever the weights."""

        def __init__(self):
            super().__init__()
            self.scale = nn.Conv2d(1, 1, 1, bias=False)
            self.head = nn.Linear(1, 2)

        def forward(self, x):
            return self.head(self.scale(x).mean((2, 3)))

    torch.manual_seed(0)
    found = see.eigencam(Edges(), image)
    assert found.checks.correlation > 0.99
    assert any(failure.startswith("fails the sanity check") for failure in found.failures)
    assert "fails the sanity check" in found.text() and "fails the sanity check" in found.alt
    assert_readable(found, "fails the sanity check")
    assert_readable(see.attribute(Edges(), image, ["eigencam"]), "fails the sanity check")


def test_a_map_of_what_the_weights_say_passes():
    torch.manual_seed(0)
    found = see.integrated_gradients(perceptron(), picture(), 2, steps=20)
    assert found.failures == ()
    assert abs(found.checks.correlation) < 0.3
    assert found.checks.insertion > found.checks.random_insertion


def test_rank_correlation():
    one = torch.tensor([0.0, 0, 1, 5, 3])
    assert rank_correlation(one, one.exp()) == 1
    assert rank_correlation(one, -one) == -1
    assert rank_correlation(one, torch.ones(5)) == 0
    # Ranks 1.5 1.5 3 5 4 and 2 1 3 5 4: by hand 9.5 / sqrt(9.5 × 10).
    assert rank_correlation(one, torch.tensor([2.0, 1, 3, 5, 4])) == pytest.approx((9.5 / 10) ** 0.5, abs=1e-6)


def test_many_runs_are_batched_and_told():
    net, image = small(), picture(96)
    sizes, told = [], []
    net[0].register_forward_hook(lambda part, args, output: sizes.append(len(output)))
    found = see.occlusion(net, image, checks=False, progress=lambda done, total: told.append((done, total)))
    assert found.passes == sum(sizes) == 1 + 15 * 15
    assert max(sizes) * image.numel() <= 2**20
    assert told[-1] == (225, 225) and len(told) == len(sizes) - 1 > 5
    sizes.clear()
    found = see.gradcam(net, image)
    assert found.passes + found.checks.passes == sum(sizes)


def test_one_output_and_names():
    net = nn.Sequential(*small()[:7], nn.Linear(5, 1))
    found = see.gradcam(net, picture(), checks=False)
    assert (found.label, found.probability) == ("the output", None)
    named = see.gradcam(nn.Sequential(*net, nn.Sigmoid()), picture(), class_names=["cat", "dog"], checks=False)
    assert named.title.startswith("Grad-CAM: dog, ")
    with pytest.raises(ArgumentError, match="one output"):
        see.gradcam(net, picture(), 1)
    found = see.saliency(small(), picture(), 2, class_names=["a", "b", "c", "d"], checks=False)
    assert found.label == "c"


def test_a_class_goes_by_its_name_where_names_are_given():
    net, image, names = small(), picture(), ["a", "b", "c", "d"]
    for method in (see.gradcam, see.occlusion):
        named = method(net, image, "c", class_names=names, checks=False)
        numbered = method(net, image, 2, class_names=names, checks=False)
        assert (named.target, named.label) == (2, "c")
        assert np.array_equal(named.map, numbered.map)
    assert see.attribute(net, image, ["saliency"], "b", class_names=names, checks=False)["saliency"].target == 1
    one = nn.Sequential(*small()[:7], nn.Linear(5, 1))
    assert see.saliency(one, image, "dog", class_names=["cat", "dog"], checks=False).label == "dog"
    with pytest.raises(ArgumentError, match="speaks for dog and against cat: expected target=dog"):
        see.saliency(one, image, "cat", class_names=["cat", "dog"])
    with pytest.raises(ArgumentError, match="target=e: expected one of a, b, c, d"):
        see.saliency(net, image, "e", class_names=names)
    with pytest.raises(ArgumentError, match="does not know what its classes are called: give class_names"):
        see.saliency(net, image, "c")
    with pytest.raises(ArgumentError, match="got 2 for a network of 4"):
        see.saliency(net, image, "a", class_names=["a", "b"])


def test_pictures_can_be_read(tmp_path):
    names = ["washbasin, handbasin, washbowl, lavabo, wash-hand basin, tub", "b", "c", "d"]
    found = see.attribute(small(), picture(), list(METHODS), 0, class_names=names)
    assert len(found) == 8
    for one in found:
        assert one.map.shape == (12, 12) and one.map.dtype == np.float32
        assert one.unit or (one.map.min() >= 0 and one.map.max() <= 1)
        assert_readable(one, one.method, "the image", "Deletion")
    assert_readable(found, *(one.method for one in found))
    found.save(tmp_path / "all.png", theme="dark")
    found["occlusion"].save(tmp_path / "one.svg")
    assert (tmp_path / "one.svg").read_text().startswith("<?xml")
    assert "Integrated Gradients" in found.text() and "Images run" in found.text()
    wide = see.gradcam(small(), torch.rand(3, 10, 40), checks=False)
    assert_readable(wide, "Not checked")
    assert_readable(see.attribute(small(), torch.rand(3, 40, 12), checks=False), "Grad-CAM")
