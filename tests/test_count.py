"""Counting any module, against closed forms that no tracer wrote."""

import copy
import csv
import io
import json
import re
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from typer.testing import CliRunner

import striate
from striate.account import Cost, count, register
from striate.account.entry import INPUT
from striate.account.formulas import _registry
from striate.cli import app
from striate.errors import ArgumentError, ShapeError, UnknownNameError
from tests.models.test_model import branched, small_cnn


class Calls(nn.Module):
    """A module from a function of itself and its inputs, for whatever a layer cannot say."""

    def __init__(self, function, **parts):
        super().__init__()
        self.function = function
        for name, part in parts.items():
            setattr(self, name, part)

    def forward(self, *args):
        return self.function(self, *args)


def weight(*shape):
    return nn.Parameter(torch.zeros(shape))


# module, input shape, MACs, neurons: worked out from the definitions.
CLOSED_FORMS = [
    (nn.Linear(128, 64), (128,), 128 * 64, 64),
    (nn.Linear(8, 4, bias=False), (5, 8), 5 * 8 * 4, 20),
    (nn.Conv2d(3, 64, 7, 2, 3), (3, 224, 224), 112 * 112 * 64 * 7 * 7 * 3, 112 * 112 * 64),
    (nn.Conv2d(8, 16, 3, groups=4), (8, 10, 10), 8 * 8 * 16 * 9 * 2, 8 * 8 * 16),
    (nn.Conv2d(8, 8, 3, groups=8, padding="same"), (8, 10, 10), 10 * 10 * 8 * 9, 800),
    (nn.Conv1d(4, 6, 3, dilation=2), (4, 20), 16 * 6 * 12, 96),
    (nn.Conv3d(2, 4, 3), (2, 5, 6, 7), 3 * 4 * 5 * 4 * 27 * 2, 240),
    (nn.ConvTranspose2d(4, 6, 3, 2), (4, 5, 5), 25 * 4 * 9 * 6, 11 * 11 * 6),
    (nn.Bilinear(3, 4, 5), [(3,), (4,)], 3 * 4 * 5 + 5 * 4, 5),
    (nn.LSTM(28, 128, 2, batch_first=True), (28, 28), 28 * 4 * 128 * (28 + 128 + 128 + 128), 256),
    (nn.GRU(10, 16, bidirectional=True, batch_first=True), (5, 10), 5 * 2 * 3 * 16 * (10 + 16), 32),
    (nn.RNN(10, 16, batch_first=True), (5, 10), 5 * 16 * (10 + 16), 16),
    (nn.LSTM(4, 6, proj_size=3, batch_first=True), (5, 4), 5 * (24 * (4 + 3) + 3 * 6), 9),
    (Calls(lambda m, x: F.linear(x, m.w), w=weight(7, 5)), (3, 5), 3 * 7 * 5, 21),
    (Calls(lambda m, x: torch.einsum("bnc,dc->bnd", x, m.w), w=weight(7, 5)), (3, 5), 3 * 7 * 5, 21),
    (Calls(lambda m, x: torch.einsum("bnc,bmc->bnm", x, x)), (3, 5), 3 * 3 * 5, 0),
    (Calls(lambda m, x: F.linear(x, m.w / m.w.norm()), w=weight(7, 5)), (5,), 35, 7),
    (Calls(lambda m, x: m.a(m.a(x)), a=nn.Linear(5, 5)), (5,), 50, 5),
    (Calls(lambda m, x: x.relu_().add_(1).mul_(2)), (5,), 0, 0),
]


@pytest.mark.parametrize(("module", "shape", "macs", "neurons"), CLOSED_FORMS, ids=range(len(CLOSED_FORMS)))
def test_closed_forms(module, shape, macs, neurons):
    ledger = count(module, shape)
    assert (ledger.macs, ledger.neurons) == (macs, neurons)
    assert ledger.flops == 2 * macs
    assert ledger.parameters == sum(parameter.numel() for parameter in module.parameters())
    assert ledger.unknown == {}
    assert ledger.coverage == 1


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("frozen", [True, False])
def test_attention_in_every_mode(training, frozen):
    module = nn.MultiheadAttention(256, 8, batch_first=True).train(training).requires_grad_(not frozen)
    x = torch.empty(1, 100, 256)
    ledger = count(module, inputs=(x, x, x))
    assert ledger.macs == 4 * 100 * 256 * 256 + 2 * 100 * 100 * 256 == 31_334_400
    assert ledger.neurons == 4 * 100 * 256
    fused = Calls(lambda _, q: F.scaled_dot_product_attention(q, q, q))
    assert count(fused, (8, 100, 32)).macs == 2 * 8 * 100 * 100 * 32


