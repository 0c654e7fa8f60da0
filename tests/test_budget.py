"""Networks for a budget: closed forms against `count`, limits kept, code that runs; changes against changed models."""

import re

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from typer.testing import CliRunner

import striate
from striate.budget import DenseDesign, ImageDesign, Limits, propose, score, shrink
from striate.budget.channels import read
from striate.budget.designs import stage_limit
from striate.budget.limits import amount
from striate.cli import app
from striate.errors import ArgumentError, ShapeError
from striate.layers import (
    Add,
    BatchNormalization,
    Conv2D,
    Dense,
    Flatten,
    GlobalAveragePooling2D,
    Input,
    SeparableConv2D,
)
from striate.models import Model, Sequential, small

# Designs ---------------------------------------------------------------------------------------------------------


@st.composite
def image_designs(draw):
    height, width = draw(st.integers(1, 20)), draw(st.integers(1, 20))
    stride = draw(st.sampled_from([1, 2, 4]))
    return ImageDesign(
        (height, width, draw(st.sampled_from([1, 3]))),
        draw(st.integers(1, 5)),
        draw(st.sampled_from(["multiclass", "regression"])),
        draw(st.integers(1, 12)),
        draw(st.integers(1, stage_limit(height, width, stride))),
        draw(st.integers(1, 3)),
        draw(st.sampled_from([3, 5])),
        draw(st.booleans()),
        draw(st.booleans()),
        stride,
        draw(st.booleans()),
    )


dense_designs = st.builds(
    DenseDesign,
    st.tuples(st.integers(1, 40)),
    st.integers(1, 5),
    st.just("multiclass"),
    st.integers(1, 30),
    st.integers(1, 4),
)


def check_against_count(design):
    model = design.build()
    ledger = striate.count(model, design.input_shape)
    assert (ledger.parameters, ledger.macs, ledger.neurons) == design.costs[:3]
    assert model.outputs[0].shape == (None, design.num_outputs)
    assert model.count_neurons() == design.costs.neurons
    with_weights = [e for e in ledger if e.formulas and not e.path.endswith(".depthwise")]
    assert len(with_weights) == design.depth


@settings(max_examples=12, deadline=None)
@given(image_designs())
def test_closed_forms_of_images_equal_the_count_of_the_model(design):
    check_against_count(design)


@settings(max_examples=6, deadline=None)
@given(dense_designs)
def test_closed_forms_of_features_equal_the_count_of_the_model(design):
    check_against_count(design)


def test_filters_stop_doubling_at_512():
    design = ImageDesign((64, 64, 3), 10, "multiclass", 200, 5)
    assert design.filters == [200, 400, 512, 512, 512]


def test_receptive_field_by_hand():
    # 3 × 3 twice: 5; pooling adds 1 and doubles the step; 3 × 3 twice on that: 5 + 1 + 2·2 + 2·2.
    assert ImageDesign((32, 32, 3), 10, "multiclass", 8, stages=2, blocks=2).reach == 14
    # 7 × 7 with stride 4, then 3 × 3 with steps of 4.
    assert ImageDesign((224, 224, 3), 10, "multiclass", 8, stages=1, blocks=2, stride=4).reach == 15


def test_receptive_field_is_that_of_the_gradient():
    design = ImageDesign((40, 40, 1), 2, "regression", 2, stages=2, blocks=1, kernel=5)
    layers = design.build().layers
    convolutions = [layer.op for layer in layers if isinstance(layer, Conv2D)]
    x = torch.zeros(1, 1, 40, 40, requires_grad=True)
    for convolution in convolutions:
        nn.init.ones_(convolution.weight)
    features = convolutions[1](nn.functional.avg_pool2d(convolutions[0](x), 2))
    features[0, 0, 10, 10].backward()
    assert (x.grad[0, 0].sum(0) != 0).sum() == design.reach


# Proposals -------------------------------------------------------------------------------------------------------

