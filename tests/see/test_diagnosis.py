"""A diagnosis measures what is there, changes nothing, and goes on where it was stopped."""

import copy
import json

import pytest
import torch
from benchmarks.diagnosis import CLASSES, FAULTS, Convolutional, Training, digits, plain
from matplotlib.backends.backend_agg import FigureCanvasAgg
from torch import nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from striate import callbacks, optimizers
from striate.errors import ArgumentError, DataError, NonFiniteError
from striate.models import small
from striate.see.diagnosis import Diagnosis, Record, find
from striate.see.diagnosis.flow import Flow, layer_names
from striate.see.diagnosis.labels import agreement, cross_entropy, shares, task_of
from striate.train import AveragedWeights, Checkpoint, Trainer, fit

MEASURES = ("gradient", "weight", "change", "signal", "spread_in", "spread_out", "size", "saturated")


class Transformer(nn.Module):
    """Embedding, attention, recurrence, a part that is run again in the backward pass, and dropout."""

    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(17, 16)
        self.encoder = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True)
        self.lstm = nn.LSTM(16, 16, batch_first=True)
        self.block = nn.Sequential(nn.Linear(16, 16), nn.BatchNorm1d(16), nn.ReLU(inplace=True), nn.Dropout(0.3))
        self.scale, self.head = nn.Parameter(torch.ones(16)), nn.Linear(16, CLASSES)

    def forward(self, x):
        x = self.encoder(self.embed(x.long()))
        x = self.lstm(x)[0].mean(1) * self.scale
        return self.head(checkpoint(self.block, x, use_reentrant=False))


def networks():
    reused = nn.ReLU(inplace=True)
    x, y = digits(flat=False, samples=160)
    yield "sequential", nn.Sequential(nn.Linear(64, 32), reused, nn.Dropout(0.5), nn.Linear(32, 10), reused), *digits()
    yield "convolutional", Convolutional(True), x, y
    yield "transformer", Transformer(), x.flatten(1)[:, :12] * 16, y
    yield "striate", small.build("cnn", (8, 8, 1), CLASSES, rescale=False), x.movedim(1, -1), y


@pytest.mark.parametrize("number", range(4))
@pytest.mark.parametrize("options", [{}, {"accumulate": 3}, {"precision": "bf16"}], ids=str)
def test_the_training_is_the_same_bit_for_bit(number, options):
    results = []
    for looked in (False, True):
        torch.manual_seed(0)
        name, net, x, y = list(networks())[number]
        loss = "sparse_categorical_crossentropy" if name == "striate" else "cross_entropy"
        diagnosis = Diagnosis(every=2)
        trainer = Trainer(net, optimizers.Adam(1e-3, clipnorm=1.0), loss, metrics=["accuracy"], **options)
        history = trainer.fit(x[:160], y[:160], epochs=2, verbose=0, seed=0, callbacks=[diagnosis] * looked)
        hooks = [len(part._forward_hooks) + len(part._forward_pre_hooks) for part in net.modules()]
        results.append((net.state_dict(), history.history, hooks, torch.get_rng_state(), dict(vars(trainer.objective))))
        if looked:
            record = diagnosis.record
            assert record.trouble == ""
            assert [look["step"] for look in record.looks] == [0, 1, 2, 3, 4, 6, 8]
            assert all(look["error"] > 0 for look in record.looks)
            assert all(look["signal"] for look in record.looks)
    (plain_state, *others), (state, *same) = results
    torch.testing.assert_close(state, plain_state, rtol=0, atol=0)
    assert same[0] == others[0]
    assert same[1] == others[1] and not any(same[1])
    assert torch.equal(same[2], others[2])
    assert set(same[3]) == set(others[3])


def test_a_resumed_training_has_the_record_of_one_that_was_not_stopped(tmp_path):
    class Stop(callbacks.Callback):
        def on_train_batch_begin(self, batch, logs):
            if self.trainer.steps == 17:
                raise KeyboardInterrupt

    def train(folder, *more, resume=False):
        torch.manual_seed(0)
        diagnosis = Diagnosis(every=3)
        fit(
            plain(nn.ReLU, 2),
            *digits(samples=320),
            loss="cross_entropy",
            epochs=3,
            verbose=0,
            seed=0,
            callbacks=[AveragedWeights(0.9), diagnosis, *more],
            checkpoint=Checkpoint(folder, every_steps=1),
            resume=resume,
        )
        return diagnosis

    whole = train(tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "stopped", Stop())
    resumed = train(tmp_path / "stopped", resume=True)
    assert resumed.record == whole.record
    assert len(whole.record.looks) == 12 and len(whole.record.epochs) == 3
    assert resumed.findings().text() == whole.findings().text()


