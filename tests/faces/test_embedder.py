"""From images to embeddings, as a module and through the trainer."""

import numpy as np
import pytest
import torch

from striate import zoo
from striate.data.shapes import identities
from striate.errors import ArgumentError, ShapeError
from striate.faces import ArcFaceLoss, Embedder, Recognizer, embed, of_people, verify
from striate.train import Trainer
from striate.zoo.resnet import BasicBlock, ResNet


def small(size=16, image_size=32, channels=3):
    torch.manual_seed(0)
    return Embedder(ResNet(BasicBlock, (1,), in_channels=channels), size, image_size)


def test_the_embedding_is_the_backbones_features_through_one_layer():
    embedder = small().eval()
    images = torch.randint(256, (3, 32, 32, 3), dtype=torch.uint8)
    embedder.norm.running_mean.normal_()
    seen = embedder.preprocessing(list(images.numpy()))  # the other way to normalise: N × C × H × W
    backbone = embedder.backbone
    values = backbone.forward_head(backbone.forward_features(seen), pre_logits=True) @ embedder.linear.weight.T
    values = (values - embedder.norm.running_mean) / (embedder.norm.running_var + embedder.norm.eps).sqrt()
    expected = values / values.norm(dim=1, keepdim=True)
    torch.testing.assert_close(embedder(images), expected, rtol=1e-4, atol=1e-5)


def test_the_cosines_are_those_of_the_angles_to_the_peoples_directions():
    recognizer = Recognizer(small(), num_people=5).eval()
    images = torch.rand(4, 32, 32, 3) * 255
    points, people = recognizer.embedder(images), recognizer.directions
    expected = torch.cosine_similarity(points[:, None], people[None], dim=-1)
    torch.testing.assert_close(recognizer(images), expected)


def test_embed_gives_the_same_in_batches_and_leaves_the_mode_alone():
    embedder = small().train()
    x = np.random.default_rng(0).integers(256, size=(70, 32, 32, 3), dtype=np.uint8)
    found = embed(embedder, x)
    assert found.shape == (70, 16) and found.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, rtol=1e-5)
    np.testing.assert_allclose(embed(embedder, x[:3]), found[:3], atol=1e-6)
    assert embedder.training


def test_a_last_batch_of_one_image_can_be_trained_on():
    embedder = small().train()
    embedder(torch.zeros(1, 32, 32, 3)).sum().backward()
    assert embedder.linear.weight.grad.isfinite().all()


def test_any_backbone_of_the_zoo_will_do():
    for name in ("lenet5", "squeezenet1_1", "mobilenet_v3_small", "densenet121"):
        embedder = Embedder(zoo.create(name, in_channels=1), image_size=64).eval()
        assert embedder(torch.zeros(1, 64, 64, 1)).shape == (1, 128)
        assert embedder.image_shape == (64, 64, 1)


def test_images_that_do_not_fit_are_refused():
    with pytest.raises(ShapeError, match=r"\(batch, height, width, 3\)"):
        small()(torch.zeros(2, 3, 32, 32))
    with pytest.raises(ShapeError, match="the embedder was made for 32 × 32 × 3"):
        embed(small(), np.zeros((2, 40, 32, 3), np.uint8))
    with pytest.raises(ArgumentError, match="size=1"):
        small(size=1)
    with pytest.raises(ArgumentError, match="num_people=1"):
        Recognizer(small(), 1)


def test_what_is_learned_of_some_identities_holds_for_others():
    everyone, test = identities(images_each=8)
    train = of_people(everyone, everyone.class_names[::3])
    untrained = verify(embed(small(), test.x), test.y)
    embedder = small(size=64)
    recognizer = Recognizer(embedder, len(train.class_names))
    trainer = Trainer(recognizer, "adam", ArcFaceLoss(0.3, 16), metrics=["accuracy"])
    history = trainer.fit(train.x, train.y, epochs=5, batch_size=32, seed=0, verbose=0)
    result = verify(embed(embedder, test.x), test.y)
    assert history.history["accuracy"][-1] > history.history["accuracy"][0]
    assert result.auc > untrained.auc + 0.1
