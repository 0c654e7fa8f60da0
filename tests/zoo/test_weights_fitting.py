"""Weights into networks: all or nothing, adapted on request, and said."""

import pytest
import torch
from torch import nn

from striate import zoo
from striate.errors import SavedModelError, UnknownNameError, WeightKeysError, WeightShapeError
from striate.zoo.preprocessing import Preprocessing
from striate.zoo.weights import WeightsRecord, fit_weights, load_weights, record, write_weights
from striate.zoo.weights.guessing import architecture_of


def network(seed=0, classes=5, channels=3, name="squeezenet1_1"):
    torch.manual_seed(seed)
    return zoo.create(name, num_classes=classes, in_channels=channels).eval()


def state(module):
    return {key: tensor.clone() for key, tensor in module.state_dict().items()}


def equal(first, second):
    return first.keys() == second.keys() and all(torch.equal(first[key], second[key]) for key in first)


def test_as_they_are():
    published, fresh = network(0), network(1)
    fitted = fit_weights(fresh, published.state_dict())
    assert equal(state(fresh), state(published))
    assert fitted.notes == () and not fitted.new_classifier and fitted.in_channels is None


def test_counters_of_batches_may_be_absent():
    published, fresh = network(0, name="resnet18"), network(1, name="resnet18")
    tensors = {key: tensor for key, tensor in published.state_dict().items() if "num_batches" not in key}
    assert len(tensors) < len(published.state_dict())
    fit_weights(fresh, tensors)
    assert equal(state(fresh), state(published))


def test_another_number_of_classes():
    published, fresh = network(0, 5), network(1, 3)
    before = state(fresh)
    fitted = fit_weights(fresh, published.state_dict(), adapt_classes=True)
    assert fitted.notes == ("The classifier classifier.1 starts anew, with 3 classes: the file has 5.",)
    assert fitted.new_classifier
    for key, tensor in fresh.state_dict().items():
        assert torch.equal(tensor, (before if key.startswith("classifier.1.") else published.state_dict())[key]), key
    x = torch.randn(1, 3, 64, 64)
    torch.testing.assert_close(fresh.forward_features(x), published.forward_features(x))


def test_without_a_classifier_here_or_there():
    published, body = network(0), network(1, classes=0)
    fitted = fit_weights(body, published.state_dict(), adapt_classes=True)
    assert fitted.notes == ("The file's classifier classifier.1, for 5 classes, is left out.",)
    fresh = network(2)
    fitted = fit_weights(fresh, body.state_dict(), adapt_classes=True)
    assert fitted.notes == ("The classifier classifier.1 starts anew, with 5 classes: the file has none.",)
    assert torch.equal(fresh.features[0].weight, published.features[0].weight)


@pytest.mark.parametrize(("channels", "how"), [(1, "the sums over the channels"), (4, "repeated, times 3/4")])
def test_another_number_of_channels(channels, how):
    published, fresh = network(0), network(1, channels=channels)
    fitted = fit_weights(fresh, published.state_dict(), adapt_channels=True)
    said = f"The first convolution, features.0, takes {channels} channel{'s' * (channels > 1)} instead of 3"
    assert fitted.notes == (f"{said}: its weights are {how}.",) and fitted.in_channels == channels
    if channels == 1:  # a grey image gives what its three equal channels gave
        x = torch.randn(1, 1, 64, 64)
        torch.testing.assert_close(fresh(x), published(x.expand(-1, 3, -1, -1)))
    else:
        weight = published.features[0].weight
        torch.testing.assert_close(fresh.features[0].weight, torch.cat([weight, weight[:, :1]], 1) * 3 / 4)


@pytest.mark.parametrize("channels", [1, 2, 4, 6, 7])
def test_channels_are_adapted_as_timm_does(models, channels):
    manipulate = pytest.importorskip("timm.models._manipulate")
    published, fresh = network(0), network(1, channels=channels)
    fit_weights(fresh, published.state_dict(), adapt_channels=True)
    expected = manipulate.adapt_input_conv(channels, published.features[0].weight.detach())
    torch.testing.assert_close(fresh.features[0].weight.detach(), expected)


def test_nothing_is_adapted_unasked():
    for fresh, options, wrong in (
        (network(1, classes=3), {"adapt_channels": True}, r"classifier.1.weight \(5, 512, 1, 1\), expected \(3, 512"),
        (network(1, channels=1), {"adapt_classes": True}, r"features.0.weight \(64, 3, 3, 3\), expected \(64, 1, 3"),
    ):
        before = state(fresh)
        with pytest.raises(WeightShapeError, match=wrong) as raised:
            fit_weights(fresh, network(0).state_dict(), **options)
        assert "adapt_classes=True, adapt_channels=True" in str(raised.value)
        assert equal(state(fresh), before)


def test_all_that_does_not_fit_is_listed_once():
    fresh = network(1)
    tensors = {f"{key}_": tensor for key, tensor in list(fresh.state_dict().items())[:12]}
    tensors |= dict(list(fresh.state_dict().items())[11:])
    tensors["features.12.squeeze.bias"] = torch.ones(7)
    before = state(fresh)
    with pytest.raises(WeightKeysError) as raised:
        fit_weights(fresh, tensors, adapt_classes=True, adapt_channels=True)
    lines = str(raised.value).splitlines()
    assert lines[0] == "The weights do not fit SqueezeNet; nothing was changed."
    assert lines[1].startswith("  11 missing: features.0.weight, features.0.bias, ") and lines[1].endswith("and 1 more")
    assert lines[2].startswith("  12 not in the network: features.0.weight_, ") and lines[2].endswith("and 2 more")
    assert lines[3] == "  1 of another shape: features.12.squeeze.bias (7,), expected (64,)"
    assert len(lines) == 4 and equal(state(fresh), before)


