"""Branches that are left out of some images, and how often in each family."""

import pytest
import torch

from striate import zoo
from striate.zoo.stochastic_depth import StochasticDepth


def test_whole_images_lose_the_branch_and_the_mean_stays():
    torch.manual_seed(0)
    out = StochasticDepth(0.25)(torch.ones(4000, 3, 2, 2)).flatten(1)
    assert (out == out[:, :1]).all()  # an image has the branch or has it not
    assert (out[:, 0] == 0).float().mean() == pytest.approx(0.25, abs=0.03)  # 4 standard deviations
    torch.testing.assert_close(out[out > 0], torch.full_like(out[out > 0], 4 / 3))


def test_nothing_happens_in_evaluation_or_at_zero():
    x = torch.randn(3, 2)
    assert StochasticDepth(0.5).eval()(x) is x
    assert StochasticDepth(0.0)(x) is x


@pytest.mark.parametrize("name", ["efficientnet_b0", "efficientnet_v2_s", "convnext_tiny", "convnext_base"])
def test_probabilities_rise_with_depth_as_in_torchvision(models, name):
    with torch.device("meta"):
        network, oracle = zoo.create(name), models.get_model(name)
    found = [module.p for module in network.modules() if isinstance(module, StochasticDepth)]
    expected = [module.p for module in oracle.modules() if type(module).__name__ == "StochasticDepth"]
    assert found == pytest.approx(expected)
    assert found[0] == 0
    assert found[-1] > 0.09
