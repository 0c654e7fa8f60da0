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
from striate.account.arguments import Call
from striate.account.peak import checkpointing, memory, parse_size
from striate.account.peak.kernels import workspace_bytes
from striate.account.peak.tracker import Tracker, default_loss, evaluate, step
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


class Several(nn.Module):
    """Two inputs, words and an image, and a dict of outputs."""

    def __init__(self):
        super().__init__()
        self.words = nn.Embedding(50, 8)
        self.image = nn.Conv2d(3, 8, 3)

    def forward(self, words, image):
        seen = self.image(image).mean((2, 3))
        return {"scores": self.words(words) + seen[:, None], "inner": (seen, [words])}


class Choosing(nn.Module):
    def forward(self, x):
        return x if x.sum() > 0 else -x


class Detached(nn.Linear):
    def __init__(self):
        super().__init__(4, 4)

    def forward(self, x):
        return super().forward(x).detach()


def recurrent():
    return nn.Sequential(nn.Flatten(2), nn.LSTM(256, 24, num_layers=2, bidirectional=True, batch_first=True), Last())


class Last(nn.Module):
    def forward(self, outputs):
        return outputs[0][:, -1]


def striates_recurrent():
    layers = striate.layers
    return striate.models.Sequential(
        [layers.LSTM(12, return_sequences=True, input_shape=(6, 10)), layers.GRU(8), layers.Dense(3)]
    )


def real_peaks(module, inputs, bind, precision="float32"):
    """The most that was live in a real evaluation and in the second of two real steps."""

    def autocast():
        return torch.autocast("cpu", torch.bfloat16) if precision == "bf16" else nullcontext()

    call = Call(inputs)
    with Tracker(module.eval()) as inference:
        evaluate(module, call, autocast, inference)
    bound = bind(list(module.parameters()))
    with Tracker(module.train()) as tracker:
        step(module, call, bound, default_loss, autocast, tracker)
        start = tracker.clock
        step(module, call, bound, default_loss, autocast, tracker)
    return max(inference.totals()), max(tracker.totals(start))


def assert_predicted(module, shape, batch, optimizer, precision, recompute=False):
    bind = OPTIMIZERS[optimizer]
    predicted = memory(module, shape, batch, bind, precision, checkpoint=recompute)
    real = copy.deepcopy(module)
    if recompute:
        checkpointing.apply(real)
    inference, training = real_peaks(real, (torch.randn(batch, *shape),), bind, precision)
    assert predicted.peak_bytes == training
    assert predicted.inference_bytes == inference
    assert predicted.peak_bytes == sum(predicted.at_peak.values())
    assert predicted.peak_bytes == max(map(sum, zip(*predicted.timeline.values(), strict=True)))


@pytest.mark.parametrize("precision", ["float32", "bf16"])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("make", [resnet, vit, dense, checkpointed, recurrent])
def test_equal_to_the_byte_to_the_live_tensors_of_a_real_run(make, optimizer, precision):
    torch.manual_seed(0)
    assert_predicted(make(), (3, 16, 16), 4, optimizer, precision)


@pytest.mark.parametrize("precision", ["float32", "bf16"])
@pytest.mark.parametrize("make", [striates_recurrent, small_cnn])
def test_models_of_striate_to_the_byte(make, precision):
    model = make()
    assert_predicted(model, model.input_layers[0].shape, 5, "striate's", precision)


@pytest.mark.parametrize("layer", [nn.LSTM(7, 9), nn.GRU(7, 9, bias=False), nn.RNN(7, 9), nn.LSTM(7, 9, proj_size=4)])
def test_recurrent_layers_to_the_byte(layer):
    assert_predicted(layer, (6, 7), 3, "momentum", "float32")