def test_backward_counts_the_gradients_that_are_wanted():
    module = nn.Sequential(nn.Linear(4, 8), nn.Linear(8, 2))
    assert count(module, (4,)).backward_macs == 4 * 8 + 2 * 8 * 2  # no gradient of the data
    module[0].requires_grad_(False)
    assert count(module, (4,)).backward_macs == 8 * 2
    module.requires_grad_(False)
    assert count(module, (4,)).backward_macs == 0
    lstm = nn.LSTM(3, 5, 2, batch_first=True)
    first, rest = 20 * 3, 20 * (5 + 5 + 5)
    assert count(lstm, (7, 3)).backward_macs == 7 * (first + 2 * rest)


def test_tied_and_reused_weights_count_once():
    embedding, head = nn.Embedding(10, 4), nn.Linear(4, 10, bias=False)
    head.weight = embedding.weight
    ledger = count(nn.Sequential(embedding, head), (3,), dtype=torch.int64)
    assert ledger.parameters == 40
    assert ledger["1"].shared_with == ["0.weight"]
    assert ledger["0"].shared_with == ["1.weight"]
    assert ledger["1"].parameters == 0
    assert ledger.neurons == 30


def test_rows_explain_themselves_and_add_up():
    module = nn.Sequential(nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU()), nn.Flatten(), nn.Linear(144, 2))
    ledger = count(module, (1, 8, 8))
    assert ledger["0.0"].formula == "1 × 4 × 6 × 6 outputs × (3 × 3 × 1 weights) = 1,296 MACs"
    assert ledger["0.0"].output_shapes == [(1, 4, 6, 6)]
    assert ledger["0"].macs == ledger["0.0"].macs
    assert ledger.macs == sum(ledger[path].macs for path in ("0", "1", "2")) == 1296 + 288
    assert ledger["2"].reuse == 288 / 290
    assert (ledger["2"].positions, ledger["0.0"].positions) == (1, 36)
    assert ledger.all_operations == 2 * ledger.macs + ledger.operations
    assert ledger.operations == 144 + 144 + 2  # biases, relu, bias
    with pytest.raises(UnknownNameError, match=r"no module '0\.5'"):
        ledger["0.5"]
    text = str(ledger)
    for part in ("0 (Conv2d)", "1,584 forward", "Coverage: 100.0%"):
        assert part in text
    assert "Conv2d" not in ledger.text(depth=1)


def test_what_nothing_used_is_listed():
    module = nn.ModuleDict({"used": nn.Linear(3, 3), "spare": nn.Linear(3, 3)})
    ledger = count(Calls(lambda m, x: m.parts["used"](x), parts=module), (3,))
    assert ledger.unused_parameters == ["parts.spare.weight", "parts.spare.bias"]
    assert ledger.idle == ["parts.spare"]
    assert "Parameters that nothing used: parts.spare.weight" in str(ledger)


def test_unknown_operations_are_never_taken_as_zero():
    module = Calls(lambda m, x: torch.linalg.inv(x))
    ledger = count(module, (3, 3))
    assert ledger.unknown == {"aten.linalg_inv_ex": 1}
    assert ledger.coverage < 1
    assert "Not counted, as no formula knows them: aten.linalg_inv_ex (1×)" in str(ledger)
    register("aten.linalg_inv_ex")(lambda output, x, **_: Cost(x.shape[-1] ** 3 * x.shape[0], 0, "n³"))
    try:
        assert count(module, (3, 3)).macs == 27
    finally:
        del _registry._factories["aten.linalg_inv_ex"]