# What is measured ----------------------------------------------------------------------------------------------------


def one_step(net, x, y, optimizer=None, **options):
    diagnosis = Diagnosis()
    trainer = Trainer(net, optimizer or optimizers.SGD(0.5), "cross_entropy", **options)
    trainer.fit(x, y, batch_size=len(x), shuffle=False, verbose=0, callbacks=[diagnosis])
    return diagnosis.record


def test_the_measures_of_a_step_are_those_of_a_closed_form():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(5, 4), nn.ReLU(), nn.Linear(4, 3))
    x, y = torch.randn(20, 5), torch.arange(20) % 3
    before = copy.deepcopy(net)
    look = one_step(net, x, y).looks[0]
    hidden = before[0](x).detach().requires_grad_()
    loss = F.cross_entropy(before[2](hidden.relu()), y)
    loss.backward()
    weights = [(a, b) for a, b in zip(before[2].parameters(), net[2].parameters(), strict=True)]
    change = sum(((b - a) ** 2).sum() for a, b in weights).sqrt().item()
    expected = {
        ("signal", "0"): hidden.grad.norm(),
        ("spread_in", "0"): x.var(0, correction=0).mean().sqrt(),
        ("spread_in", "2"): hidden.relu().var(0, correction=0).mean().sqrt(),
        ("size", "0"): x.square().mean().sqrt(),
        ("silent", "0"): (hidden <= 0).all(0).float().mean(),
        ("change", "2"): change,
        ("gradient", "2"): change / 0.5,
        ("weight", "2"): sum((a**2).sum() for a, _ in weights).sqrt(),
    }
    for (measure, layer), value in expected.items():
        assert look[measure][layer] == pytest.approx(float(torch.as_tensor(value).detach()), rel=1e-4), measure
    assert look["error"] == pytest.approx(loss.item(), rel=1e-5)
    assert look["rate"] == 0.5


@pytest.mark.parametrize("network", ["functional", "in place", "striate"])
def test_dead_filters_are_counted_wherever_the_channels_are(network):
    torch.manual_seed(0)
    x, y = torch.rand(16, 8, 8, 8), torch.arange(16) % 3
    if network == "striate":
        from striate.layers import Conv2D, Dense, Flatten, Input
        from striate.models import Sequential

        net = Sequential([Input((8, 8, 8)), Conv2D(8, 3, padding="same", activation="relu"), Flatten(), Dense(3)])
        net.layers[-3].op.bias.data[:3] = -100.0
    else:
        convolution = nn.Conv2d(8, 8, 3, padding=1)
        convolution.bias.data[:3] = -100.0
        relu = nn.ReLU(inplace=True) if network == "in place" else F.relu

        class Net(nn.Module):
            def __init__(self):
                super().__init__()
                self.conv2d, self.head = convolution, nn.Linear(512, 3)

            def forward(self, x):
                return self.head(relu(self.conv2d(x)).flatten(1))

        net = Net()
    diagnosis = Diagnosis()
    Trainer(net, optimizers.SGD(0.0), "cross_entropy").fit(x, y, batch_size=16, verbose=0, callbacks=[diagnosis])
    assert diagnosis.record.looks[0]["silent"] == {"conv2d": 3 / 8}


def test_a_unit_is_dead_when_it_is_silent_in_three_looks_in_a_row():
    net = nn.Sequential(nn.Linear(1, 2, bias=False), nn.ReLU(), nn.Linear(2, 2))
    net[0].weight.data = torch.tensor([[1.0], [-1.0]])
    signs = torch.tensor([1.0, 1.0, 1.0, -1.0, 1.0])  # the second unit fires in the fourth step alone
    diagnosis = Diagnosis(every=1)
    trainer = Trainer(net, optimizers.SGD(0.0), "cross_entropy")
    trainer.fit(signs[:, None], torch.zeros(5).long(), batch_size=1, shuffle=False, verbose=0, callbacks=[diagnosis])
    assert diagnosis.record.of_layer("silent", "0") == [0.5, 0.5, 0.5, 0.0, 0.0]


def test_activations_of_the_last_layer_may_saturate():
    net = nn.Sequential(nn.Linear(2, 3), nn.Tanh(), nn.Linear(3, 3), nn.Sigmoid())
    flow = Flow({id(p): layer_names(net)[name] for name, p in net.named_parameters()}, lambda look: look)
    with flow:
        net(torch.randn(4, 2))
    assert [(found.layer, found.kind) for found in flow.hidden()] == [("0", "tanh")]
    assert len(flow.activated) == 2