ZOO = {  # small variants of torchvision's families
    "resnet": lambda models: models.ResNet(models.resnet.BasicBlock, [1, 2, 1, 1]),
    "densenet": lambda models: models.DenseNet(8, (2, 3), 16),
    "mobilenet_v2": lambda models: models.MobileNetV2(width_mult=0.25),
    "mobilenet_v3": lambda models: models.mobilenet_v3_small(width_mult=0.5),
    "vit": lambda models: models.VisionTransformer(64, 16, 2, 2, 32, 64, dropout=0.1),
    "swin": lambda models: models.SwinTransformer([4, 4], 24, [2, 2], [2, 4], [4, 4]),
}


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["float32", "bf16", "checkpoint"])
@pytest.mark.parametrize("optimizer", ["momentum", "adamw"])
@pytest.mark.parametrize("family", ZOO)
def test_families_to_the_byte(models, family, optimizer, mode):
    torch.manual_seed(0)
    module = ZOO[family](models)
    precision = "bf16" if mode == "bf16" else "float32"
    assert_predicted(module, (3, 64, 64), 2, optimizer, precision, mode == "checkpoint")


@pytest.mark.parametrize("item", [4, 2])
@pytest.mark.parametrize("sizes", [(1, 1, 1, 1), (10, 7, 100, 250), (5, 3, 256, 64), (9, 2, 33, 47)])
def test_the_workspace_of_a_real_lstm(sizes, item):
    steps, samples, features, units = sizes
    layer = nn.LSTM(features, units)
    with Tracker(layer) as tracker, torch.autocast("cpu", torch.bfloat16, enabled=item == 2):
        output = layer(torch.randn(steps, samples, features))
    assert workspace_bytes(*sizes, item) in [life.size for life in tracker.lives]
    del output


def test_several_inputs_of_several_types():
    module = Several()
    inputs = (torch.zeros(4, 5, dtype=torch.int64), torch.randn(4, 3, 8, 8))
    account = memory(module, inputs=inputs, optimizer=OPTIMIZERS["adamw"])
    by_name = memory(module, inputs={"words": inputs[0], "image": inputs[1]}, optimizer=OPTIMIZERS["adamw"])
    assert account.batch_size == 4
    assert account.at_peak["inputs"] == 4 * 5 * 8 + 4 * 4 * 3 * 8 * 8
    assert (account.inference_bytes, account.peak_bytes) == real_peaks(module, inputs, OPTIMIZERS["adamw"])
    assert by_name.peak_bytes == account.peak_bytes
    assert account.max_batch_size("1GB") > 4
    adding = striate.models.Model(
        [a := striate.layers.Input((4,)), b := striate.layers.Input((4,))], striate.layers.Add()([a, b])
    )
    assert memory(adding, [(4,), (4,)], 3).at_peak["inputs"] == 2 * 3 * 4 * 4
    words = nn.Embedding(20, 4)
    assert memory(words, (6,), 2, dtype=torch.int64).at_peak["inputs"] == 2 * 6 * 8


def test_without_trainable_parameters_it_is_the_inference():
    module = resnet().requires_grad_(False)
    account = memory(module, (3, 16, 16), 4)
    assert not account.trains
    assert account.peak_bytes == account.inference_bytes == sum(account.at_peak.values())
    assert account.at_peak["gradients"] == account.at_peak["optimizer state"] == 0
    assert "nothing is trainable" in str(account)
    assert {saving.change for saving in account.savings()} == {"bfloat16 autocast", "a batch of 2"}


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


@pytest.mark.parametrize("limit", ["20 MB", 40 * 2**20, "1GB"])
def test_the_largest_batch_that_fits(limit):
    module = dense()
    largest = memory(module, (3, 16, 16)).max_batch_size(limit)
    assert largest > 100
    peaks = [memory(module, (3, 16, 16), batch, device="cuda").peak_bytes for batch in (largest, largest + 1)]
    assert peaks[0] <= parse_size(limit) < peaks[1]


def test_no_batch_fits():
    assert memory(dense(), (3, 16, 16)).max_batch_size(1000) == 0


