"""`striate train --model BACKBONE --weights FILE`: the head first, then the network; and what is refused."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from typer.testing import CliRunner

import striate
from striate import zoo
from striate.cli import app
from striate.cli.networks import make_model
from striate.cli.plan import Plan
from striate.cli.reading import Parts
from striate.cli.recipe import choose
from striate.data import Dataset
from striate.zoo import Preprocessing, WeightsRecord
from striate.zoo.weights import write_weights

NAME = "squeezenet1_1"


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    """A folder of bright and dark images, and weights of a backbone, where the commands run."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    generator = np.random.default_rng(0)
    for name, brightness in (("bright", 150), ("dark", 50), ("middle", 100)):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for number in range(12):
            pixels = generator.integers(brightness - 30, brightness + 30, (40, 40, 3)).astype(np.uint8)
            Image.fromarray(pixels).save(tmp_path / "photos" / name / f"{number}.png")
    torch.manual_seed(0)
    preprocessing = Preprocessing(crop=(33, 33), resize=None, mean=(0.4,) * 3, std=(0.2,) * 3)
    record = WeightsRecord(NAME, preprocessing, 1000, licence="CC0")
    write_weights("weights.safetensors", zoo.create(NAME), record)
    return tmp_path


def striate_(*arguments):
    result = CliRunner().invoke(app, list(arguments))
    return result.exit_code, result.output + result.stderr


def trained(*more):
    code, output = striate_("train", "photos", "--model", NAME, "--weights", "weights.safetensors", *more)
    assert code == 0, output
    return output


def test_the_head_is_fitted_and_the_network_fine_tuned(place):
    output = trained("--epochs", "2", "--name", "run")
    assert "36 images of 33 × 33 × 3" in output  # as the weights were trained
    assert "head: a linear layer (fitted to 26 × 512 features" in output
    assert "fine-tuning: from the head down (all parts learn after 1 of 2 epochs)" in output
    assert "weights: weights.safetensors (CC0)" in output
    assert "The classifier classifier.1 starts anew, with 3 classes: the file has 1,000." in output
    model = striate.load("runs/run/model.safetensors")
    assert [layer.name for layer in model.layers] == [
        "rescaling", f"{NAME}_to_channels_first", NAME, "activation"]  # fmt: skip
    np.testing.assert_allclose(model.layers[0].scale, [1 / (255 * 0.2)] * 3)
    config = json.loads(Path("runs/run/config.json").read_text())
    assert config["weights"] == str(Path("weights.safetensors").resolve())  # `--resume` finds it from any folder
    weights, begun = load_file("runs/run/model.safetensors"), load_file("weights.safetensors")
    changed = {key.partition(".op.")[2] for key in weights if key.partition(".op.")[2] in begun
               and not torch.equal(weights[key], begun[key.partition(".op.")[2]])}  # fmt: skip
    assert "features.12.expand3x3.weight" in changed
    assert "features.0.weight" in changed  # in the second epoch
    code, output = striate_("predict", "runs/run", "photos/dark/0.png", "--json")
    assert code == 0
    assert set(json.loads(output)[0]["probabilities"]) == {"bright", "dark", "middle"}
    assert striate_("evaluate", "runs/run")[0] == 0


def test_a_head_on_frozen_features(place):
    output = trained("--fine-tune", "none", "--name", "probe")
    assert "fine-tuning: none (as asked: a linear layer on frozen features)" in output
    assert "epochs:" not in output
    weights, begun = load_file("runs/probe/model.safetensors"), load_file("weights.safetensors")
    body = [key for key in begun if not key.startswith("classifier")]
    assert all(torch.equal(weights[f"layers.{NAME}.op.{key}"], begun[key]) for key in body)
    metrics = json.loads((place / "runs/probe/metrics.json").read_text())
    assert metrics["accuracy"] > 0.5  # brightness is in any features
    assert (place / "runs/probe/report.html").is_file()


def test_fresh_weights_of_a_backbone(place):
    code, output = striate_("train", "photos", "--model", NAME, "--epochs", "1", "--image-size", "32")
    assert code == 0, output
    assert "fine-tuning" not in output
    assert striate_("predict", f"runs/photos-{NAME}", "photos/dark/0.png")[0] == 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--model", "cnn", "--weights", "imagenet"), "--weights imagenet: weights are for the backbones that"),
        (("--model", "resnet18", "--fine-tune", "none"), "nothing to fine-tune without --weights"),
        (("--model", "resnet81"), "Did you mean 'resnet18'"),
        (("--model", NAME, "--weights", "imagenett"), "Did you mean 'imagenet'"),
        (("--model", NAME, "--weights", "none.pth"), "There is no file 'none.pth'"),
        (("--model", NAME, "--weights", "w", "--fine-tune", "some"), "--fine-tune"),
        (("--model", "resnet18", "--weights", "weights.safetensors"), NAME),
        (("--model", NAME, "--weights", "imagenet"), "curl --location"),  # nobody can be asked here
    ],
)
def test_what_is_refused(place, arguments, said):
    code, output = striate_("train", "photos", *arguments)
    assert code in (1, 2)
    assert said in " ".join(output.split())
    assert "Traceback" not in output
    assert not (place / "runs").exists()


@pytest.mark.parametrize("task", ["binary", "multiclass", "multilabel", "regression"])
def test_the_head_fits_the_task(task):
    """The fitted head is right on the images that it was fitted to, before any step of fine-tuning."""
    generator = np.random.default_rng(0)
    levels = generator.integers(0, 3, 30)
    x = (60 * levels[:, None, None, None] + generator.integers(0, 40, (30, 33, 33, 3))).astype(np.uint8)
    y, names = {
        "binary": ((levels > 0).astype(np.int64), ("dark", "bright")),
        "multiclass": (levels.astype(np.int64), ("dark", "middle", "bright")),
        "multilabel": (np.stack([levels > 0, levels > 1], 1).astype(np.float32), ("not dark", "bright")),
        "regression": (levels.astype(np.float32), ()),
    }[task]
    data = Dataset("levels", x, y, names)
    assert data.task == task
    plan = Plan("levels", model=NAME, weights="weights.safetensors", epochs=1)
    model = make_model(plan, data)
    recipe = choose(plan, Parts(data, data, None, data), model, "numbers" if task == "regression" else "probabilities")
    recipe.transfer.fit_head(data, "cpu")
    found = recipe.trainer(model).predict(x)
    if task == "regression":
        assert np.abs(found[:, 0] - y).mean() < 0.2
    elif task == "multiclass":
        assert (found.argmax(1) == y).mean() > 0.9
    else:
        assert ((found > 0.5).reshape(y.shape) == (y > 0.5)).mean() > 0.9


def test_networks_of_other_libraries(models):
    """Trained, saved and opened again by name; `models` is what torchvision needs here."""
    pytest.importorskip("timm")
    for name in ("torchvision:squeezenet1_1", "timm:resnet10t"):
        library = name.partition(":")[0]
        code, output = striate_(
            "train", "photos", "--model", name, "--epochs", "1", "--image-size", "40", "--name", library
        )
        assert code == 0, output
        code, output = striate_("predict", library, "photos/dark/0.png", "--json")
        assert code == 0, output
        assert sum(json.loads(output)[0]["probabilities"].values()) == pytest.approx(1, abs=1e-4)
        code, output = striate_("evaluate", library)
        assert code == 0, output
    code, output = striate_("train", "photos", "--model", "timm:resnet10tt", "--epochs", "1")
    assert code == 1 and "Did you mean" in output