def test_the_names_of_layers_are_those_that_people_use():
    net = small.build("cnn", (8, 8, 1), CLASSES)
    assert list(dict.fromkeys(layer_names(net).values())) == [
        "conv2d",
        "batch_normalization",
        "conv2d_1",
        "batch_normalization_1",
        "dense",
        "dense_1",
    ]
    transformer = layer_names(Transformer())
    assert transformer["scale"] == "scale" and transformer["lstm.weight_ih_l0"] == "lstm"


def test_a_long_training_is_looked_at_less_often_and_its_record_stays_small():
    record = Record(interval=1)
    for step in range(300):
        if step % record.interval == 0:
            record.add({"step": step})
    assert record.interval == 4
    assert [look["step"] for look in record.looks] == list(range(0, 300, 4))


@pytest.mark.parametrize("how", ["a module", "in place", "a part", "by the trainer"])
def test_of_a_compiled_module_it_sees_gradients_updates_and_the_data(how, monkeypatch):
    """What a hook inside would see is not there, and what is measured is that of the module itself."""
    compiled = torch.compile
    monkeypatch.setattr(torch, "compile", lambda module, **_: compiled(module, backend="eager"))
    records = []
    for compiles in (False, True):
        torch.manual_seed(0)
        net, diagnosis, options = plain(nn.ReLU, 2), Diagnosis(every=4), {}
        if compiles and how == "a module":
            net = torch.compile(net)
        elif compiles and how == "in place":
            net.compile(backend="eager")
        elif compiles and how == "a part":
            net[0].compile(backend="eager")
        elif compiles:
            options["jit_compile"] = True
        trainer = Trainer(net, optimizers.SGD(0.1), "cross_entropy", **options)
        trainer.fit(*digits(samples=320), epochs=1, seed=0, verbose=0, callbacks=[diagnosis])
        assert diagnosis.record.trouble == ""
        records.append(diagnosis.record)
    whole, seen = records
    assert [look["step"] for look in seen.looks] == [look["step"] for look in whole.looks] == [0, 1, 3, 4, 8]
    assert seen.counts == whole.counts and seen.task == "classes"
    for look, expected in zip(seen.looks, whole.looks, strict=True):
        assert look["error"] == pytest.approx(expected["error"], rel=1e-4)
        assert not look["signal"] and not look["silent"] and expected["signal"]
        for measure in ("gradient", "weight", "change"):
            found = {name.removeprefix("_orig_mod."): value for name, value in look[measure].items()}
            assert found == pytest.approx(expected[measure], rel=1e-4), measure


def test_the_record_is_written_however_the_training_ends(tmp_path):
    class Ends(callbacks.Callback):
        def __init__(self, error):
            self.error = error

        def on_train_batch_begin(self, batch, logs):
            if self.trainer.steps == 2 and isinstance(self.error, NonFiniteError):
                self.model[0].weight.data[0, 0] = float("nan")
            elif self.trainer.steps == 2 and self.error:
                raise self.error

    x, y = digits(samples=128)
    for error in (None, KeyboardInterrupt(), ArgumentError("planned"), NonFiniteError()):
        file = tmp_path / f"{type(error).__name__}.json"
        diagnosis = Diagnosis(file=file)
        train = Trainer(plain(nn.ReLU, 2), optimizers.SGD(0.1), "cross_entropy")
        if error is None:
            train.fit(x, y, verbose=0, callbacks=[diagnosis])
        else:
            with pytest.raises(type(error)):
                train.fit(x, y, verbose=0, callbacks=[Ends(error), diagnosis])
        record = Record.from_json(file.read_text())
        assert record == diagnosis.record
        assert [look["step"] for look in record.looks] == ([0, 1, 3] if error is None else [0, 1])
        assert sum(record.counts) == (128 if error is None else 96 if isinstance(error, NonFiniteError) else 64)
        found = [finding for finding in find(record).found if finding.kind == "loss not finite"]
        assert len(found) == isinstance(error, NonFiniteError)
    assert found[0].severity == "critical"
    assert found[0].measured.startswith("Step 3: the loss is nan") and "\n" not in found[0].measured


# Labels --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("labels", "predictions", "task"),
    [
        (torch.tensor([0, 2]), torch.zeros(2, 3), "classes"),
        (torch.tensor([[0.0], [1.0]]), torch.zeros(2, 1), "classes"),
        (torch.eye(3)[:2], torch.zeros(2, 3), "classes"),
        (torch.tensor([[0.2, 0.8], [1.0, 0.0]]), torch.zeros(2, 2), "classes"),
        (torch.tensor([[1.0, 1.0], [0.0, 1.0]]), torch.zeros(2, 2), "other"),  # several labels at once
        (torch.tensor([0.5, 1.5]), torch.zeros(2, 1), "numbers"),
        (torch.zeros(2, 4, 4).long(), torch.zeros(2, 3, 4, 4), "other"),
        ([torch.zeros(2)], torch.zeros(2, 3), "other"),
    ],
)
def test_the_task_is_known_by_a_batch(labels, predictions, task):
    assert task_of(labels, predictions) == task


