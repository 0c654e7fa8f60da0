"""ArcFace and the triplet loss: by hand, by their definition, and held to pytorch-metric-learning."""

import math

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from striate.errors import ArgumentError, DataError, ShapeError
from striate.faces import ArcFaceLoss, PeopleBatches, TripletLoss
from striate.train import Trainer


@pytest.fixture
def directions():
    """Unit vectors of 6 people, 40 embeddings of length 1, and who they are of."""
    generator = torch.Generator().manual_seed(0)
    people = F.normalize(torch.randn(6, 8, generator=generator, dtype=torch.float64))
    embeddings = F.normalize(torch.randn(40, 8, generator=generator, dtype=torch.float64))
    return people, embeddings, torch.randint(6, (40,), generator=generator)


# ArcFace ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("margin", [0.0, 0.3, 0.5, 1.2])
@pytest.mark.parametrize("scale", [1.0, 16.0, 64.0])
def test_arcface_is_cross_entropy_with_the_margin_on_the_angle(directions, margin, scale):
    people, embeddings, labels = directions
    cosines = embeddings @ people.T
    angles = cosines.acos()
    own = F.one_hot(labels, 6).bool()
    beyond = angles + margin > math.pi
    logits = torch.where(own & ~beyond, (angles + margin).cos(), cosines)
    logits = torch.where(own & beyond, cosines - margin * math.sin(margin), logits)
    expected = F.cross_entropy(scale * logits, labels)
    torch.testing.assert_close(ArcFaceLoss(margin, scale)(labels, cosines), expected)


def test_arcface_beyond_pi_goes_on_falling():
    angles = torch.linspace(0.01, math.pi - 0.01, 200)
    cosines = torch.stack([angles.cos(), torch.zeros(200)], dim=1)
    values = ArcFaceLoss(0.5, 8).per_sample(torch.zeros(200, dtype=torch.long), cosines)
    assert (values.diff() > 0).all()


def test_the_easy_margin_leaves_those_beyond_a_right_angle_alone():
    loss, labels = ArcFaceLoss(0.5, 10, easy_margin=True), torch.zeros(2, dtype=torch.long)
    cosines = torch.tensor([[0.6, 0.1], [-0.6, 0.1]])
    near = 0.6 * math.cos(0.5) - 0.8 * math.sin(0.5)
    logits = 10 * torch.tensor([[near, 0.1], [-0.6, 0.1]])
    torch.testing.assert_close(loss.per_sample(labels, cosines), F.cross_entropy(logits, labels, reduction="none"))


@pytest.mark.parametrize("easy_margin", [False, True])
def test_the_gradient_of_arcface_is_that_of_finite_differences(directions, easy_margin):
    people, embeddings, labels = directions
    loss = ArcFaceLoss(0.5, 8, easy_margin)
    cosines = (embeddings @ people.T).requires_grad_()
    assert torch.autograd.gradcheck(lambda value: loss.per_sample(labels, value), (cosines,))


@pytest.mark.parametrize("cosine", [1.0, -1.0, 1.0000001, 0.0])
def test_the_gradient_of_arcface_is_finite_at_the_ends(cosine):
    cosines = torch.tensor([[cosine, 0.0]], requires_grad=True)
    ArcFaceLoss()(torch.tensor([0]), cosines).backward()
    assert cosines.grad.isfinite().all()


def test_arcface_equals_pytorch_metric_learnings(directions):
    theirs = pytest.importorskip("pytorch_metric_learning.losses")
    people, embeddings, labels = directions
    oracle = theirs.ArcFaceLoss(6, 8, margin=math.degrees(0.5), scale=32).double()
    oracle.W.data = people.T.clone()
    expected = oracle(embeddings, labels)
    torch.testing.assert_close(ArcFaceLoss(0.5, 32)(labels, embeddings @ people.T), expected)


@pytest.mark.parametrize("arguments", [{"margin": -0.1}, {"margin": 2.0}, {"scale": 0}, {"scale": math.inf}])
def test_arcface_refuses_what_it_cannot_use(arguments):
    with pytest.raises(ArgumentError, match="expected"):
        ArcFaceLoss(**arguments)


