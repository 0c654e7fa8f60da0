"""Data sets of boxes and masks: split, resized, described; and augmentations that take boxes and masks along."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from striate.data import BoxDataset, OnDisk, SegmentationDataset, decoding
from striate.data.annotated import IGNORED, Letterbox
from striate.data.annotated.files import ImageFiles
from striate.data.annotated.letterbox import GREY
from striate.data.augment import ColorJitter, Flip, MixUp, RandAugment, Rotate, Scale, Translate, WithBoxes, WithMasks
from striate.data.shapes import scenes
from striate.data.shapes.scenes import tight_boxes
from striate.errors import ArgumentError, DataError, ShapeError


def boxes(number: int = 10) -> BoxDataset:
    rows = np.zeros((number, 2, 4), np.float32)
    rows[:, 0] = [2, 1, 6, 5]
    labels = np.tile([1, -1], (number, 1))
    images = np.arange(number, dtype=np.uint8)[:, None, None, None] * np.ones((1, 8, 12, 3), np.uint8)
    return BoxDataset("things", images, rows, labels, class_names=("a", "b"))


def test_boxes_split_and_choose_all_they_hold_alike() -> None:
    data = boxes()
    train, test = data.split(0.3, seed=1)
    assert (len(train), len(test)) == (7, 3)
    kept = [*train.images[:, 0, 0, 0], *test.images[:, 0, 0, 0]]
    assert sorted(kept) == [*range(10)]
    assert train.image_ids is not None and train.image_ids.tolist() == train.images[:, 0, 0, 0].tolist()
    again, _ = data.split(0.3, seed=1)
    np.testing.assert_array_equal(again.image_ids, train.image_ids)
    assert data.areas is not None and data.areas[0].tolist() == [16, 0]
    with pytest.raises(ArgumentError, match="test_fraction=2"):
        data.split(2)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"labels": np.full((10, 2), 2)}, "has labels from 2 to 2; its 2 class names allow 0 to 1, and -1 for no box"),
        ({"labels": np.zeros((10, 3), int)}, r"boxes of the shape 10 × 2 × 4 and labels of 10 × 3; expected"),
        ({"labels": np.zeros((9, 2), int)}, "10 images but 9 labels"),
        ({"boxes": np.zeros((10, 2, 4))}, "right or lower edge is not beyond the left or upper one"),
        ({"images": np.zeros((0, 8, 8, 3), np.uint8)}, "holds no images"),
        (
            {
                "test": BoxDataset(
                    "x", np.zeros((1, 8, 8, 3)), np.zeros((1, 0, 4)), np.zeros((1, 0), int), class_names=("z",)
                )
            },
            "has the classes a, b, but its held-out part x has z",
        ),
    ],
)
def test_boxes_that_do_not_fit(changes: dict[str, object], message: str) -> None:
    data = boxes()
    fields = {"images": data.images, "boxes": data.boxes, "labels": data.labels, "class_names": data.class_names}
    with pytest.raises(DataError, match=message):
        BoxDataset("things", **{**fields, **changes})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("masks", "message"),
    [
        (np.full((2, 8, 8), 2, np.uint8), "masks with the value 2; its 2 class names allow 0 to 1, and 255"),
        (np.zeros((2, 8, 9), np.uint8), "masks of the shape 2 × 8 × 9, uint8; expected uint8 of 2 × 8 × 8"),
        (np.zeros((2, 8, 8)), "float64; expected uint8"),
        (np.zeros((3, 8, 8), np.uint8), "2 images but 3 masks"),
    ],
)
def test_masks_that_do_not_fit(masks: np.ndarray, message: str) -> None:
    with pytest.raises(DataError, match=message):
        SegmentationDataset("things", np.zeros((2, 8, 8, 3), np.uint8), masks, class_names=("a", "b"))


def test_letterbox_and_its_way_back() -> None:
    for size, frame in (((37, 90), (64, 64)), ((100, 20), (33, 65)), ((5, 5), (64, 32))):
        letterbox = Letterbox(size, frame)
        (height, width), (top, left) = letterbox.inner, letterbox.corner
        whole = letterbox.boxes(np.array([0.0, 0, size[1], size[0]]))
        np.testing.assert_allclose(whole, [left, top, left + width, top + height])
        assert height == frame[0] or width == frame[1]
        np.testing.assert_allclose(letterbox.original(whole), [0, 0, size[1], size[0]], atol=1e-9)
        image = letterbox.image(np.full((*size, 3), 7, np.uint8))
        assert (image == 7).all(axis=-1).sum() == height * width and ((image == 7) | (image == GREY)).all()


def test_resized_boxes_stay_around_their_objects() -> None:
    data = scenes(20, size=64, seed=5)
    larger = data.detection().resized((100, 200))
    assert larger.images.shape == (20, 100, 200, 3)
    resized = np.stack([Letterbox((64, 64), (100, 200)).mask(one, 0) for one in data.instances])
    there = larger.labels >= 0
    around = tight_boxes(resized, there.shape[1])
    assert np.abs(larger.boxes - around)[there].max() < 1
    np.testing.assert_allclose(larger.areas, (larger.boxes[..., 2:] - larger.boxes[..., :2]).prod(axis=-1), rtol=1e-5)


def test_files_of_any_size_are_read_when_they_are_resized(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = np.array([(8, 12), (20, 10), (6, 6)])
    for index, (height, width) in enumerate(sizes.tolist()):
        Image.new("RGB", (width, height), (index * 50,) * 3).save(tmp_path / f"{index}.png")
    files = ImageFiles([tmp_path / f"{index}.png" for index in range(3)], sizes)
    rows = np.tile(np.array([1, 1, 4, 5], np.float32), (3, 1, 1))
    data = BoxDataset("files", files, rows, np.zeros((3, 1), int), class_names=("a", "b"))
    assert data.describe() == "3 images of 3 sizes, 3 boxes of 2 classes, 1 to 1 on an image"
    assert [image.shape for image in (data.images[index] for index in range(3))] == [(8, 12, 3), (20, 10, 3), (6, 6, 3)]
    resized = data.resized(24)
    assert resized.boxes[:, 0].tolist() == [
        [2, 6, 8, 14],
        [pytest.approx(7.2), pytest.approx(1.2), pytest.approx(10.8), 6],
        [4, 4, 16, 20],
    ]
    monkeypatch.setattr("striate.data.annotated.boxes.RESIDENT_BYTES", 1)
    later = data.resized(24)
    assert isinstance(later.images, OnDisk) and decoding.RESIDENT_BYTES > 1
    np.testing.assert_array_equal(np.asarray(later.images), resized.images)
    monkeypatch.undo()
    (tmp_path / "1.png").write_bytes(b"hello")
    good = data.resized(24)
    np.testing.assert_array_equal(good.images, resized.images[[0, 2]])
    assert good.image_ids is not None and good.image_ids.tolist() == [0, 2]
    assert [file.path.name for file in good.skipped] == ["1.png"]
    with pytest.raises(DataError, match=r"1\.png cannot be read"):
        np.asarray(later.images)


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def test_boxes_and_masks_follow_what_moves_the_image() -> None:
    data = scenes(60, size=64, seed=6)
    x = torch.from_numpy(data.images)
    steps = [Flip(0.5, 0.5), Scale((0.8, 1.2)), Translate(0.1), ColorJitter(0.2, 0.2, 0.2)]
    targets = torch.from_numpy(data.detection().targets())
    moved_x, moved = WithBoxes(steps, least_seen=0.99)(x, targets, generator())
    same_x, instances = WithMasks(steps)(x, torch.from_numpy(data.instances), generator())
    assert moved is not None and instances is not None
    assert moved_x.equal(same_x) and instances.dtype == torch.uint8
    around = torch.from_numpy(tight_boxes(np.where(instances == IGNORED, 0, instances), targets.shape[1]))
    there = moved[..., 0] >= 0
    assert there.float().mean() > 0.5 * (targets[..., 0] >= 0).float().mean()
    apart = (moved[..., 1:] - around)[there].abs()
    assert apart.mean() < 0.5 and apart.max() < 2.5  # the tips of stars fall between pixels
    assert moved[..., 0][there].equal(targets[..., 0][there])


def test_flipped_boxes_are_exact_and_flipped_back() -> None:
    targets = torch.from_numpy(scenes(5, seed=1).detection().targets())
    x = torch.zeros(5, 64, 64, 3, dtype=torch.uint8)
    _, once = WithBoxes([Flip(1.0)])(x, targets, generator())
    _, twice = WithBoxes([Flip(1.0), Flip(1.0)])(x, targets, generator())
    there = targets[..., 0] >= 0
    assert once is not None and once[there][:, 1].equal(64 - targets[there][:, 3])
    assert once[there][:, 2].equal(targets[there][:, 2]) and twice is not None and twice.equal(targets)


def test_what_leaves_the_image_is_cut_or_dropped() -> None:
    class Right(Translate):
        def matrices(self, count: int, size: tuple[int, int], generator: torch.Generator) -> torch.Tensor:
            from striate.data.augment.geometric import affine

            return affine(count, x=-6)  # pixels come from six columns to the left

    x = torch.zeros(1, 10, 10, 3)
    y = torch.tensor([[[1, 0, 2, 4, 6], [1, 2, 2, 8, 6], [1, 3, 2, 8, 6]]], dtype=torch.float32)
    _, moved = WithBoxes([Right()], least_seen=0.3)(x, y, generator())
    assert moved is not None
    torch.testing.assert_close(moved[0], torch.tensor([[1.0, 6, 2, 10, 6], [1, 8, 2, 10, 6], [-1, 0, 0, 0, 0]]))
    mask = torch.arange(10, dtype=torch.int64).expand(1, 10, 10)
    _, masks = WithMasks([Right()])(x, mask, generator())
    assert masks is not None and masks[0, 0].tolist() == [IGNORED] * 6 + [0, 1, 2, 3]
    _, turned = WithBoxes([Rotate(0.0)])(x, y, generator())
    assert turned is not None
    torch.testing.assert_close(turned, y)


def test_steps_and_targets_that_do_not_go_together() -> None:
    for step in (MixUp(), RandAugment(), WithMasks()):
        with pytest.raises(ArgumentError, match="cannot be a step of WithBoxes: expected what moves whole images"):
            WithBoxes([step])
    x = torch.zeros(2, 4, 4, 3)
    with pytest.raises(ShapeError, match=r"WithBoxes was given targets of \(2,\); expected \(batch, boxes, 5\)"):
        WithBoxes()(x, torch.zeros(2), generator())
    with pytest.raises(ShapeError, match=r"WithMasks was given targets of \(2, 3, 4\); expected \(batch, 4, 4\)"):
        WithMasks()(x, torch.zeros(2, 3, 4), generator())


def test_the_trainer_takes_them() -> None:
    import striate

    data = scenes(16, size=32, seed=2).segmentation()
    net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(32 * 32 * 3, 32 * 32))
    seen = []

    def loss(y_true: torch.Tensor, y_pred: torch.Tensor) -> torch.Tensor:
        seen.append(y_true)
        return (y_pred - y_true.flatten(1)).square().mean(dim=1)

    images, masks = data.images.astype(np.float32) / 255, data.masks.astype(np.float32)
    striate.fit(net, images, masks, loss=loss, epochs=1, batch_size=16, verbose=0, augmentation=WithMasks([Flip(1.0)]))
    flipped = {mask.tobytes() for mask in np.ascontiguousarray(masks[:, :, ::-1])}
    assert {mask.numpy().tobytes() for mask in seen[-1]} == flipped