BUDGETS = [
    ((8, 8, 1), {"parameters": "20k"}),
    ((32, 32, 3), {"parameters": "100k", "macs": "20M", "memory_bytes": "8GB"}),
    ((16, 24, 3), {"memory_bytes": "10MB", "batch_size": 16}),
    ((30,), {"parameters": 5000}),
    ((1, 1, 3), {"macs": 5000}),
]


@pytest.mark.parametrize(("shape", "limits"), BUDGETS, ids=str)
def test_proposals_meet_the_budget_and_are_no_twins(shape, limits):
    proposals = propose(shape, 10, **limits)
    allowed = Limits.of(**{name: limit for name, limit in limits.items() if name != "batch_size"}).set
    for proposal in proposals:
        for name, limit in allowed.items():
            assert getattr(proposal, name) <= limit
        assert proposal.reason
    assert len({proposal.design.traits for proposal in proposals}) == len(proposals)
    scores = [proposal.score for proposal in proposals]
    assert scores == sorted(scores, reverse=True)
    if len(shape) == 3 and min(shape[:2]) > 1:
        assert len(proposals) == 5


@pytest.mark.slow
def test_large_images():
    best = propose((224, 224, 3), 100, parameters="2M", macs="300M")[0]
    assert 1_000_000 < best.parameters <= 2_000_000
    assert best.macs <= 300_000_000
    assert best.design.reach >= 224


def test_the_memory_is_that_of_a_traced_step():
    best = propose((16, 16, 1), 4, parameters="5k", batch_size=8)[0]
    assert best.memory_bytes == striate.memory(best.build(), (16, 16, 1), 8).peak_bytes


def test_the_estimate_of_memory_is_near_the_trace_and_rather_above():
    for proposal in propose((16, 16, 3), 10, parameters="30k"):
        assert 0.95 < proposal.design.costs.memory_bytes(32) / proposal.memory_bytes < 1.4


def test_a_wider_network_of_the_same_form_does_not_fit():
    for proposal in propose((32, 32, 3), 10, macs="5M"):
        design = proposal.design
        wider = ImageDesign(**{**vars_of(design), "width": design.width + 8})
        assert wider.costs.macs > 5_000_000


def vars_of(design):
    return {name: getattr(design, name) for name in design.__dataclass_fields__}


@pytest.mark.parametrize(("task", "outputs", "activation"), [("binary", 1, "sigmoid"), ("regression", 3, None)])
def test_the_task_decides_the_last_activation(task, outputs, activation):
    last = propose((8, 8, 1), outputs, parameters="2k", task=task)[0].build().layers[-1]
    assert (last.units, getattr(last.activation, "identifier", None)) == (outputs, activation)


def test_the_code_builds_the_same_model_for_other_data_too():
    proposal = propose((8, 8, 1), 10, parameters="20k")[1]
    names = {}
    exec(proposal.code, names)
    made, built = names["build"](), proposal.build()
    assert [type(layer) for layer in made.layers] == [type(layer) for layer in built.layers]
    assert made.count_params() == built.count_params()
    assert names["build"]((12, 10, 3), 7).outputs[0].shape == (None, 7)
    assert proposal.code.startswith(f'"""{proposal.description}.\n\n{proposal.parameters:,} parameters')
    compile(proposal.code, "model.py", "exec")


@settings(max_examples=15, deadline=None)
@given(image_designs())
def test_code_imports_what_it_uses_and_no_more(design):
    code = design.code
    imported = re.search(r"from striate.layers import \(?([\w,\s]+)\)?\n", code)[1].replace(",", " ").split()
    imported = [name for name in imported if name != "from"]
    body = code.partition("from striate.models")[2]
    assert set(imported) == {name for name in dir(striate.layers) if re.search(rf"\b{name}\(", body)} - {"Model"}


