"""The memory of a training step, against the live tensors of a real one."""

import copy
import re
from contextlib import nullcontext

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint
from typer.testing import CliRunner

import striate
from striate.account.peak import Tracker, default_loss, memory, parse_size, step
from striate.cli import app
from striate.errors import ArgumentError, ShapeError
from tests.models.test_model import small_cnn


class Residual(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(channels, channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(channels),
            nn.ReLU(inplace=True),
            nn.Conv2d(channels, channels, 3, padding=1, groups=channels),
        )

    def forward(self, x):
        return (x + self.body(x)).relu_()


class Recomputed(nn.Module):
    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, x):
        return checkpoint(self.inner, x, use_reentrant=False)


def resnet():
    return nn.Sequential(
        nn.Conv2d(3, 8, 3),
        Residual(8),
        nn.MaxPool2d(2),
        Residual(8),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(8, 5),
    )


def vit():
    layer = nn.TransformerEncoderLayer(16, 2, 32, dropout=0.1, batch_first=True)
    return nn.Sequential(nn.Conv2d(3, 16, 4, 4), nn.Flatten(2), nn.Linear(16, 16), nn.TransformerEncoder(layer, 2))


def dense():
    return nn.Sequential(nn.Flatten(), nn.Linear(768, 64), nn.Tanh(), nn.Dropout(0.5), nn.Linear(64, 5))


def checkpointed():
    return nn.Sequential(
        nn.Conv2d(3, 8, 3), Recomputed(Residual(8)), Recomputed(Residual(8)), nn.Flatten(), nn.Linear(1568, 5)
    )


OPTIMIZERS = {
    "momentum": lambda parameters: torch.optim.SGD(parameters, lr=0.1, momentum=0.9),
    "adamw": lambda parameters: torch.optim.AdamW(parameters),
    "striate's": lambda parameters: striate.optimizers.Adam().bind(parameters),
}


@pytest.mark.parametrize("precision", ["float32", "bf16"])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("make", [resnet, vit, dense, checkpointed])
def test_equal_to_the_byte_to_the_live_tensors_of_a_real_run(make, optimizer, precision):
    torch.manual_seed(0)
    module = make()
    bind = OPTIMIZERS[optimizer]
    predicted = memory(module, (3, 16, 16), 4, bind, precision)

    def autocast():
        return torch.autocast("cpu", torch.bfloat16) if precision == "bf16" else nullcontext()

    real = copy.deepcopy(module)
    inputs = torch.randn(4, 3, 16, 16)
    bound = bind(list(real.parameters()))
    tracker = Tracker(real)
    with tracker:
        step(real, inputs, bound, default_loss, autocast, tracker)
        start = tracker.clock
        step(real, inputs, bound, default_loss, autocast, tracker)
    assert predicted.peak_bytes == max(tracker.totals(start))
    assert predicted.peak_bytes == sum(predicted.at_peak.values())
    assert predicted.peak_bytes == max(map(sum, zip(*predicted.timeline.values(), strict=True)))


def test_the_parts_are_what_they_are():
    module = resnet()
    account = memory(module, (3, 16, 16), 4, OPTIMIZERS["momentum"])
    parameters = 4 * sum(parameter.numel() for parameter in module.parameters())
    assert account.at_peak["parameters"] == parameters
    assert account.at_peak["optimizer state"] == parameters
    assert account.at_peak["inputs"] == 4 * 4 * 3 * 16 * 16
    assert account.timeline["gradients"][-1] == parameters
    assert sum(account.holders.values()) == account.at_peak["activations"]
    assert account.inference_bytes < account.peak_bytes
    for part in ("at the peak (in the", "optimizer state", "Inference, batch 4"):
        assert part in str(account)


def test_checkpointing_and_bf16_save_activations():
    plain, recomputed = (
        nn.Sequential(Residual(8), Residual(8)),
        nn.Sequential(Recomputed(Residual(8)), Recomputed(Residual(8))),
    )
    sizes = [memory(module, (8, 32, 32), 8, "sgd").peak_bytes for module in (plain, recomputed)]
    assert sizes[1] < sizes[0]
    assert memory(plain, (8, 32, 32), 8, "sgd", "bf16").peak_bytes < sizes[0]