@pytest.mark.parametrize(
    ("mine", "theirs"), [("resnet34", "resnet18"), ("resnet50", "wide_resnet50_2"), ("vgg11", "alexnet")]
)
def test_whose_weights_they_are(mine, theirs):
    with torch.device("meta"):
        fresh, tensors = zoo.create(mine), zoo.create(theirs, num_classes=7).state_dict()
    with pytest.raises(SavedModelError, match=f"These look like the weights of {theirs}: make that network"):
        fit_weights(fresh, tensors)


def test_every_network_is_known_by_its_weights():
    for name in ("resnext50_32x4d", "vgg16_bn", "googlenet", "vit_b_16", "lenet5"):
        with torch.device("meta"):
            assert architecture_of(zoo.create(name, num_classes=7).state_dict()) == name


def test_names_of_old_densenet_files():
    published, fresh = network(0, name="densenet121"), network(1, name="densenet121")
    old = {}
    for key, tensor in published.state_dict().items():
        for part in ("norm1", "norm2", "conv1", "conv2"):
            if "denselayer" in key:
                key = key.replace(f".{part}.", f".{part[:4]}.{part[4]}.")
        old[key] = tensor
    assert "features.denseblock1.denselayer1.norm.1.weight" in old and "features.norm0.weight" in old
    assert fit_weights(fresh, old).notes == ()
    assert equal(state(fresh), state(published))


@pytest.mark.parametrize("name", ["googlenet", "inception_v3"])
def test_auxiliary_classifiers(name):
    torch.manual_seed(0)
    published = zoo.create(name, num_classes=5, auxiliary=True)
    plain = zoo.create(name, num_classes=5, auxiliary=False)
    note = fit_weights(plain, published.state_dict()).notes[0]
    assert note.startswith("The auxiliary heads ") and note.endswith("of the file are left out.")
    other = zoo.create(name, num_classes=3, auxiliary=True)
    fitted = fit_weights(other, published.state_dict(), adapt_classes=True)
    assert fitted.notes == ("The classifier fc starts anew, with 3 classes: the file has 5.",)
    head = other.auxiliary[0]
    kept = f"{head.classifier}.weight"
    assert other.state_dict()[kept].shape[0] == 3
    inside = next(key for key in published.state_dict() if key.startswith(head.name) and "conv" in key)
    assert torch.equal(other.state_dict()[inside], published.state_dict()[inside])


def test_any_module():
    published, fresh = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 9)), nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2))
    assert fit_weights(fresh, published.state_dict(), adapt_classes=True).new_classifier
    assert torch.equal(fresh[0].weight, published[0].weight)
    with pytest.raises(WeightShapeError, match=r"0.weight \(4, 3\), expected \(4, 5\)"):
        fit_weights(nn.Sequential(nn.Linear(5, 4), nn.Linear(4, 2)), published.state_dict(), adapt_classes=True)


def test_loading_a_file_that_says_what_it_is(tmp_path):
    own = WeightsRecord("squeezenet1_1", Preprocessing((64, 64)), 5, tuple("abcde"), licence="MIT", source="own")
    published = network(0)
    write_weights(tmp_path / "net.safetensors", published, own)
    fresh = network(1)
    loaded = load_weights(fresh, tmp_path / "net.safetensors")
    assert loaded.record == own and loaded.notes == () and equal(state(fresh), state(published))
    fresh = network(1, classes=2, channels=1)
    loaded = load_weights(fresh, tmp_path / "net.safetensors", adapt_classes=True, adapt_channels=True)
    assert len(loaded.notes) == 2
    assert loaded.record.num_classes == 2 and loaded.record.class_names == ()
    assert loaded.record.preprocessing == own.preprocessing.for_channels(1)


def test_loading_published_weights(tmp_path, monkeypatch):
    published = network(0, classes=1000)
    fake = record("squeezenet1_1")
    torch.save(published.state_dict(), tmp_path / fake.file)
    monkeypatch.setattr(WeightsRecord, "matches", lambda *_: True)
    fresh = network(1, classes=1000)
    assert load_weights(fresh, tmp_path / fake.file).record == fake  # known by its name and hash
    assert equal(state(fresh), state(published))
    monkeypatch.setenv("STRIATE_HOME", str(tmp_path))
    (tmp_path / "weights").mkdir()
    (tmp_path / fake.file).rename(tmp_path / "weights" / fake.file)
    fresh = network(2, classes=1000)
    loaded = load_weights(fresh, "imagenet", architecture="squeezenet1_1")
    assert loaded.record == fake and equal(state(fresh), state(published))
    with pytest.raises(UnknownNameError, match="squeezenet1_1 has no weights 'imagenett'"):
        load_weights(fresh, "imagenett", architecture="squeezenet1_1")


def test_a_file_of_that_name_with_another_hash_is_not_taken_for_it(tmp_path):
    fake = record("squeezenet1_1")
    torch.save(network(0).state_dict(), tmp_path / fake.file)
    assert load_weights(network(1), tmp_path / fake.file).record is None