def test_the_trainer_refuses_people_that_there_is_no_direction_for():
    cosines = torch.nn.Linear(3, 2)
    with pytest.raises(DataError, match="labels go up to 2, but 2 outputs"):
        Trainer(cosines, "adam", ArcFaceLoss()).fit(np.zeros((3, 3), np.float32), np.arange(3), verbose=0)


# Triplets --------------------------------------------------------------------------------------------------------


def by_definition(labels, embeddings, margin):
    """Anchor by anchor, in plain Python."""
    values = []
    for i in range(len(labels)):
        distances = [float((embeddings[i] - other).norm()) for other in embeddings]
        positives = [d for j, d in enumerate(distances) if labels[j] == labels[i] and j != i]
        negatives = [d for j, d in enumerate(distances) if labels[j] != labels[i]]
        if positives and negatives:
            gap = max(positives) - min(negatives)
            values.append(math.log1p(math.exp(gap)) if margin is None else max(0.0, gap + margin))
    return sum(values) / max(len(values), 1)


@pytest.mark.parametrize("margin", [0.2, 1.0, None])
def test_the_triplet_loss_is_that_of_its_definition(directions, margin):
    _, embeddings, labels = directions
    labels[:2] = torch.tensor([7, 8])  # alone in the batch
    value = TripletLoss(margin)(labels, embeddings)
    assert float(value) == pytest.approx(by_definition(labels.tolist(), embeddings, margin))


@pytest.mark.parametrize("margin", [0.5, None])
def test_the_gradient_of_the_triplet_loss_is_that_of_finite_differences(directions, margin):
    _, embeddings, labels = directions
    chosen, embeddings = labels[:10], embeddings[:10].clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda value: TripletLoss(margin)(chosen, value), (embeddings,))


def test_the_triplet_loss_equals_pytorch_metric_learnings(directions):
    theirs = pytest.importorskip("pytorch_metric_learning")
    from pytorch_metric_learning import distances, losses, miners, reducers

    assert theirs
    _, embeddings, labels = directions
    apart = distances.LpDistance(normalize_embeddings=False)
    oracle = losses.TripletMarginLoss(0.3, distance=apart, reducer=reducers.MeanReducer())
    expected = oracle(embeddings, labels, miners.BatchHardMiner(distance=apart)(embeddings, labels))
    torch.testing.assert_close(TripletLoss(0.3)(labels, embeddings), expected)


@pytest.mark.parametrize("labels", [[0, 0, 0], [0, 1, 2]])
@pytest.mark.parametrize("margin", [0.3, None])
def test_a_batch_without_a_triplet_moves_nothing(labels, margin):
    embeddings = torch.eye(3, requires_grad=True)
    loss = TripletLoss(margin)(torch.tensor(labels), embeddings)
    loss.backward()
    assert loss.item() == 0
    assert (embeddings.grad == 0).all()


def test_equal_embeddings_have_a_finite_gradient():
    embeddings = torch.ones(4, 3, requires_grad=True)
    TripletLoss()(torch.tensor([0, 0, 1, 1]), embeddings).backward()
    assert embeddings.grad.isfinite().all()


def test_triplets_of_other_shapes_are_refused():
    with pytest.raises(ShapeError, match="expected the number of a person and an embedding for each image"):
        TripletLoss()(torch.zeros(4, 2), torch.zeros(4, 8))
    with pytest.raises(ArgumentError, match="margin=0"):
        TripletLoss(0)


def test_the_trainer_takes_batches_of_people_and_goes_on_in_the_same_bits(tmp_path):
    generator = np.random.default_rng(0)
    x, y = generator.normal(size=(24, 6)).astype(np.float32), np.arange(24) // 4

    def fit(epochs, **options):
        torch.manual_seed(0)
        module = torch.nn.Linear(6, 4)
        batches = PeopleBatches(x, y, people=3, images=2, seed=5)
        history = Trainer(module, "adam", TripletLoss()).fit(batches, epochs=epochs, seed=0, verbose=0, **options)
        return module.weight.detach(), history.history["loss"]

    whole, losses = fit(4)
    fit(2, checkpoint=tmp_path)
    resumed, _ = fit(4, checkpoint=tmp_path, resume=True)
    assert torch.equal(whole, resumed)
    assert losses[-1] < losses[0]