def test_the_error_is_the_cross_entropy_whatever_the_predictions_are():
    torch.manual_seed(0)
    scores, y = torch.randn(6, 4), torch.arange(6) % 4
    expected = F.cross_entropy(scores, y).item()
    for predictions, from_logits in ((scores, True), (scores, False), (scores.softmax(1), False)):
        assert cross_entropy(shares(y, predictions), predictions, from_logits).item() == pytest.approx(
            expected, rel=1e-5
        )
    score, label = torch.randn(6), torch.tensor([0.0, 1, 1, 0, 1, 0])
    expected = F.binary_cross_entropy_with_logits(score, label).item()
    for predictions, from_logits in ((score, True), (score.sigmoid(), False), (score[:, None], True)):
        found = cross_entropy(shares(label, predictions), predictions, from_logits)
        assert found.item() == pytest.approx(expected, rel=1e-4)


def test_neighbours_that_are_the_same_sample_drawn_again_do_not_count():
    x, y = torch.tensor([[0.0], [0.0], [3.0], [4.0]]), torch.tensor([0, 0, 1, 0])
    assert agreement(x, y) == (0.0, 0.625, 2)


def test_balanced_sampling_and_weights_are_no_imbalance():
    x, y = digits()
    kept = (y != 0) | (torch.arange(len(y)) % 25 == 0)
    x, y = x[kept], y[kept]
    for options, alarmed in (({}, True), ({"shuffle": "balanced"}, False), ({"class_weight": "balanced"}, False)):
        torch.manual_seed(0)
        found = Training(plain(nn.ReLU, 2), x, y, options={"validation_split": 0.0, **options}).diagnose().found
        assert any(finding.kind == "class imbalance" for finding in found) == alarmed, options


# What stays out of the way -------------------------------------------------------------------------------------------


def test_an_error_of_looking_ends_the_looking_alone(monkeypatch):
    monkeypatch.setattr("striate.see.diagnosis.callback.task_of", lambda *_: 1 / 0)
    diagnosis = Diagnosis(every=1)
    history = fit(plain(nn.ReLU, 1), *digits(samples=96), loss="cross_entropy", verbose=0, callbacks=[diagnosis])
    assert len(history.history["loss"]) == 1
    assert diagnosis.record.trouble == "ZeroDivisionError: division by zero"
    assert "given up: ZeroDivisionError" in diagnosis.findings().text()


@pytest.mark.parametrize("moment", ["forward", "backward"])
def test_a_step_that_fails_leaves_nothing_behind(moment):
    class Fails(nn.Linear):
        def forward(self, x):
            x = super().forward(x)
            if moment == "forward":
                raise KeyError
            return x * torch.tensor(float("nan"))

    net = nn.Sequential(nn.Linear(64, 8), nn.ReLU(), Fails(8, CLASSES))
    diagnosis = Diagnosis()
    trainer = Trainer(net, optimizers.SGD(0.1), "cross_entropy")
    with pytest.raises((KeyError, NonFiniteError)):
        trainer.fit(*digits(samples=64), verbose=0, callbacks=[diagnosis])
    assert not any(part._forward_hooks or part._forward_pre_hooks for part in net.modules())
    assert not torch.overrides._get_current_function_mode_stack()
    assert diagnosis.findings().record.looks == []
    assert trainer.objective.listener is None


def test_other_optimizers_are_not_looked_at():
    diagnosis = Diagnosis()

    class Other(callbacks.Callback):
        def on_train_batch_begin(self, batch, logs):
            other = nn.Linear(2, 2)
            optimizer = torch.optim.SGD(other.parameters(), 0.1)
            other(torch.ones(1, 2)).sum().backward()
            optimizer.step()

    fit(plain(nn.ReLU, 1), *digits(samples=64), loss="cross_entropy", verbose=0, callbacks=[diagnosis, Other()])
    assert [look["step"] for look in diagnosis.record.looks] == [0, 1]
    assert diagnosis.record.layers == ["0", "2"]