def test_the_model_stays_as_it_is():
    class Counts(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Dropout(0.5))
            self.calls = 0

        def forward(self, x):
            self.calls += 1
            return self.net(x)

    module = Counts()
    calls = []
    module.net.register_forward_hook(lambda *_: calls.append(1))
    before, random_state = copy.deepcopy(module.state_dict()), torch.get_rng_state()
    ledger = count(module, (3, 8, 8), batch_size=4)
    assert ledger.macs == 4 * 6 * 6 * 4 * 27
    assert ledger.neurons == 6 * 6 * 4
    assert (calls, module.calls, module.training) == ([], 0, True)
    assert len(module.net._forward_hooks) == 1
    assert not any(part._forward_pre_hooks for part in module.modules())
    assert torch.equal(torch.get_rng_state(), random_state)
    assert all(torch.equal(a, b) for a, b in zip(before.values(), module.state_dict().values(), strict=True))
    assert all(parameter.grad is None for parameter in module.parameters())


def test_models_of_striate():
    for model in (small_cnn(), branched()):
        shapes = [layer.shape for layer in model.input_layers]
        ledger = striate.count(model, shapes)
        assert ledger.parameters == model.count_params()
        assert ledger.neurons == model.count_neurons()
        assert ledger.unknown == {}


def test_a_model_that_needs_values_is_counted_by_a_real_run():
    module = Calls(lambda m, x: m.fc(x) if x.sum() >= 0 else x, fc=nn.Linear(3, 2))
    ledger = count(module, (3,))
    assert ledger.macs == 6
    assert ledger.notes[0].startswith("Counted by a real run")


def test_a_trillion_parameters_take_no_memory():
    with torch.device("meta"):
        module = nn.Sequential(*(nn.Linear(100_000, 100_000, bias=False) for _ in range(100)))
    ledger = count(module, (100_000,))
    assert ledger.parameters == ledger.macs == 10**12


def test_weights_that_are_made_from_others_are_weights():
    for wrapped, macs in (
        (nn.utils.parametrizations.weight_norm(nn.Linear(4, 3)), 12),
        # In training, three more products of the weight: the power iteration and the norm.
        (nn.utils.parametrizations.spectral_norm(nn.Linear(4, 3)), 12 + 3 * 12 + 3),
        (torch.compile(nn.Linear(4, 3)), 12),
    ):
        ledger = count(wrapped, (4,))
        assert (ledger.macs, ledger.neurons, ledger.unknown) == (macs, 3, {})