def test_ranking_by_hand():
    limits = Limits(10_000)
    base = {"stages": 2, "blocks": 2}
    plain = ImageDesign((8, 8, 1), 10, "multiclass", 24, **base)
    assert score(ImageDesign((8, 8, 1), 10, "multiclass", 12, **base), limits) < score(plain, limits) - 1
    deep = ImageDesign((8, 8, 1), 10, "multiclass", 24, stages=2, blocks=4)
    assert plain.depth == 5 and deep.depth == 9
    unlimited = Limits(10**6)
    gain = np.log2(deep.costs.parameters / plain.costs.parameters) + np.log2(deep.costs.macs / plain.costs.macs) / 4
    assert score(deep, unlimited) - score(plain, unlimited) == pytest.approx(gain - np.log2(9 / 8))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"parameters": 20},
            r"No network meets 20 parameters on samples of 8 × 8 × 1. The nearest takes \d+ parameters",
        ),
        ({"parameters": "1k", "macs": 10}, r"10 MACs.*the least of each is \d+ parameters, [\d,]+ MACs"),
        ({"memory_bytes": "1KB"}, r"1.00 KB of memory.*at batch 32"),
        ({}, "A budget needs a limit"),
        ({"parameters": "many"}, "parameters='many': expected a positive count such as 100k"),
        ({"macs": 0}, "macs=0: expected a positive count"),
        ({"memory_bytes": "much"}, "'much' is no size"),
        ({"parameters": "1k", "batch_size": 0}, "batch_size=0: expected a positive integer"),
        ({"parameters": "1k", "task": "multi"}, "task='multi': expected one of"),
    ],
)
def test_budgets_that_cannot_be_met(arguments, message):
    with pytest.raises(ArgumentError, match=message):
        propose((8, 8, 1), 10, **arguments)


def test_the_least_that_is_said_to_fit_fits():
    with pytest.raises(ArgumentError) as refused:
        propose((8, 8, 1), 10, parameters=20)
    least = int(re.search(r"takes (\d+) parameters", str(refused.value))[1])
    assert propose((8, 8, 1), 10, parameters=least)[0].parameters == least


def test_sequences_are_no_images():
    with pytest.raises(ShapeError, match=r"images .height, width, channels. or lists of features, got 5 × 10"):
        propose((5, 10), 3, parameters="10k")


def test_amounts():
    texts = ["100k", "20M", "1.5G", "2b", "1,000", "300", 7]
    assert [amount(text, "macs") for text in texts] == [10**5, 2 * 10**7, 15 * 10**8, 2 * 10**9, 1000, 300, 7]
    for text in ("", "k", "-1", "1e3", "1.2.3", "1kk", True):
        with pytest.raises(ArgumentError):
            amount(text, "macs")


# Changes ---------------------------------------------------------------------------------------------------------


def change(plan, start):
    found = [change for change in plan.changes if change.what.startswith(start)]
    assert len(found) == 1, [change.what for change in plan.changes]
    return found[0]


def saved(before, after, shape):
    a, b = striate.count(before, shape), striate.count(after, shape)
    return a.parameters - b.parameters, a.macs - b.macs


def stack(width=16, kernel=5, middle=None, head=None):
    """A plain stack, parts of it replaced."""
    middle = middle or [Conv2D(32, kernel, strides=2, padding="same", name="middle")]
    head = head or [Flatten(), Dense(128, activation="relu", name="hidden")]
    return Sequential(
        [
            Input((16, 16, 3)),
            Conv2D(width, 3, padding="same", use_bias=False, name="first"),
            BatchNormalization(),
            *middle,
            *head,
            Dense(10, name="last"),
        ]
    )


@pytest.fixture(scope="module")
def plan():
    return shrink(stack(), (16, 16, 3), parameters="1k", macs="1k")


