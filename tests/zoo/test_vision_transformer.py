"""The vision transformer's tokens, grids and positions, and the old names in its published files."""

import pytest
import torch

from striate.errors import ArgumentError, ShapeError
from striate.zoo.vision_transformer import VisionTransformer


def small(image_size=32, **options):
    torch.manual_seed(0)
    network = VisionTransformer(image_size, 8, depth=4, heads=2, width=16, inner=32, num_classes=3, **options).eval()
    torch.nn.init.normal_(network.class_token)
    return network


def test_outputs_and_gradients_are_torchvisions(models):
    network = small()
    oracle = models.VisionTransformer(32, 8, num_layers=4, num_heads=2, hidden_dim=16, mlp_dim=32, num_classes=3)
    oracle.load_state_dict(network.state_dict())
    x = torch.randn(2, 3, 32, 32)
    found, expected = network.train()(x), oracle.train()(x)
    torch.testing.assert_close(found, expected, rtol=0, atol=0)  # the published size: not one bit differs
    for scores in (found, expected):
        scores.square().sum().backward()
    theirs = dict(oracle.named_parameters())
    for name, parameter in network.named_parameters():
        torch.testing.assert_close(parameter.grad, theirs[name].grad)


def test_old_names_of_published_files_load():
    network, other = small(), small()
    old = {
        key.replace(".mlp.0.", ".mlp.linear_1.").replace(".mlp.3.", ".mlp.linear_2."): torch.full_like(tensor, 0.5)
        for key, tensor in network.state_dict().items()
    }
    assert len([key for key in old if "linear_" in key]) == 16
    other.load_state_dict(old)
    assert all((tensor == 0.5).all() for tensor in other.state_dict().values())
    assert len([key for key in old if "linear_" in key]) == 16  # the caller's stay as they were


@pytest.mark.parametrize("size", [(48, 64), (16, 24), (32, 40)])
def test_positions_for_other_sizes_are_timms(size):
    resample = pytest.importorskip("timm.layers").resample_abs_pos_embed
    encoder = small().encoder
    height, width = (side // 8 for side in size)
    found = encoder.positions(height, width)
    expected = resample(encoder.pos_embedding, [height, width], [4, 4], num_prefix_tokens=1)
    assert found.shape == (1, 1 + height * width, 16)
    torch.testing.assert_close(found, expected)


def test_grids_are_the_tokens_of_patches_in_their_places():
    network = small()
    x = torch.randn(2, 3, 40, 24)
    with torch.no_grad():
        tokens, grids = network.forward_features(x), network.forward_stages(x)
    assert tokens.shape == (2, 1 + 5 * 3, 16)
    assert [grid.shape for grid in grids] == [(2, 16, 5, 3)] * 4
    for row in range(5):
        for column in range(3):
            assert torch.equal(grids[-1][:, :, row, column], tokens[:, 1 + row * 3 + column])
    mean, deviation = tokens.mean(-1), tokens.std(-1, unbiased=False)
    torch.testing.assert_close(mean, torch.zeros_like(mean), rtol=0, atol=1e-5)  # the last normalisation is fresh
    torch.testing.assert_close(deviation, torch.ones_like(mean), rtol=0, atol=1e-3)
    assert torch.equal(network.forward_head(tokens, pre_logits=True), tokens[:, 0])


def test_stages_end_at_quarters():
    assert [stage.name for stage in small().feature_info] == [
        "encoder.layers.encoder_layer_0",
        "encoder.layers.encoder_layer_1",
        "encoder.layers.encoder_layer_2",
        "encoder.ln",
    ]


def test_sizes_that_patches_do_not_fill():
    with pytest.raises(ArgumentError, match=r"image_size=30: expected a multiple of the patches' 8 pixels"):
        small(30)
    with pytest.raises(ShapeError, match=r"Images of 32 × 36 pixels .* resize them to multiples of 8"):
        small()(torch.zeros(1, 3, 32, 36))
