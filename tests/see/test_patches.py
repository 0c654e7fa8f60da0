"""Which filters fire on data, and on which patches: planted patterns are found where they are."""

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from striate import see
from striate.data import Dataset
from striate.errors import ArgumentError, DataError
from striate.models import small
from striate.see.batches import batches
from tests.see.looking import assert_readable


def detector():
    """Filter 0 answers to a plus of ones, filter 1 to its opposite, filter 2 never."""
    conv = nn.Conv2d(1, 3, 3, padding=1, bias=False)
    plus = torch.tensor([[0.0, 1, 0], [1, 1, 1], [0, 1, 0]])
    conv.weight.data = torch.stack([plus, -plus, 0 * plus])[:, None]
    return nn.Sequential(conv, nn.ReLU(inplace=True), nn.MaxPool2d(2))


def planted(count=20, size=12):
    """Noise below 0.1, and a plus in some images, brighter in each."""
    generator = np.random.default_rng(0)
    images = 0.1 * generator.random((count, size, size))
    where = {}
    for rank, index in enumerate((3, 17, 8)):
        row, column = (int(value) for value in generator.integers(2, size - 2, 2))
        images[index, row - 1 : row + 2, column] = images[index, row, column - 1 : column + 2] = 1 - 0.2 * rank
        where[index] = (row, column)
    return images.astype(np.float32), where


# Firing ---------------------------------------------------------------------------------------------------------


def test_firing_is_counted_right():
    net, (images, _) = detector(), planted()
    fired = see.firing(net, "1", images, batch_size=7)
    with torch.no_grad():
        values = net[1](net[0](torch.tensor(images)[:, None])).numpy()
    assert (fired.samples, fired.positions) == (20, 144)
    assert np.allclose(fired.share, (values > 0).mean((0, 2, 3)))
    assert np.allclose(fired.share_of_samples, (values > 0).any((2, 3)).mean(0))
    assert np.allclose(fired.mean, values.mean((0, 2, 3)), atol=1e-6)
    assert np.allclose(fired.greatest, values.max((0, 2, 3)))
    assert fired.never == (1, 2)
    assert fired.order[0] == 0
    assert "never: 1, 2" in fired.text()
    assert fired.text().startswith("1: on 20 samples at 144 positions each, ")
    assert see.firing(net, "1", images[:1]).text().startswith("1: on 1 sample at 144 positions each, ")
    assert_readable(fired, "How often the filters of 1 fire", "2 never fire", "share of positions")


def test_neurons_on_vectors_and_many_filters():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(5, 512), nn.ReLU())
    data = torch.randn(30, 5)
    fired = see.firing(net, "1", data)
    assert np.allclose(fired.share, (net(data) > 0).double().mean(0))
    assert_readable(fired, "filters, those that fire most first")


# Patches --------------------------------------------------------------------------------------------------------


def test_the_patches_that_hold_the_pattern():
    net, (images, where) = detector(), planted()
    told = []
    found = see.top_patches(net, "1", images, filters=0, k=3, batch_size=6, progress=lambda *done: told.append(done))
    assert told == [(6, 20), (12, 20), (18, 20), (20, 20)]
    patches = found.patches[0]
    assert [patch.sample for patch in patches] == [3, 17, 8]
    for patch in patches:
        row, column = where[patch.sample]
        assert patch.position == (row, column)
        assert patch.box == (row - 1, column - 1, row + 2, column + 2)
        assert np.array_equal(patch.pixels[..., 0], images[patch.sample, row - 1 : row + 2, column - 1 : column + 2])
        assert patch.value == pytest.approx(5 * patch.pixels[1, 1, 0], rel=1e-5)
    assert found.field == (3, 3)


def test_patches_through_a_pooling_hold_what_its_units_see():
    net, (images, where) = detector(), planted()
    for patch in see.top_patches(net, "2", images, filters=[0], k=2, batch_size=64).patches[0]:
        row, column = (2 * (one // 2) - 1 for one in where[patch.sample])  # 4 × 4 pixels, 2 apart, from −1 on
        assert patch.box == (max(row, 0), max(column, 0), min(row + 4, 12), min(column + 4, 12))


@pytest.mark.parametrize("batch_size", [1, 5, 64])
def test_the_batch_size_changes_nothing(batch_size):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(1, 6, 3), nn.ReLU())
    images, _ = planted()
    found = see.top_patches(net, "1", images, filters=range(6), k=4, batch_size=batch_size)
    values = net(torch.tensor(images)[:, None]).amax((2, 3))
    for number, patches in found.patches.items():
        assert [patch.value for patch in patches] == pytest.approx(values[:, number].topk(4).values.tolist())


def test_patches_in_pictures():
    torch.manual_seed(0)
    images, _ = planted()
    found = see.top_patches(nn.Sequential(nn.Conv2d(1, 40, 5), nn.ReLU()), "1", images, k=9)
    assert len(found.patches) == 8
    assert_readable(found, "What fires the filters of 1 most", "filter")
    model = small.build("lenet", (16, 16, 3), 4)
    photos = np.random.default_rng(0).integers(0, 256, (6, 16, 16, 3), np.uint8)
    found = see.top_patches(model, "conv2d", photos, filters=[5], k=2)
    assert found.patches[5][0].pixels.shape[-1] == 3
    assert found.limits[1] > 200
    whole = see.top_patches(model, "dense", photos, filters=[0], k=2).patches[0][0]
    assert whole.box == (0, 0, 16, 16)


def test_few_samples_and_what_cannot_be():
    net, (images, _) = detector(), planted()
    assert len(see.top_patches(net, "1", images[:2], filters=0, k=9).patches[0]) == 2
    with pytest.raises(ArgumentError, match="filters=3: '1' has 3"):
        see.top_patches(net, "1", images, filters=3)
    with pytest.raises(ArgumentError, match="k=0"):
        see.top_patches(net, "1", images, k=0)
    with pytest.raises(ArgumentError, match="filters=\\[\\]"):
        see.top_patches(net, "1", images, filters=[])
    with pytest.raises(ArgumentError, match="looks through images"):
        see.top_patches(nn.Linear(4, 2), "", torch.randn(3, 4))


# Data -----------------------------------------------------------------------------------------------------------


def test_data_of_any_origin(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (5, 8, 8, 3), np.uint8)
    paths = []
    for index, image in enumerate(images):
        paths.append(tmp_path / f"{index}.png")
        Image.fromarray(image).save(paths[-1])
    net = nn.Conv2d(3, 2, 3)
    expected = torch.tensor(images).permute(0, 3, 1, 2) / 255
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(expected, torch.arange(5)), batch_size=2)
    for data in (
        images,
        expected,
        paths,
        list(images),
        loader,
        iter([images[:3], images[3:]]),
        Dataset("d", images, np.arange(5) % 2, ("a", "b")),
    ):
        assert torch.allclose(torch.cat(list(batches(net, data, 2))), expected)
    ids = torch.randint(9, (4, 6))
    assert next(batches(nn.Embedding(9, 2), ids, 4)).dtype == torch.int64


def test_what_is_no_data():
    net = nn.Conv2d(3, 2, 3)
    with pytest.raises(DataError, match="no sample"):
        list(batches(net, np.zeros((0, 8, 8, 3)), 2))
    with pytest.raises(DataError, match="got str"):
        list(batches(net, "folder", 2))
    with pytest.raises(DataError, match="several sizes"):
        list(batches(net, [np.zeros((8, 8, 3)), np.zeros((9, 8, 3))], 2))