def test_the_largest_batch_that_fits():
    module = dense()
    limit = "1 MB"
    largest = memory(module, (3, 16, 16)).max_batch_size(limit)
    assert memory(module, (3, 16, 16), largest).peak_bytes <= parse_size(limit)
    assert memory(module, (3, 16, 16), largest + 1).peak_bytes > parse_size(limit)
    assert memory(module, (3, 16, 16)).max_batch_size(1000) == 0


def test_models_of_striate_and_modules_on_meta_are_not_touched():
    model = small_cnn()
    before, random_state = copy.deepcopy(model.state_dict()), torch.get_rng_state()
    account = memory(model, (8, 8, 1), 2)
    assert account.at_peak["parameters"] == 4 * sum(parameter.numel() for parameter in model.parameters())
    assert model.training
    assert not any(part._forward_hooks for part in model.modules())
    assert torch.equal(torch.get_rng_state(), random_state)
    assert all(torch.equal(a, b) for a, b in zip(before.values(), model.state_dict().values(), strict=True))
    with torch.device("meta"):
        assert memory(small_cnn(), (8, 8, 1), 2).peak_bytes == account.peak_bytes


def test_the_picture(tmp_path):
    from PIL import Image

    account = memory(dense(), (3, 16, 16), 4)
    account.save_picture(tmp_path / "memory.png")
    picture = Image.open(tmp_path / "memory.png").convert("RGB")
    assert picture.width > 1000
    assert len(picture.getcolors(2**24)) > 50
    with pytest.raises(ArgumentError, match=r"ends in \.png"):
        account.save_picture(tmp_path / "memory.jpg")
    with pytest.raises(ArgumentError, match="cannot be written"):
        account.save_picture(tmp_path / "missing" / "memory.png")


@pytest.mark.parametrize(
    ("size", "expected"), [("24GB", 24 * 2**30), ("1.5 g", 3 * 2**29), ("80GiB", 80 * 2**30), (7, 7)]
)
def test_sizes(size, expected):
    assert parse_size(size) == expected


def test_mistakes():
    module = dense()
    with pytest.raises(ArgumentError, match="is no size"):
        memory(module, (3, 16, 16)).max_batch_size("large")
    with pytest.raises(ArgumentError, match="precision='fp8'"):
        memory(module, (3, 16, 16), precision="fp8")
    with pytest.raises(ArgumentError, match="batch_size=0"):
        memory(module, (3, 16, 16), 0)
    with pytest.raises(ShapeError, match=r"could not be traced on \(1, 5\)"):
        memory(module, (5,))
    with pytest.raises(ArgumentError, match="no trainable parameters"):
        memory(nn.ReLU(), (5,))


PUBLISHED = {  # MiB at the peak, of torchvision's models
    "resnet50": (16, OPTIMIZERS["momentum"], 1537.27),
    "vit_b_16": (8, OPTIMIZERS["adamw"], 1917.97),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_known_peaks(models, name):
    batch, bind, expected = PUBLISHED[name]
    with torch.device("meta"):
        model = models.get_model(name)
    assert memory(model, (3, 224, 224), batch, bind).peak_bytes / 2**20 == pytest.approx(expected, abs=0.005)


def test_on_the_command_line(tmp_path):
    picture = tmp_path / "step.png"
    result = CliRunner().invoke(app, ["memory", "lenet", "--gpu", "100MB", "--picture", str(picture)])
    assert result.exit_code == 0
    assert "Training, batch 32: " in result.output
    assert re.search(r"The largest batch whose tensors fit into 100MB: [1-9]", result.output)
    assert picture.stat().st_size > 10_000
    for wrong, answer in ((["--precision", "fp8"], "expected one of"), (["--optimizer", "adm"], "Did you mean 'adam'")):
        result = CliRunner().invoke(app, ["memory", "lenet", *wrong])
        assert (result.exit_code, answer in result.stderr) == (1, True)