def test_several_inputs_and_outputs_train_as_before():
    class Two(nn.Module):
        output_names = ("one", "other")

        def __init__(self):
            super().__init__()
            self.one, self.other = nn.Linear(4, 3), nn.Linear(2, 1)

        def forward(self, a, b):
            return self.one(a), self.other(b)

    diagnosis = Diagnosis()
    x, y = [torch.randn(40, 4), torch.randn(40, 2)], [torch.arange(40) % 3, torch.randn(40, 1)]
    losses = ["cross_entropy", "mean_squared_error"]
    fit(Two(), x, y, loss=losses, verbose=0, callbacks=[diagnosis])
    assert diagnosis.record.trouble == "" and diagnosis.record.task == "other"
    assert diagnosis.findings().found == ()


def test_a_bad_interval():
    with pytest.raises(ArgumentError, match="every=0"):
        Diagnosis(every=0)


# What is shown -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def findings():
    torch.manual_seed(1)
    return FAULTS["vanishing gradients"](1).diagnose()


def test_the_text_fits_a_terminal_and_the_worst_comes_first(findings):
    text = findings.text()
    assert max(map(len, text.splitlines())) <= 88
    assert text.startswith("1. critical: ")
    order = [finding.severity for finding in findings.found]
    assert order == sorted(order, key=("critical", "warning", "note").index)
    assert all(max(map(len, findings.text(width).splitlines())) <= width for width in (60, 120))


def test_in_brief_an_alarm_is_a_line_and_the_worst_come_first(findings):
    lines = findings.brief()
    assert [line.partition(" in ")[0] for line in lines] == list(
        dict.fromkeys(finding.title.partition(" in ")[0] for finding in findings.alarms)
    )
    dead = Record(layers=[f"conv{number}" for number in range(8)])
    silent = dict.fromkeys(dead.layers, 0.6) | {"conv7": 1.0}
    dead.looks = [{"step": 2, "rate": 0.1, "error": None, "silent": silent, **{name: {} for name in MEASURES}}]
    dead.not_finite = "Step 2"
    assert find(dead).brief() == [
        "critical: disconnected layer in conv0 and 7 more layers",
        "critical: dead ReLUs in conv7",
        "critical: loss not finite",
        "warning: dead ReLUs in conv0 and 6 more layers",
    ]
    assert find(dead).brief(2)[2:] == ["and 2 more"]
    assert find(Record()).brief() == []


def test_a_record_goes_through_json(findings):
    record = Record.from_json(findings.record.to_json())
    assert record == findings.record
    assert find(record).found == findings.found
    assert "NaN" not in findings.record.to_json() and json.loads(findings.record.to_json())


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_picture_has_its_labels_and_no_overlapping_text(findings, tmp_path, theme):
    findings.save(tmp_path / "picture.png", theme)
    assert (tmp_path / "picture.png").stat().st_size > 5000
    figure = findings.draw(theme)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    renderer = canvas.get_renderer()
    titles = [axes.get_title(loc="left") for axes in figure.axes]
    assert [title for title in titles if title] == [
        "Gradient of the loss at the layer's output",
        "Change of the weights in a step, over their size",
        "Spread of the layer's input between samples",
    ]
    texts = []
    for axes in figure.axes:
        labels = [*axes.get_xticklabels(), *axes.get_yticklabels(), axes.xaxis.label, axes.yaxis.label]
        labels += [axes.title, axes._left_title]
        texts += [label for label in labels if label.get_text() and label.get_visible()]
    boxes = [text.get_window_extent(renderer).shrunk(0.98, 0.98) for text in texts]
    page = figure.bbox
    for number, box in enumerate(boxes):
        assert page.x0 <= box.x0 and box.x1 <= page.x1, texts[number].get_text()
        for other, name in zip(boxes[:number], texts, strict=False):
            assert not box.overlaps(other), (texts[number].get_text(), name.get_text())


def test_a_hundred_layers_are_drawn_with_fewer_names(tmp_path):
    layers = [f"encoder.layers.{number}.linear" for number in range(100)]
    measures = {name: dict.fromkeys(layers, 0.1) for name in ("signal", "weight", "change", "spread_in")}
    record = Record(layers=layers, looks=[{"step": step, "rate": 0.1, "error": None, **measures} for step in range(3)])
    record.looks = [
        look | {"spread_out": {}, "size": {}, "silent": {}, "saturated": {}, "gradient": measures["weight"]}
        for look in record.looks
    ]
    found = find(record)
    figure = found.draw()
    assert len(figure.axes[0].get_yticklabels()) == 20
    assert "100 layers" in found.alt


def test_nothing_to_draw(tmp_path):
    with pytest.raises(DataError, match="no step"):
        find(Record()).save(tmp_path / "picture.png")
    assert find(Record()).alt == "No step of the training was looked at."