@pytest.mark.parametrize(
    ("start", "after"),
    [
        ("half the width of first", lambda: stack(width=8)),
        ("half the width of middle", lambda: stack(middle=[Conv2D(16, 5, strides=2, padding="same", name="middle")])),
        ("half the width of hidden", lambda: stack(head=[Flatten(), Dense(64, activation="relu", name="hidden")])),
        (
            "a quarter of the width of all",
            lambda: stack(
                width=4,
                middle=[Conv2D(8, 5, strides=2, padding="same", name="middle")],
                head=[Flatten(), Dense(32, activation="relu", name="hidden")],
            ),
        ),
        (
            "middle: separable in place of 5 × 5",
            lambda: stack(middle=[SeparableConv2D(32, 5, strides=2, padding="same", name="middle")]),
        ),
        ("middle: 3 × 3 in place of 5 × 5", lambda: stack(kernel=3)),
        (
            "hidden: global average pooling",
            lambda: stack(head=[GlobalAveragePooling2D(), Dense(128, activation="relu", name="hidden")]),
        ),
        (
            "hidden: two layers of rank 30",
            lambda: stack(head=[Flatten(), Dense(30, use_bias=False), Dense(128, activation="relu", name="hidden")]),
        ),
    ],
)
def test_what_a_change_saves_is_what_the_changed_model_saves(plan, start, after):
    found = change(plan, start)
    assert (found.parameters, found.macs) == saved(stack(), after(), (16, 16, 3))


def branching(a=16, b=8, c=32):
    """A residual sum, a concatenation and a depthwise convolution."""
    x = inputs = Input((12, 12, 3))
    x = Conv2D(a, 3, padding="same", name="a")(x)
    y = Conv2D(b, 3, padding="same", name="b")(x)
    x = Add()([x, BatchNormalization()(Conv2D(a, 1, name="tied")(y))])
    x = striate.layers.Concatenate()([x, y])
    x = striate.layers.DepthwiseConv2D(3, depth_multiplier=2, name="depthwise")(x)
    x = GlobalAveragePooling2D()(Conv2D(c, 3, name="c")(x))
    return Model(inputs, Dense(4, name="last")(x))


@pytest.mark.parametrize(
    ("start", "widths"),
    [
        ("half the width of a, tied", {"a": 8}),
        ("half the width of b", {"b": 4}),
        ("half the width of c", {"c": 16}),
        ("half the width of all", {"a": 8, "b": 4, "c": 16}),
    ],
)
def test_layers_that_are_tied_change_together(start, widths):
    plan = shrink(branching(), (12, 12, 3), parameters=1, macs=1)
    found = change(plan, start)
    assert (found.parameters, found.macs) == saved(branching(), branching(**widths), (12, 12, 3))


def narrow(module, shape):
    """Really halve all groups of channels of a torch module that can be halved."""
    flow = read(striate.count(module, shape))
    free = set().union(*flow.groups())

    def kept(channels):
        return 1 - sum(count for group, count in channels if group in free) / sum(count for _, count in channels) / 2

    for path, product in flow.products.items():
        part = module.get_submodule(path)
        inputs = kept(flow.reads[path]) if path in flow.reads else 1
        filters = 0.5 if flow.makes.get(path) in free else 1
        if path not in flow.makes:
            part.groups = round(part.groups * inputs)
            inputs, filters = 1, inputs
        weight = part.weight[: round(product.filters * filters), : round(product.inputs * inputs)]
        part.weight = nn.Parameter(weight.detach())
        if part.bias is not None:
            part.bias = nn.Parameter(part.bias.detach()[: len(weight)])
    for path, (_, channels) in flow.scales.items():
        part = module.get_submodule(path)
        for name, tensor in [*part.named_parameters(recurse=False), *part.named_buffers(recurse=False)]:
            if tensor.ndim:
                cut = tensor.detach()[: round(len(tensor) * kept(channels))]
                setattr(part, name, nn.Parameter(cut) if isinstance(tensor, nn.Parameter) else cut)
    return module


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v3_small", "densenet121", "googlenet", "vgg11"])
def test_real_networks_run_when_they_are_narrowed_and_save_what_was_claimed(models, name):
    options = {"init_weights": False, "aux_logits": False} if name == "googlenet" else {}
    build, shape = getattr(models, name), (3, 64, 64)
    with torch.device("meta"):
        before, after = build(**options), build(**options)
    found = change(shrink(striate.count(before, shape), parameters=1, macs=1), "half the width of all")
    assert (found.parameters, found.macs) == saved(before, narrow(after, shape), shape)
    assert found.parameters > striate.count(before, shape).parameters / 4