def test_savings_are_those_of_the_changed_step():
    module = nn.Sequential(*(Residual(8) for _ in range(4)))
    account = memory(module, (8, 32, 32), 8, OPTIMIZERS["adamw"])
    savings = {saving.change: saving for saving in account.savings()}
    changed = {
        "bfloat16 autocast": memory(module, (8, 32, 32), 8, OPTIMIZERS["adamw"], "bf16"),
        "a batch of 4": memory(module, (8, 32, 32), 4, OPTIMIZERS["adamw"]),
        "checkpointing of 4 blocks": memory(module, (8, 32, 32), 8, OPTIMIZERS["adamw"], checkpoint=True),
        "SGD with momentum": memory(module, (8, 32, 32), 8, OPTIMIZERS["momentum"]),
    }
    assert {change: saving.peak_bytes for change, saving in savings.items()} == {
        change: other.peak_bytes for change, other in changed.items()
    }
    assert [s.saved_bytes for s in account.savings()] == sorted((s.saved_bytes for s in savings.values()), reverse=True)
    assert savings["checkpointing of 4 blocks"].saved_bytes > account.peak_bytes / 3
    assert re.search(r"with checkpointing of 4 blocks \(-\d\d%\)", account.text(savings=True))
    assert "checkpointing" not in account.text()


def test_blocks_are_the_repeated_ones(models):
    counts = {family: len(checkpointing.blocks(make(models))) for family, make in ZOO.items()}
    assert counts == {"resnet": 2, "densenet": 5, "mobilenet_v2": 17, "mobilenet_v3": 11, "vit": 2, "swin": 4}
    assert checkpointing.blocks(dense()) == []


# What CUDA would do, by hand ------------------------------------------------------------------------------------------


def kept_on(device, module, shape, batch=4, precision="float32"):
    """The activations that are held after the first operation of the backward pass."""
    account = memory(module, shape, batch, OPTIMIZERS["momentum"], precision, device=device)
    return account.timeline["activations"][account.marks["backward"] + 1]


class Attention(nn.Module):
    def __init__(self, dropout=0.0, masked=False):
        super().__init__()
        self.product, self.dropout, self.masked = nn.Linear(32, 96), dropout, masked

    def forward(self, x):
        query, key, value = self.product(x).unflatten(-1, (3, 4, 8)).permute(2, 0, 3, 1, 4)
        mask = torch.ones(x.shape[1], x.shape[1], dtype=torch.bool).tril() if self.masked else None
        return nn.functional.scaled_dot_product_attention(query, key, value, mask, self.dropout)


@pytest.mark.parametrize("precision", ["float32", "bf16"])
@pytest.mark.parametrize("dropout", [0.0, 0.1])
def test_no_matrix_of_scores_on_cuda(dropout, precision):
    """Kept: the products, the outputs, a logarithm for each row of scores; all sizes are multiples of a block."""
    batch, tokens, item = 4, 256, 4 if precision == "float32" else 2
    kept = kept_on("cuda", Attention(dropout), (tokens, 32), batch, precision)
    scores = 4 * batch * 4 * tokens * tokens
    products = item * batch * tokens * 96
    outputs = item * batch * tokens * 32
    rows = 4 * batch * 4 * tokens
    copies = item * batch * tokens * 32 * (precision == "bf16")  # of the input
    assert 0 <= kept - (products + outputs + rows + copies) <= 6 * 512
    assert kept < scores / 2
    if dropout:  # a CPU's fused kernel knows no dropout
        assert kept_on("cpu", Attention(dropout), (tokens, 32), batch, precision) > scores


def test_a_mask_goes_to_the_memory_efficient_kernel():
    assert kept_on("cuda", Attention(masked=True), (256, 32), precision="bf16") < 4 * 4 * 256 * 256


def test_dropout_keeps_a_byte_a_value_on_cuda():
    """Kept beside the mask: the logarithms of the softmax, in float32."""
    module = nn.Sequential(nn.Linear(256, 256), nn.Dropout(0.5))
    values = 64 * 256
    assert 0 <= kept_on("cuda", module, (256,), 64) - (4 * values + values) <= 6 * 512
    assert 0 <= kept_on("cpu", module, (256,), 64) - (4 * values + 4 * values) <= 6 * 512


