"""Shared set-up of the tests: Keras is an oracle here, on the torch backend; torchvision too, where it is installed."""

import os

import pytest

os.environ["KERAS_BACKEND"] = "torch"
os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # onnxruntime reports its use over the network


@pytest.fixture(scope="module")
def models():
    """Torchvision's models, where it is installed."""
    import torch

    library = torch.library.Library("torchvision", "FRAGMENT")
    for operator in ("nms", "qnms"):  # compiled ones, which no model here needs, and some builds lack
        if not hasattr(torch.ops.torchvision, operator):
            library.define(f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    yield pytest.importorskip("torchvision.models")
    library._destroy()