def test_methods_that_a_module_keeps_are_the_shadows():
    class Chooses(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(4, 3)
            self.forward = self.forward_plain

        def forward_plain(self, x):
            return self.layer(x)

    ledger = count(nn.Sequential(Chooses(), nn.Linear(3, 2)), (4,))
    assert (ledger.neurons, ledger["0.layer"].macs, ledger.notes) == (5, 12, [])


def test_inference_mode_and_tensors_on_another_device():
    def forward(module, x):
        with torch.inference_mode():
            x = F.scaled_dot_product_attention(*module.layer(x).unflatten(-1, (3, 2, 4)).permute(2, 0, 3, 1, 4))
        return x + torch.arange(4, device="cpu").to(x.device)

    ledger = count(Calls(forward, layer=nn.Linear(8, 24)), (5, 8))
    assert (ledger.macs, ledger.neurons, ledger.unknown) == (5 * 8 * 24 + 2 * 2 * 5 * 5 * 4, 5 * 24, {})
    again = count(Calls(forward, layer=nn.Linear(8, 24)), (5, 8))
    assert again.macs == ledger.macs


def test_a_packed_sequence_takes_the_steps_it_has():
    class Packed(nn.Module):
        def __init__(self):
            super().__init__()
            self.lstm = nn.LSTM(4, 5, batch_first=True)

        def forward(self, x):
            packed = nn.utils.rnn.pack_padded_sequence(x, torch.tensor([3, 2]), batch_first=True)
            return nn.utils.rnn.pad_packed_sequence(self.lstm(packed)[0], batch_first=True)[0]

    ledger = count(Packed(), inputs=torch.zeros(2, 3, 4))
    assert (ledger.macs, ledger.neurons) == ((3 + 2) * 20 * (4 + 5), 5)


def test_inputs_by_keyword():
    module = nn.Transformer(16, 2, 1, 1, 32, batch_first=True)
    ledger = count(module, inputs={"src": torch.zeros(1, 5, 16), "tgt": torch.zeros(1, 4, 16)})

    def attention(queries, keys):
        return (2 * queries + 2 * keys) * 16 * 16 + 2 * queries * keys * 16

    feed_forward = 2 * 16 * 32
    encoder = attention(5, 5) + 5 * feed_forward
    decoder = attention(4, 4) + attention(4, 5) + 4 * feed_forward
    assert ledger.macs == encoder + decoder


def test_mistakes():
    for module, message in (
        (torch.jit.script(nn.Linear(4, 3)), "RecursiveScriptModule"),
        ("resnet18", "got str"),
        (nn.LazyLinear(3), "lazy weights"),
    ):
        with pytest.raises(ArgumentError, match=message):
            count(module, (4,))
    module = nn.Sequential(nn.Linear(4, 8), nn.Sequential(nn.ReLU(), nn.Linear(9, 2)))
    with pytest.raises(ShapeError, match=r"1\.1 \(Linear\) broke on \(1, 8\): ") as caught:
        count(module, (4,))
    first, *summary = str(caught.value).splitlines()
    assert first.endswith("Expected (..., 9).")
    assert summary[0] == "Up to there it ran:"
    assert "0 (Linear)" in summary[4]
    assert "1.1" not in "\n".join(summary)
    with pytest.raises(ArgumentError, match="either input_shape"):
        count(module)


def test_counting_again_gives_the_same():
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(36, 2))
    first, again = count(module, (3, 8, 8)), count(module, (3, 8, 8))
    assert first.entries == again.entries
    larger = count(module.double(), inputs=torch.zeros(5, 3, 8, 8, dtype=torch.float64))
    assert larger.macs == 5 * first.macs
    assert larger["0"].parameter_bytes == 2 * first["0"].parameter_bytes


class TestTheFlowOfData:
    def test_steps_of_a_block_with_a_shortcut(self):
        class Block(nn.Module):
            def __init__(self):
                super().__init__()
                self.first, self.second = nn.Linear(4, 4), nn.Linear(4, 4)

            def forward(self, x):
                return self.second(self.first(x).relu_()) + x

        steps = count(nn.Sequential(nn.Flatten(), Block(), Block()), (2, 2)).steps
        assert [(step.path, step.inputs) for step in steps] == [
            ("0", [INPUT]),
            ("1.first", [0]),
            ("1", [1]),  # the relu, in the block's own forward
            ("1.second", [2]),
            ("1", [3, 0]),
            ("2.first", [4]),
            ("2", [5]),
            ("2.second", [6]),
            ("2", [7, 4]),
        ]
        assert steps[4].operations == ["aten.add"]
        assert steps[1].output_shapes == [(1, 4)]

    def test_views_do_not_hide_who_made_what_they_view(self):
        class Block(nn.Module):
            def __init__(self):
                super().__init__()
                self.norm, self.layer = nn.LayerNorm(4), nn.Linear(4, 4)

            def forward(self, x):
                x = self.norm(x)
                return x + self.layer(x), x  # the layer makes a matrix of the sequence, in place

        ledger = count(Block(), (3, 4))
        assert [(step.path, step.inputs) for step in ledger.steps] == [("norm", [INPUT]), ("layer", [0]), ("", [0, 1])]
        assert ledger.outputs == [2, 0]

    def test_a_module_called_again_is_a_step_again(self):
        layer = nn.Linear(4, 4)
        steps = count(nn.Sequential(layer, nn.ReLU(), layer), (4,)).steps
        assert [(step.path, step.inputs) for step in steps] == [("0", [INPUT]), ("1", [0]), ("0", [1])]

    def test_several_inputs(self):
        ledger = count(Calls(lambda m, a, b: torch.cat([m.a(a), b], 1), a=nn.Linear(3, 2)), [(3,), (5,)])
        assert [(step.path, step.inputs) for step in ledger.steps] == [("a", [INPUT]), ("", [0, INPUT])]