def test_layer_normalisation_is_in_float32_on_cuda():
    module = nn.Sequential(nn.Linear(64, 64), nn.LayerNorm(64), nn.Linear(64, 64))
    on_cpu, on_cuda = (kept_on(device, module, (32, 64), 8, "bf16") for device in ("cpu", "cuda"))
    assert on_cuda - on_cpu >= 2 * 8 * 32 * 64


def test_blocks_of_512_bytes_and_the_workspaces_of_cublas():
    account = memory(nn.Linear(3, 2), (3,), 2, OPTIMIZERS["momentum"], device="cuda")
    assert account.at_peak["parameters"] == account.timeline["gradients"][-1] == 2 * 512
    assert account.at_peak["temporaries"] >= 2 * 8_519_680
    assert account.device == "cuda"
    assert ", on CUDA: " in str(account)
    assert memory(nn.ReLU(), (3,), 2, device="cuda").peak_bytes == 2 * 512


def test_adamw_updates_all_parameters_at_once_on_cuda():
    module = nn.Sequential(*(nn.Linear(128, 128, bias=False) for _ in range(4)))
    account = memory(module, (128,), 4, OPTIMIZERS["adamw"], device="cuda")
    parameters = 4 * 128 * 128 * 4
    assert account.timeline["optimizer state"][-1] == 2 * parameters
    update = account.timeline["temporaries"][account.marks["optimizer step"] :]
    assert max(update) - 2 * 8_519_680 >= parameters


def test_real_tensors_keep_their_kernels_after_a_prediction_for_cuda():
    x = torch.randn(2, 4, 8, 16)
    before = nn.functional.scaled_dot_product_attention(x, x, x)
    memory(Attention(0.1), (16, 32), device="cuda", precision="bf16")
    assert torch.equal(nn.functional.scaled_dot_product_attention(x, x, x), before)
    assert torch.equal(nn.functional.dropout(x, 0.5, training=False), x)
    with torch.autocast("cpu", torch.bfloat16):
        assert nn.functional.layer_norm(x.bfloat16(), (16,)).dtype == torch.bfloat16


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("precision", ["float32", "bf16"])
@pytest.mark.parametrize("name", ["resnet50", "vit_b_16"])
def test_within_5_percent_of_a_gpu(models, name, precision):
    model = models.get_model(name)
    predicted = memory(model, (3, 224, 224), 16, OPTIMIZERS["adamw"], precision, device="cuda").peak_bytes
    model.cuda()
    images = torch.randn(16, 3, 224, 224, device="cuda")
    bound = OPTIMIZERS["adamw"](model.parameters())
    for _ in range(2):
        torch.cuda.reset_peak_memory_stats()
        bound.zero_grad()
        with torch.autocast("cuda", torch.bfloat16, enabled=precision == "bf16"):
            loss = default_loss(model(images))
        loss.backward()
        bound.step()
    assert predicted == pytest.approx(torch.cuda.max_memory_allocated(), rel=0.05)


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
    with pytest.raises(ArgumentError, match="either input_shape"):
        memory(module)
    with pytest.raises(ArgumentError, match="device='gpu'"):
        memory(module, (3, 16, 16), device="gpu")
    with pytest.raises(ArgumentError, match=r"^1 needs the values of its tensors \(aten\._local_scalar_dense"):
        memory(nn.Sequential(nn.Linear(4, 4), Choosing()), (4,))
    with pytest.raises(ArgumentError, match="depends on no trainable parameter"):
        memory(Detached(), (4,))


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
    assert re.search(r"The largest batch whose tensors fit into 100MB on CUDA: [1-9]", result.output)
    assert picture.stat().st_size > 10_000
    result = CliRunner().invoke(app, ["memory", "lenet", "--device", "cuda", "--savings"])
    assert "Training, batch 32, on CUDA: " in result.output
    assert "with a batch of 16" in result.output
    for wrong, answer in ((["--precision", "fp8"], "expected one of"), (["--optimizer", "adm"], "Did you mean 'adam'")):
        result = CliRunner().invoke(app, ["memory", "lenet", *wrong])
        assert (result.exit_code, answer in result.stderr) == (1, True)
