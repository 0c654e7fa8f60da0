"""TensorBoard, Weights & Biases and MLflow: what is written to this machine, read back with their own readers."""

import json
import os
import struct
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image

import striate
from striate.errors import ArgumentError
from striate.track import create_run, list_runs, tracker
from striate.track.trackers import numbers
from striate.train.tracking import Tracking

CONFIG = {"model": "line", "rate": 0.25, "shape": (2, 1), "shuffle": True}
EPOCHS = [{"loss": 0.75, "val_loss": 1.5}, {"loss": 0.5, "val_loss": 1.25}]


@pytest.fixture
def run(tmp_path):
    return create_run("line", CONFIG, tmp_path / "runs")


@pytest.fixture
def picture(tmp_path):
    Image.fromarray(np.arange(48, dtype=np.uint8).reshape(4, 4, 3)).save(tmp_path / "curves.png")
    return tmp_path / "curves.png"


@pytest.fixture(autouse=True)
def own_settings(monkeypatch, tmp_path):
    """None of the user's settings, and nothing written outside the test's folder."""
    for name in ("WANDB_MODE", "WANDB_PROJECT", "MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_NAME"):
        monkeypatch.delenv(name, raising=False)
    for name in ("WANDB_CACHE_DIR", "WANDB_CONFIG_DIR", "WANDB_DATA_DIR"):
        monkeypatch.setenv(name, str(tmp_path / name))


def follow(name, run, picture):
    """One run from its beginning to its end."""
    service = tracker(name)
    service.start(run, run.config)
    for epoch, metrics in enumerate(EPOCHS):
        service.log(epoch, metrics)
    service.picture("curves", picture)
    run.model_file.write_bytes(b"the model")
    service.model(run.model_file)
    service.finish({"accuracy": 0.875, "note": "good"})