def torch_cnn(width):
    return nn.Sequential(
        nn.Conv2d(3, width, 3, bias=False),
        nn.BatchNorm2d(width),
        nn.PReLU(width),
        nn.MaxPool2d(2),
        nn.Conv2d(width, 24, 3, groups=4),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(24, 5),
    )


def test_torch_modules_and_ledgers():
    ledger = striate.count(torch_cnn(16), (3, 12, 12))
    found = change(shrink(ledger, parameters=100), "half the width of 0")
    assert (found.parameters, found.macs) == saved(torch_cnn(16), torch_cnn(8), (3, 12, 12))


def test_what_attention_reads_is_left_alone():
    model = nn.Sequential(nn.Linear(6, 16), nn.MultiheadAttention(16, 2, batch_first=True), nn.Linear(16, 4))

    class Attending(nn.Module):
        def __init__(self):
            super().__init__()
            self.parts = model

        def forward(self, x):
            first, attention, last = self.parts
            x = first(x)
            return last(attention(x, x, x)[0].mean(1))

    plan = shrink(Attending(), (9, 6), parameters=10)
    assert not [change.what for change in plan.changes if "width" in change.what]


def test_a_slice_of_the_channels_is_left_alone():
    class Sliced(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second = nn.Conv2d(3, 16, 3, padding=1), nn.Conv2d(8, 4, 3, padding=1)

        def forward(self, x):
            return self.second(self.first(x)[:, :8])

    assert not [c for c in shrink(Sliced(), (3, 16, 16), parameters=1).changes if "width of first" in c.what]


def test_a_smaller_input_is_counted():
    model = torch_cnn(16)
    found = change(shrink(model, (3, 24, 24), macs=1000), "images of 3 × 12 × 12")
    assert found.macs == striate.count(model, (3, 24, 24)).macs - striate.count(model, (3, 12, 12)).macs
    assert found.parameters == 0


def test_tied_embeddings():
    model = nn.Sequential(nn.Embedding(50, 8), nn.Linear(8, 50))
    ledger = striate.count(model, (6,), dtype=torch.int64)
    found = change(shrink(ledger, parameters=500), "1: share the weights of 0")
    assert found.parameters == 400


def test_one_change_is_enough_or_several_together():
    model = small.build("cnn", (28, 28, 1), 10)
    one = shrink(model, (28, 28, 1), parameters="200k")
    assert len(one.combination) == 1 and "One change is enough" in one.verdict
    several = shrink(stack(), (16, 16, 3), parameters="9k", macs="400k")
    assert not several.combination or several.suffices(*several.combination)
    touched = [path for change in several.combination for path in change.touches]
    assert len(touched) == len(set(touched))
    none = shrink(model, (28, 28, 1), parameters=10)
    assert none.combination == [] and "take another network" in none.text()
    fits = shrink(model, (28, 28, 1), parameters="1M")
    assert fits.text() == "The model fits: it uses 24% of the parameters."


def test_changes_are_sorted_by_what_they_save(plan):
    total = [
        change.parameters / plan.excess["parameters"] + change.macs / plan.excess["macs"] for change in plan.changes
    ]
    assert total == sorted(total, reverse=True)


def test_formulas_add_up(plan):
    found = change(plan, "middle: separable")
    assert found.formula == "5 × 5 × 16 × 32 − (16 × 5 × 5 + 16 × 32) = 11,888 weights, each used 64×"
    assert (found.parameters, found.macs) == (12_800 - 912, 64 * 11_888)


def test_memory_is_traced():
    model = small.build("cnn", (16, 16, 1), 10)
    weights = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    before = striate.memory(model, (16, 16, 1), 32).peak_bytes
    plan = shrink(model, (16, 16, 1), memory_bytes=before * 3 // 4)
    found = change(plan, "train with bfloat16")
    assert found.memory_bytes == before - striate.memory(model, (16, 16, 1), 32, precision="bf16").peak_bytes
    smaller = change(plan, "train with a batch of")
    batch = int(re.search(r"a batch of (\d+)", smaller.what)[1])
    assert smaller.memory_bytes == before - striate.memory(model, (16, 16, 1), batch).peak_bytes
    for layer in model.layers[:-1]:
        layer.requires_grad_(False)
    frozen = striate.memory(model, (16, 16, 1), 32).peak_bytes
    assert change(plan, "train with the last layer only").memory_bytes == before - frozen
    assert all(torch.equal(tensor, weights[name]) for name, tensor in model.state_dict().items())
    assert plan.suffices(*plan.combination)


def test_shrinking_leaves_the_model_as_it_was():
    model = stack()
    shrink(model, (16, 16, 3), memory_bytes="1MB")
    assert all(parameter.requires_grad for parameter in model.parameters() if parameter.is_floating_point())


@pytest.mark.parametrize(
    ("model", "arguments", "message"),
    [
        (nn.Linear(2, 2), {"parameters": 1}, "takes the input_shape of a module"),
        (striate.count(nn.Linear(2, 2), (2,)), {"memory_bytes": 1}, "a ledger alone does not tell"),
        (nn.Linear(2, 2), {"input_shape": (2,)}, "A budget needs a limit"),
    ],
)
def test_what_cannot_be_shrunk(model, arguments, message):
    with pytest.raises(ArgumentError, match=message):
        shrink(model, **arguments)


# The command -----------------------------------------------------------------------------------------------------


def call(*arguments, code=0):
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == code, result.output
    return result.output


def test_the_command_writes_a_file_that_trains(tmp_path):
    path = tmp_path / "model.py"
    output = call("budget", "--params", "5k", "--input", "8x8x1", "--code", 2, "--output", path)
    assert f"striate train DATA --model {path}:build" in output
    assert path.read_text() == propose((8, 8, 1), 10, parameters="5k")[1].code
    call("train", "digits", "--model", f"{path}:build", "--epochs", 1, "--name", "proposed", "--runs-folder", tmp_path)
    page = (tmp_path / "proposed" / "report.html").read_text()
    assert "Capacity against data" in page and "Parameters per training example" in page
    assert "there is such a file already" in call("budget", "--params", "5k", "--output", path, code=1)


def test_the_command_shows_the_table_and_the_code():
    output = call("budget", "--params", "5k", "--input", "8x8x1")
    best, *_, last = propose((8, 8, 1), 10, parameters="5k")
    assert best.code in output and last.description in output and f"1. {best.reason}" in output
    assert "there are 5 proposals" in call("budget", "--params", "5k", "--input", "8x8x1", "--code", 9, code=1)


def test_the_command_says_what_to_change():
    assert "One change is enough" in call("budget", "cnn", "--params", "200k")


@pytest.mark.slow
def test_the_best_of_20_000_parameters_learns_the_digits(tmp_path):
    path = tmp_path / "model.py"
    call("budget", "--params", "20k", "--input", "8x8x1", "--output", path)
    output = call("train", "digits", "--model", f"{path}:build", "--epochs", 10, "--runs-folder", tmp_path)
    assert float(re.search(r"test samples: ([\d.]+)%", output)[1]) > 95