def kept_by_autograd(module, x):
    """The bytes of activations that a real run keeps for its backward pass."""
    own = {tensor.untyped_storage().data_ptr() for tensor in (*module.parameters(), *module.buffers(), x)}
    kept = {}

    def pack(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = (storage.nbytes(), tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        output = module(x)
    del output
    return sum(size for size, _ in kept.values())


class Attends(nn.Module):
    def __init__(self):
        super().__init__()
        self.project = nn.Linear(8, 24)

    def forward(self, x):
        query, key, value = self.project(x).unflatten(-1, (3, 2, 4)).permute(2, 0, 3, 1, 4)
        return F.scaled_dot_product_attention(query, key, value).flatten(1)


class TestActivations:
    @pytest.mark.parametrize("training", [True, False])
    @pytest.mark.parametrize(
        ("module", "shape"),
        [
            (nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(True), nn.MaxPool2d(2)), (3, 9, 9)),
            (nn.Sequential(nn.Linear(6, 5), nn.GELU(), nn.Dropout(0.5), nn.LayerNorm(5), nn.Linear(5, 2)), (6,)),
            (Attends(), (5, 8)),
            (nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True), (5, 8)),
            (nn.TransformerEncoderLayer(8, 2, 16, dropout=0.1, batch_first=True), (5, 8)),
        ],
        ids=range(5),
    )
    def test_what_a_real_run_keeps(self, module, shape, training):
        module.train(training)
        x = torch.rand(2, *shape)
        assert count(module, inputs=x).total.activation_bytes == kept_by_autograd(module, x) > 0

    @pytest.mark.filterwarnings("ignore:TF32 acceleration")
    @pytest.mark.parametrize("bidirectional", [True, False])
    @pytest.mark.parametrize("layers", [1, 2])
    @pytest.mark.parametrize(
        ("kind", "options"), [(nn.LSTM, {}), (nn.LSTM, {"proj_size": 2}), (nn.GRU, {}), (nn.RNN, {})]
    )
    def test_recurrent_layers_in_closed_form(self, kind, options, layers, bidirectional):
        with torch.backends.mkldnn.flags(enabled=False):  # its kernels keep a workspace instead
            for batch_first in (True, False):
                module = kind(4, 5, layers, batch_first=batch_first, bidirectional=bidirectional, **options)
                x = torch.rand(3, 7, 4)
                assert count(module, inputs=x).total.activation_bytes == kept_by_autograd(module, x) > 0

    def test_each_belongs_to_the_module_that_made_it(self):
        ledger = count(nn.Sequential(nn.Linear(4, 8), nn.Sigmoid(), nn.Linear(8, 2)), (4,), batch_size=3)
        assert [ledger[path].activation_bytes for path in ("0", "1", "2")] == [0, 3 * 8 * 4, 0]
        assert ledger.total.activation_bytes == 3 * 8 * 4
        frozen = nn.Sequential(nn.Linear(4, 8), nn.Sigmoid()).requires_grad_(False)
        assert count(frozen, (4,)).total.activation_bytes == 0


class TestTables:
    @pytest.fixture
    def ledger(self):
        return count(nn.Sequential(nn.Conv2d(1, 4, 3), nn.Flatten(), nn.Linear(144, 2)), (1, 8, 8))

    def test_columns_are_chosen(self, ledger):
        head = ledger.text(columns=("macs", "positions", "receptive_field", "parameter_bytes")).splitlines()
        assert [cell.strip() for cell in head[1].strip("┃").split("┃")] == [
            *("Module", "MACs", "Positions", "Receptive field", "Size")
        ]
        assert "3 × 3, stride 1, from 0 on" in head[3]
        assert "160 B" in head[3]
        assert ledger.to_markdown(columns=("formula",)).splitlines()[0] == "| Module | Class | Formula |"
        with pytest.raises(UnknownNameError, match=r"no column 'mac'\. Did you mean 'macs'"):
            ledger.text(columns=("mac",))

    def test_all_operations(self, ledger):
        text = ledger.text(all_operations=True)
        assert "Small operations" in text.splitlines()[1]
        assert f"{ledger.all_operations:,}" in text
        assert ledger.all_operations == 2 * (144 * 9 + 288) + 144 + 2

    def test_the_width_is_kept(self, ledger):
        assert max(map(len, ledger.text(width=60).splitlines()[:6])) <= 60

    def test_an_entry_explains_itself(self, ledger):
        assert ledger["0"].explain().splitlines() == [
            "0 (Conv2d)",
            "  input             (1, 1, 8, 8)",
            "  output            (1, 4, 6, 6)",
            "  parameters        40 (160 B)",
            "  neurons           144",
            "  formula           1 × 4 × 6 × 6 outputs × (3 × 3 × 1 weights) = 1,296 MACs",
            "  MACs              1,296 forward, 1,296 backward; 1 MAC = 2 FLOPs",
            "  small operations  144 forward",
            "  weight reuse      36 weights, each at 36 positions",
            "  activations       576 B kept for the backward pass",
            "  receptive field   3 × 3, stride 1, from 0 on",
        ]