def records(log):
    """The records of a .wandb file: seven bytes of its own, then a log in LevelDB's format."""
    assert log.startswith(b":W&B")
    block, place, data = 32768, 7, b""
    while place < len(log):
        if block - place % block < 7:  # too short for a header: the block ends in zeros
            place += block - place % block
            continue
        length, kind = struct.unpack("<HB", log[place + 4 : place + 7])
        data += log[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (1, 4):  # whole, or the last part
            yield data
            data = b""


def train(*callbacks, **options):
    torch.manual_seed(0)
    x = torch.randn(16, 2)
    options = {"loss": "mse", "epochs": 2, "validation_split": 0.25, "verbose": 0} | options
    return striate.fit(torch.nn.Linear(2, 1), x, x.sum(1, keepdim=True), callbacks=callbacks, **options)


def test_tensorboard_shows_metrics_settings_and_pictures(run, picture):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    follow("tensorboard", run, picture)
    events = EventAccumulator(str(run.folder / "tensorboard"))
    events.Reload()
    tags = {"loss/training": [0.75, 0.5], "loss/validation": [1.5, 1.25], "results/accuracy": [0.875]}
    assert set(events.Tags()["scalars"]) == tags.keys()
    for tag, values in tags.items():
        assert [event.value for event in events.Scalars(tag)] == values
        assert [event.step for event in events.Scalars(tag)] == list(range(len(values)))
    (text,) = events.Tensors("config/text_summary")
    shown = text.tensor_proto.string_val[0].decode().removeprefix("```json\n").removesuffix("\n```")
    assert json.loads(shown) == run.config
    (image,) = events.Images("curves")
    assert (image.width, image.height) == (4, 4)
    assert "_hparams_/session_start_info" in events.summary_metadata


def test_wandb_writes_offline_into_the_folder_of_the_run(run, picture):
    wandb = pytest.importorskip("wandb")
    from wandb.proto import wandb_internal_pb2

    follow("wandb", run, picture)
    wandb.teardown()  # its process writes the rest of the file when it ends
    (file,) = run.folder.glob("wandb/offline-run-*/run-*.wandb")
    config, history, summary, exits = {}, {}, {}, 0
    for data in records(file.read_bytes()):
        record = wandb_internal_pb2.Record()
        record.ParseFromString(data)
        for item in [*record.run.config.update, *record.config.update]:
            config[item.key] = json.loads(item.value_json)
        row = {(item.key or item.nested_key[0]): json.loads(item.value_json) for item in record.history.item}
        if "loss" in row:
            history[row["_step"]] = {name: row[name] for name in ("loss", "val_loss")}
        for item in record.summary.update:
            summary[item.key or item.nested_key[0]] = json.loads(item.value_json)
        if record.run.run_id:
            assert (record.run.project, record.run.display_name) == ("striate", "line")
        exits += record.HasField("exit")
    assert {key: config[key] for key in CONFIG} == {**CONFIG, "shape": [2, 1]}
    assert history == dict(enumerate(EPOCHS))
    assert summary["accuracy"] == 0.875
    assert exits == 1
    assert list(run.folder.glob("wandb/offline-run-*/files/media/images/curves_*.png"))


def test_mlflow_keeps_one_database_beside_the_runs(run, picture):
    mlflow = pytest.importorskip("mlflow")
    pytest.importorskip("sqlalchemy")
    follow("mlflow", run, picture)
    client = mlflow.MlflowClient(f"sqlite:///{run.folder.parent.resolve() / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("striate")
    (kept,) = client.search_runs([experiment.experiment_id])
    assert (kept.info.run_name, kept.info.status) == ("line", "FINISHED")
    assert {key: kept.data.params[key] for key in CONFIG} == {key: str(run.config[key]) for key in CONFIG}
    losses = client.get_metric_history(kept.info.run_id, "val_loss")
    assert [(metric.step, metric.value) for metric in losses] == [(0, 1.5), (1, 1.25)]
    assert kept.data.metrics["result_accuracy"] == 0.875
    artifacts = run.folder.parent / "mlartifacts" / kept.info.run_id / "artifacts"
    assert (artifacts / "model" / "model.safetensors").read_bytes() == b"the model"
    assert (artifacts / "pictures" / "curves" / "curves.png").read_bytes() == picture.read_bytes()
    assert mlflow.active_run() is None
    assert [other.name for other in list_runs(run.folder.parent)] == ["line"]


def test_mlflow_says_killed_of_a_run_that_never_finished(run):
    mlflow = pytest.importorskip("mlflow")
    pytest.importorskip("sqlalchemy")
    service = tracker("mlflow")
    service.start(run, {})
    client = mlflow.MlflowClient(f"sqlite:///{run.folder.parent.resolve() / 'mlflow.db'}")
    states = [client.search_runs([client.get_experiment_by_name("striate").experiment_id])[0].info.status]
    del service
    states.append(client.search_runs([client.get_experiment_by_name("striate").experiment_id])[0].info.status)
    assert states == ["RUNNING", "KILLED"]


@pytest.mark.parametrize(
    ("name", "variable", "value"),
    [("wandb", "WANDB_ERROR_REPORTING", "false"), ("mlflow", "MLFLOW_DISABLE_TELEMETRY", "true")],
)
def test_no_usage_is_reported(name, variable, value, monkeypatch):
    pytest.importorskip(name)
    monkeypatch.delenv(variable, raising=False)
    tracker(name)
    assert os.environ[variable] == value


def test_a_callback_logs_the_epochs_of_any_training(tmp_path, monkeypatch):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    monkeypatch.chdir(tmp_path)
    tracking = Tracking("tensorboard", config={"data": "noise"})
    history = train(tracking)
    (run,) = list_runs("runs")
    assert run == tracking.run and run.name == "linear" and run.finished
    assert {"data": "noise", "model": "Linear", "parameters": 3}.items() <= run.config.items()
    assert run.history == history.history
    assert run.metrics == {name: values[-1] for name, values in history.history.items()}
    events = EventAccumulator(str(run.folder / "tensorboard"))
    events.Reload()
    written = [event.value for event in events.Scalars("loss/validation")]
    assert written == pytest.approx(history.history["val_loss"])


def test_a_resumed_training_goes_on_in_the_same_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    whole = train(Tracking(), epochs=3, seed=1)
    stopped = Tracking()
    train(stopped, epochs=2, seed=1)
    state = stopped.state_dict()
    first, second = list_runs("runs")
    trainer = striate.train.Trainer(torch.nn.Linear(2, 1), "adam", "mse")
    again = Tracking()
    again.set_trainer(trainer)
    again.on_train_begin({})
    again.load_state_dict(state)
    last = {name: values[-1] for name, values in whole.history.items()}
    again.on_epoch_end(2, last)
    again.on_train_end(last)
    assert list_runs("runs") == [first, second]
    assert second.history == first.history


def test_mlflow_goes_on_with_a_run_that_was_stopped(run):
    mlflow = pytest.importorskip("mlflow")
    pytest.importorskip("sqlalchemy")
    for epoch, metrics in enumerate(EPOCHS):
        service = tracker("mlflow")
        service.start(run, run.config)
        service.log(epoch, metrics)
        if epoch == 1:
            service.finish({})
        del service
    client = mlflow.MlflowClient(f"sqlite:///{run.folder.parent.resolve() / 'mlflow.db'}")
    (kept,) = client.search_runs([client.get_experiment_by_name("striate").experiment_id])
    assert kept.info.status == "FINISHED"
    assert [metric.value for metric in client.get_metric_history(kept.info.run_id, "loss")] == [0.75, 0.5]


def train_stopped_after_logging(service, run):
    """Three epochs; killed after the second was logged and before a checkpoint knew of it, so that it is done again."""
    for first, last in ((0, 2), (1, 3)):
        tracking = Tracking(service, run=run)
        for epoch in range(first, last):
            tracking.on_epoch_begin(epoch, {})
            tracking.on_epoch_end(epoch, {"loss": 1 - epoch / 4, "val_loss": 2 - epoch / 4})
        if last == 3:
            tracking.finish({"accuracy": 0.5})
        elif service == "tensorboard":
            tracking._trackers[service]._writer.close()
        del tracking


def test_tensorboard_shows_an_epoch_that_was_done_again_once(run):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    train_stopped_after_logging("tensorboard", run)
    events = EventAccumulator(str(run.folder / "tensorboard"))
    events.Reload()
    assert [(event.step, event.value) for event in events.Scalars("loss/training")] == [(0, 1), (1, 0.75), (2, 0.5)]
    assert [event.step for event in events.Scalars("loss/validation")] == [0, 1, 2]
    assert len(events.Tensors("config/text_summary")) == 1
    assert [event.value for event in events.Scalars("results/accuracy")] == [0.5]


def test_mlflow_keeps_an_epoch_that_was_done_again_once(run):
    mlflow = pytest.importorskip("mlflow")
    pytest.importorskip("sqlalchemy")
    train_stopped_after_logging("mlflow", run)
    client = mlflow.MlflowClient(f"sqlite:///{run.folder.parent.resolve() / 'mlflow.db'}")
    (kept,) = client.search_runs([client.get_experiment_by_name("striate").experiment_id])
    for name, value in (("loss", 1), ("val_loss", 2)):
        history = client.get_metric_history(kept.info.run_id, name)
        assert [(entry.step, entry.value) for entry in history] == [(0, value), (1, value - 0.25), (2, value - 0.5)]


def test_the_folder_is_kept_without_any_service(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    tracking = Tracking()
    first, second = train(tracking), train(tracking, epochs=3)
    assert [run.history for run in list_runs("runs")] == [first.history, second.history]


def test_a_run_that_is_given_is_left_to_its_maker(run):
    train(Tracking(run=run))
    assert not run.finished and run.history == {}


def test_a_service_that_fails_does_not_end_the_training(run):
    class Full:
        def __init__(self):
            self.steps = []

        def start(self, run, config, step):
            pass

        def log(self, step, metrics):
            self.steps.append(step)
            raise OSError("No space left on device")

    tracking = Tracking(run=run)
    tracking._trackers["full"] = service = Full()
    with pytest.warns(UserWarning, match="full failed and is left out from here on: No space left on device"):
        history = train(tracking)
    assert len(history.epoch) == 2
    assert service.steps == [0]


def test_lists_are_left_to_the_folder():
    assert numbers({"f1": [0.5, 1.0], "loss": np.float64(0.5)}) == {"loss": 0.5}


def test_unknown_services_are_refused_by_name():
    with pytest.raises(ArgumentError, match=r"service='tensorbord': expected .*tensorboard"):
        Tracking("tensorbord")


def test_a_missing_package_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(striate.errors.MissingExtraError, match=r"wandb.*striate\[track\]"):
        tracker("wandb")


def test_services_are_imported_when_asked_for():
    code = "import striate.track, sys; print({'tensorboard', 'wandb', 'mlflow', 'torch'} & sys.modules.keys())"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "set()\n"
