"""All models of torchvision, to the rounding of the operations that their documentation prints."""

import pytest
import torch

from striate.account import count


def documented(models, name):
    """GMACs and parameters of the first weights of a model."""
    meta = next(iter(models.get_model_weights(name))).meta
    return meta["_ops"], meta["num_params"]


def check(ledger, documented, *, parameters=True):
    macs, number = documented
    assert round(ledger.macs / 1e9, 3) == pytest.approx(macs, abs=0.0011)
    assert (ledger.unknown, ledger.coverage) == ({}, 1)
    if parameters:
        assert ledger.parameters == number


LARGEST = "regnet_y_128gf"  # RegNets read values while they are made, so this one takes gigabytes


@pytest.mark.families
def test_the_largest(models):
    check(count(models.get_model(LARGEST).eval(), (3, 384, 384)), documented(models, LARGEST))


@pytest.mark.slow
def test_classification(models):
    names = models.list_models(module=models)
    assert len(names) > 75
    for name in names:
        weights = next(iter(models.get_model_weights(name)))
        size = weights.transforms().crop_size[0]
        arguments = {"image_size": size} if name.startswith("vit_") else {}
        auxiliary = name in ("googlenet", "inception_v3")  # heads of the training, which the weights leave out
        if auxiliary:
            arguments = {"init_weights": False}
        if name == LARGEST:
            continue
        with torch.device("cpu" if name.startswith("regnet") else "meta"):
            model = models.get_model(name, **arguments).eval()
        check(count(model, (3, size, size)), documented(models, name), parameters=not auxiliary)


def test_segmentation_with_its_auxiliary_head(models):
    for name in models.list_models(module=models.segmentation):
        head = {} if name.startswith("lraspp") else {"aux_loss": True}
        with torch.device("meta"):
            model = models.get_model(name, weights_backbone=None, num_classes=21, **head).eval()
        check(count(model, (3, 520, 520)), documented(models, name))


def test_video(models):
    for name in models.list_models(module=models.video):
        size = 112 if name in ("mc3_18", "r2plus1d_18", "r3d_18") else 224
        with torch.device("meta"):
            model = models.get_model(name).eval()
        check(count(model, (3, 16, size, size)), documented(models, name))


def test_optical_flow(models):
    for name in models.list_models(module=models.optical_flow):
        with torch.device("meta"):
            model = models.get_model(name).eval()
        check(count(model, [(3, 512, 512), (3, 512, 512)]), documented(models, name))


def test_detection(models):
    for name in ("ssdlite320_mobilenet_v3_large", "ssd300_vgg16", "fcos_resnet50_fpn", "retinanet_resnet50_fpn"):
        model = models.get_model(name, weights_backbone=None, num_classes=91).eval()
        model.postprocess_detections = lambda *_: []  # what comes after the last product needs compiled operations
        ledger = count(model, inputs=([torch.zeros(3, 512, 512)],))
        # Without weights, ResNets get a batch normalisation that is trained.
        check(ledger, documented(models, name), parameters="resnet" not in name)