class TestForOtherPrograms:
    @pytest.fixture
    def ledger(self):
        return count(nn.Sequential(nn.Conv2d(1, 4, 3), nn.Flatten(), nn.Linear(144, 2)), (1, 8, 8))

    def test_json(self, ledger):
        read = json.loads(ledger.to_json())
        assert read["schema"] == "striate.ledger/1"
        assert [module["path"] for module in read["modules"]] == ["", "0", "1", "2"]
        assert read["modules"][1] == {
            "path": "0",
            "kind": "Conv2d",
            "input_shapes": [[1, 1, 8, 8]],
            "output_shapes": [[1, 4, 6, 6]],
            "calls": 1,
            "ran": True,
            "parameters": 40,
            "trainable": 40,
            "frozen": 0,
            "buffers": 0,
            "parameter_bytes": 160,
            "shared_with": [],
            "neurons": 144,
            "macs": 1296,
            "flops": 2592,
            "backward_macs": 1296,
            "operations": 144,
            "all_operations": 2 * 1296 + 144,
            "weights": 36,
            "weighted_macs": 1296,
            "backward_flops": 2592,
            "buffer_bytes": 0,
            "positions": 36,
            "activation_bytes": 4 * 144,
            "receptive_field": {"size": [3, 3], "stride": [1, 1], "offset": [0, 0], "positions": [6, 6]},
            "depth": 1,
            "reuse": 1296 / 40,
            "formulas": ["1 × 4 × 6 × 6 outputs × (3 × 3 × 1 weights) = 1,296 MACs"],
        }

    def test_the_documentation_names_every_key(self, ledger):
        page = (Path(__file__).parent.parent / "docs" / "ledger.md").read_text()
        documented = set(re.findall(r"`(\w+)`", "\n".join(line.split(" | ")[0] for line in page.splitlines())))
        read = json.loads(ledger.to_json())
        assert documented - {"json", "striate"} >= {*read, *read["modules"][0], *read["steps"][0]}
        assert documented <= {*read, *read["modules"][0], *read["steps"][0]} | {"schema"}

    def test_csv(self, ledger):
        rows = list(csv.DictReader(io.StringIO(ledger.to_csv())))
        assert sum(int(row["macs"]) for row in rows[1:]) == int(rows[0]["macs"]) == ledger.macs
        assert json.loads(rows[1]["output_shapes"]) == [[1, 4, 6, 6]]

    def test_markdown(self, ledger):
        lines = ledger.to_markdown().splitlines()
        assert lines[2] == "| `0` | Conv2d | (1, 4, 6, 6) | 40 | 144 | 1,296 |"
        assert lines[-1] == "| **total** | Sequential | (1, 2) | 330 | 146 | 1,584 |"
        assert {line.count("|") for line in lines} == {7}

    def test_on_the_command_line(self):
        runner = CliRunner()
        result = runner.invoke(app, ["summary", "lenet", "--format", "json"])
        assert json.loads(result.output)["modules"][0]["macs"] == 416_520
        assert "416,520 forward" in runner.invoke(app, ["summary", "lenet", "--format", "modules"]).output
        assert runner.invoke(app, ["summary", "lenet", "--format", "csv"]).output.startswith("path,kind,")
        result = runner.invoke(app, ["summary", "lenet", "--format", "xml"])
        assert (result.exit_code, "expected one of 'layers'" in result.stderr) == (1, True)
