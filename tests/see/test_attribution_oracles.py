"""Attribution equals pytorch-grad-cam and Captum, on random weights of the usual families of networks."""

import numpy as np
import pytest
import torch
from torch import nn

from striate import see
from striate.see.attribution.subject import Subject
from striate.see.attribution.target_layer import find_target_layer

pytestmark = pytest.mark.slow  # five families of networks by eight methods

SIZE = 64
NETWORKS = {
    "resnet18": "layer4.1",
    "vgg11": "features.19",
    "densenet121": "features.norm5",
    "mobilenet_v3_small": "features.12.2",
    "vit": "encoder.layers.encoder_layer_1.ln_1",
}
FEWER_CHANNELS = {"resnet18": "layer1.1", "vgg11": "features.1", "densenet121": "features.norm0"}
"""Score-CAM runs a network once for each."""


@pytest.fixture(scope="module")
def networks(models):
    """Each network with an image and a class that is not the likeliest."""
    made = {}

    def get(name):
        if name not in made:
            torch.manual_seed(len(name))
            if name == "vit":
                net = models.VisionTransformer(SIZE, 8, 2, 4, 32, 64, num_classes=7)
                nn.init.normal_(net.heads.head.weight)  # torchvision starts with zeros
            else:
                net = getattr(models, name)(num_classes=7)
                if name == "vgg11":  # without its hundred million weights
                    net.classifier = nn.Linear(25_088, 7)
            norms = [part for part in net.modules() if isinstance(part, nn.BatchNorm2d)]
            for norm in norms:
                norm.momentum = 1.0
                nn.init.normal_(norm.bias, std=0.5)
            with torch.no_grad():
                net.train()(torch.rand(8, 3, SIZE, SIZE))  # as after training: statistics of data
            net.double().eval()  # so that what is compared are methods, not roundings
            image = torch.rand(1, 3, SIZE, SIZE).double()
            made[name] = net, image, int(net(image)[0].argsort()[-2])
        return made[name]

    return get


@pytest.fixture(scope="module")
def grad_cam(models):
    module = pytest.importorskip("pytorch_grad_cam")
    import pytorch_grad_cam.eigen_cam
    import pytorch_grad_cam.utils.svd_on_activations as svd

    with pytest.MonkeyPatch.context() as patch:  # Eigen-CAM's sign is else what the linear algebra happens to give
        patch.setattr(pytorch_grad_cam.eigen_cam, "get_2d_projection", svd.get_2d_projection_with_sign_correction)
        yield module


@pytest.fixture(scope="module")
def captum():
    return pytest.importorskip("captum.attr")


def tokens_as_maps(output):
    return output[:, 1:].reshape(1, SIZE // 8, SIZE // 8, -1).permute(0, 3, 1, 2)


def kept(output):
    """Copied: else the oracle holds what DenseNet's last ReLU, in place, makes of it."""
    return output.clone()


@pytest.mark.parametrize("name", NETWORKS)
def test_the_target_layer_is_found(networks, name):
    net, image, target = networks(name)
    assert find_target_layer(Subject(net, image, target, None), None).path == NETWORKS[name]


@pytest.mark.parametrize(
    ("method", "name"),
    [
        pytest.param(method, name, marks=pytest.mark.slow if method == "ScoreCAM" and name in FEWER_CHANNELS else ())
        for method in ("GradCAM", "GradCAMPlusPlus", "ScoreCAM", "EigenCAM")
        for name in NETWORKS
    ],
)
def test_class_activation_maps_are_those_of_pytorch_grad_cam(networks, grad_cam, method, name):
    net, image, target = networks(name)
    layer = FEWER_CHANNELS.get(name) if method == "ScoreCAM" else None
    reshape = tokens_as_maps if name == "vit" else kept
    targets = [grad_cam.utils.model_targets.ClassifierOutputTarget(target)]
    with getattr(grad_cam, method)(
        model=net, target_layers=[net.get_submodule(layer or NETWORKS[name])], reshape_transform=reshape
    ) as oracle:
        expected = oracle(input_tensor=image, targets=targets)[0]
    net.zero_grad(set_to_none=True)
    function = {"GradCAMPlusPlus": see.gradcam_plus_plus}.get(method) or getattr(see, method.lower())
    found = function(net, image, target, layer=layer, checks=False)
    assert np.ptp(expected) > 0.9
    np.testing.assert_allclose(found.map, expected, atol=1e-5)


@pytest.mark.parametrize("name", NETWORKS)
def test_saliency_is_that_of_captum(networks, captum, name):
    net, image, target = networks(name)
    expected = captum.Saliency(net).attribute(image.clone(), target=target)[0].amax(0)
    found = see.saliency(net, image, target, checks=False)
    np.testing.assert_allclose(found.map, (expected / expected.max()).numpy(), atol=1e-5)


@pytest.mark.parametrize("name", NETWORKS)
def test_integrated_gradients_are_those_of_captum(networks, captum, name):
    net, image, target = networks(name)
    baseline = torch.full_like(image, 0.4)
    expected = captum.IntegratedGradients(net).attribute(image, baseline, target=target, n_steps=7)
    found = see.integrated_gradients(net, image, target, steps=7, baseline=baseline, checks=False)
    np.testing.assert_allclose(found.map, expected[0].sum(0).detach().numpy(), atol=1e-5)


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize(("window", "step"), [((16, 16), (16, 16)), ((30, 22), (20, 15))])
def test_occlusion_is_that_of_captum(networks, captum, name, window, step):
    net, image, target = networks(name)
    expected = captum.Occlusion(net).attribute(
        image, target=target, sliding_window_shapes=(3, *window), strides=(3, *step), baselines=0.4
    )
    found = see.occlusion(net, image, target, window=window, step=step, baseline=0.4, checks=False)
    np.testing.assert_allclose(found.map, expected[0, 0].detach().numpy(), atol=1e-5)


def test_smoothgrad_is_the_mean_of_captums_gradients(networks, captum):
    net, image, target = networks("mobilenet_v3_small")
    generator = torch.Generator().manual_seed(3)
    deviation = 0.2 * (image.max() - image.min())
    noisy = image + deviation * torch.randn(9, 3, SIZE, SIZE, generator=generator).double()
    gradients = captum.Saliency(net).attribute(noisy, target=target, abs=False)
    expected = gradients.mean(0).abs().amax(0)
    found = see.smoothgrad(net, image, target, samples=9, noise=0.2, seed=3, checks=False)
    np.testing.assert_allclose(found.map, (expected / expected.max()).numpy(), atol=1e-5)
