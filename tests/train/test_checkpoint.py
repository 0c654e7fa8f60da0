"""Checkpoints as files: when they are written, which are kept, what becomes of a damaged one or a full disk."""

import errno
import json
import math
import os
import stat
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from torch import nn

from striate import _files
from striate.callbacks import Callback, LambdaCallback
from striate.errors import ArgumentError, SavedModelError, TrainingError
from striate.train import Trainer
from striate.train.checkpoint import Checkpoint, weights
from striate.train.folder_lock import FolderLock
from striate.train.state_file import read_state, write_state

X = np.random.default_rng(0).normal(size=(40, 3)).astype("float32")
Y = X[:, :1] - X[:, 1:2]


def fit(checkpoint, epochs=3, callbacks=(), **options):
    torch.manual_seed(0)
    trainer = Trainer(nn.Linear(3, 1), "adam", "mse")
    options = {"batch_size": 8, "seed": 1} | options
    return trainer, trainer.fit(X, Y, epochs=epochs, verbose=0, callbacks=callbacks, checkpoint=checkpoint, **options)


def steps(folder):
    return [int(path.stem.removeprefix("step-")) for path in Checkpoint(folder).files]


class TestTheFile:
    def test_every_kind_of_value_comes_back_as_it_was(self, tmp_path):
        shared = torch.arange(6.0).view(2, 3)
        state = {
            "numbers": [1, -2.5, 1e-300, 0.1 + 0.2, math.inf, -math.inf, True, None, 2**80],
            "text": "täglich",
            "tuple": (0.9, (1,), []),
            "by number": {0: "a", (1, 2): {"b": 1.5}},
            "dollar": {"$tensor": "not one"},
            "empty": {},
            "tensors": [shared, shared[0], shared.T, torch.tensor(3), torch.empty(0, 2)],
            "types": [torch.ones(2).to(kind) for kind in (torch.bfloat16, torch.float16, torch.bool, torch.int64)],
            "array": np.arange(4, dtype=np.int16),
            "numpy": np.float32(0.1),
        }
        write_state(tmp_path / "a.safetensors", state)
        back = read_state(tmp_path / "a.safetensors")
        assert list(back) == list(state)
        for name in ("numbers", "text", "tuple", "by number", "dollar", "empty"):
            assert back[name] == state[name]
            assert type(back[name]) is type(state[name])
        for name in ("tensors", "types"):
            for one, other in zip(back[name], state[name], strict=True):
                assert one.dtype == other.dtype
                assert torch.equal(one, other)
        assert back["array"].dtype == np.int16
        assert back["array"].tolist() == [0, 1, 2, 3]
        assert back["numpy"] == float(np.float32(0.1))

    def test_not_a_number_keeps_its_place(self, tmp_path):
        write_state(tmp_path / "a", {"loss": [1.0, math.nan]})
        assert math.isnan(read_state(tmp_path / "a")["loss"][1])

    def test_it_is_safetensors_with_strict_json(self, tmp_path):
        fit(tmp_path)
        path = Checkpoint(tmp_path).files[-1]
        with safe_open(path, "pt") as file:
            names = set(file.keys())
            content = json.loads(file.metadata()["striate"], parse_constant=pytest.fail)
        assert {"module/tensors/weight", "optimizer/state_dict/state/weight/exp_avg", "random/torch"} <= names
        assert content["state"]["position"]["epoch"] == 3

    def test_what_cannot_be_kept_is_refused_by_name(self, tmp_path):
        class Strange(Callback):
            def state_dict(self):
                return {"inner": [object()]}

        with pytest.raises(ArgumentError, match=r"cannot keep callbacks/0/1/inner/0, a object: expected tensors"):
            fit(tmp_path, callbacks=[Strange()])

    @pytest.mark.parametrize("part", ["head", "text", "tensor", "end", "all"])
    def test_every_damage_is_seen(self, part, tmp_path):
        path = tmp_path / "a.safetensors"
        write_state(path, {"text": "x" * 400, "tensor": torch.rand(100)})
        content = bytearray(path.read_bytes())
        if part == "end":
            content = content[:-1]
        elif part == "all":
            content = bytearray(len(content))
        else:
            place = {"head": 3, "text": content.find(b"xxx") + 9, "tensor": len(content) - 77}[part]
            content[place] ^= 4
        path.write_bytes(content)
        with pytest.raises(SavedModelError, match=str(path)):
            read_state(path)

    def test_another_programs_file_is_told(self, tmp_path):
        from safetensors.torch import save_file

        save_file({"a": torch.ones(1)}, tmp_path / "a.safetensors")
        with pytest.raises(SavedModelError, match="is no checkpoint of Striate"):
            read_state(tmp_path / "a.safetensors")


class TestWhen:
    def test_every_few_steps_and_at_the_ends(self, tmp_path):
        seen = []
        watch = LambdaCallback(on_train_batch_begin=lambda batch, logs: seen.append(steps(tmp_path)[-1]))
        fit(Checkpoint(tmp_path, every_steps=2, every_minutes=None, keep=99), epochs=2, callbacks=[watch])
        assert seen[:5] == [0, 0, 2, 2, 4]
        assert {0, 2, 4, 6, 8, 10} <= set(steps(tmp_path))

    def test_every_few_minutes(self, tmp_path, monkeypatch):
        now = [0.0]
        monkeypatch.setattr(time, "monotonic", lambda: now[0])
        checkpoint = Checkpoint(tmp_path, every_minutes=2, keep=99)

        def a_minute_passes(*_):
            now[0] += 60

        fit(checkpoint, epochs=1, callbacks=[LambdaCallback(on_train_batch_begin=a_minute_passes)])
        assert steps(tmp_path) == [0, 2, 4, 5]

    def test_short_epochs_of_a_large_model_are_not_all_written(self, tmp_path, monkeypatch):
        now = [0.0]
        monkeypatch.setattr(time, "monotonic", lambda: now[0])
        write = _files.write_bytes

        def slow(path, content):
            now[0] += 1.0
            write(path, content)

        monkeypatch.setattr(_files, "write_bytes", slow)

        def an_epoch_passes(*_):
            now[0] += 5.0

        checkpoint = Checkpoint(tmp_path, every_minutes=None, keep=99)
        fit(checkpoint, epochs=10, callbacks=[LambdaCallback(on_epoch_begin=an_epoch_passes)])
        assert steps(tmp_path) == [0, 20, 40, 50]  # 20 seconds for each second of writing, and the end

    def test_the_newest_and_the_best_are_kept(self, tmp_path):
        values = iter([3.0, 1.0, 2.0, 2.0, 5.0])
        script = LambdaCallback(on_epoch_end=lambda epoch, logs: logs.update(number=next(values)))
        checkpoint = Checkpoint(tmp_path, keep=2, monitor="number", mode="min")
        trainer, _ = fit(checkpoint, epochs=5, callbacks=[script])
        assert steps(tmp_path) == [10, 20, 25]
        assert checkpoint.best == tmp_path / "step-00000010.safetensors"
        kept = weights(checkpoint.best)
        assert kept["weight"].shape == (1, 3)
        assert not torch.equal(kept["weight"], trainer.module.weight)

        again = Checkpoint(tmp_path, keep=2, monitor="number", mode="min")
        values = iter([4.0, 0.5])
        fit(again, epochs=6, callbacks=[script], resume=True)
        assert again.best == checkpoint.best
        fit(again, epochs=7, callbacks=[script], resume=True)
        assert steps(tmp_path) == [30, 35]
        assert again.best == tmp_path / "step-00000035.safetensors"

    def test_weights_are_those_of_the_model(self, tmp_path):
        trainer, _ = fit(tmp_path)
        other = nn.Linear(3, 1)
        other.load_state_dict(weights(Checkpoint(tmp_path).files[-1]))
        assert torch.equal(other.weight, trainer.module.weight)

    def test_writing_changes_no_bit_of_the_training(self, tmp_path):
        plain, history = fit(None)
        written, same = fit(Checkpoint(tmp_path, every_steps=1))
        assert history == same
        assert torch.equal(plain.module.weight, written.module.weight)

    def test_wrong_arguments(self, tmp_path):
        for arguments in ({"keep": 0}, {"every_steps": 1.5}, {"every_minutes": 0}):
            with pytest.raises(ArgumentError, match=f"{next(iter(arguments))}=.*: expected"):
                Checkpoint(tmp_path, **arguments)

    def test_a_folder_in_use_is_not_overwritten(self, tmp_path):
        fit(tmp_path)
        before = steps(tmp_path)
        with pytest.raises(ArgumentError, match="holds checkpoints of an earlier training: go on with it by resume"):
            fit(tmp_path)
        assert steps(tmp_path) == before

    def test_clear_leaves_what_is_not_its_own(self, tmp_path):
        fit(tmp_path / "mine")
        Checkpoint(tmp_path / "mine").clear()
        assert not (tmp_path / "mine").exists()
        fit(tmp_path / "shared")
        (tmp_path / "shared" / "notes.txt").write_text("keep me")
        Checkpoint(tmp_path / "shared").clear()
        assert [path.name for path in (tmp_path / "shared").iterdir()] == ["notes.txt"]


class TestWhatGoesWrong:
    def test_a_damaged_one_is_told_and_the_one_before_is_used(self, tmp_path, capsys):
        whole, history = fit(Checkpoint(tmp_path, every_steps=2))
        newest = Checkpoint(tmp_path).files[-1]
        newest.write_bytes(newest.read_bytes()[:-50])
        again, same = fit(Checkpoint(tmp_path, every_steps=2), resume=True)
        errors = capsys.readouterr().err
        assert errors.count("\n") == 1
        assert str(newest) in errors
        assert errors.endswith("An older checkpoint is looked for.\n")
        assert same == history
        assert torch.equal(again.module.weight, whole.module.weight)
        assert Checkpoint(tmp_path).newest()[0] == newest  # written anew

    def test_a_damaged_one_that_is_named_is_an_error(self, tmp_path):
        fit(tmp_path)
        newest = Checkpoint(tmp_path).files[-1]
        newest.write_bytes(b"torn")
        with pytest.raises(SavedModelError, match="cannot be read"):
            fit(None, resume=newest)

    def test_a_full_disk_stops_nothing(self, tmp_path, monkeypatch, capsys):
        plain, history = fit(None)
        synced = []

        def full(handle):
            synced.append(handle)
            if len(synced) > 6:  # a file and its folder each time
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        monkeypatch.setattr(os, "fsync", full)
        trainer, same = fit(Checkpoint(tmp_path, every_steps=1))
        assert len(synced) > 10  # tried again and again
        line = f"Checkpoint in {tmp_path} cannot be written: No space left on device. The training goes on; "
        assert capsys.readouterr().err == line + "the last good one is step-00000002.safetensors.\n"
        assert same == history
        assert steps(tmp_path) == [1, 2]
        assert not list(tmp_path.glob(".*.part"))

        monkeypatch.undo()
        again, resumed = fit(Checkpoint(tmp_path), resume=True)
        assert resumed == history
        assert torch.equal(again.module.weight, plain.module.weight)

    def test_a_folder_that_cannot_be_made_stops_nothing(self, tmp_path, capsys):
        (tmp_path / "file").write_text("in the way")
        _, history = fit(tmp_path / "file" / "checkpoints")
        assert len(history.epoch) == 3
        assert capsys.readouterr().err.endswith("The training goes on; there is none yet.\n")

    @pytest.mark.skipif(hasattr(os, "geteuid") and os.geteuid() == 0, reason="root may write everywhere")
    def test_a_read_only_folder_stops_nothing(self, tmp_path, capsys):
        fit(tmp_path)
        tmp_path.chmod(0o555)
        try:
            _, history = fit(tmp_path, epochs=5, resume=True)
        finally:
            tmp_path.chmod(0o755)
        assert len(history.epoch) == 5
        assert "Permission denied. The training goes on; the last good one is" in capsys.readouterr().err

    def test_what_a_killed_write_left_is_swept(self, tmp_path):
        (tmp_path / ".step-00000001.safetensors.abc.part").write_bytes(b"half")
        fit(tmp_path)
        assert not list(tmp_path.glob(".*.part"))


HOLD = """
import sys, time, torch
from striate import fit
from striate.callbacks import LambdaCallback

def wait(batch, logs):
    print("training", flush=True)
    time.sleep(60)

fit(torch.nn.Linear(3, 1), torch.ones(8, 3), torch.ones(8, 1), loss="mse", verbose=0, checkpoint=sys.argv[1],
    callbacks=[LambdaCallback(on_train_batch_end=wait)])
"""


class TestTwoAtOnce:
    def test_the_second_process_is_refused_until_the_first_is_gone(self, tmp_path):
        with subprocess.Popen([sys.executable, "-c", HOLD, tmp_path], stdout=subprocess.PIPE, text=True) as first:
            assert first.stdout.readline() == "training\n"
            before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
            for resume in (True, False):
                with pytest.raises(TrainingError, match=rf"in use by process {first.pid} on .*wait until it ends"):
                    fit(tmp_path, resume=resume)
            assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
            first.kill()
        with pytest.raises(ArgumentError, match="of a training with seed="):  # it comes to look at the file
            fit(tmp_path, resume=True)

    def test_the_folder_is_free_after_a_training_however_it_ended(self, tmp_path):
        fit(tmp_path)
        stop = LambdaCallback(on_epoch_end=lambda epoch, logs: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            fit(tmp_path, epochs=5, resume=True, callbacks=[stop])
        other = "import sys; from pathlib import Path; from striate.train.folder_lock import FolderLock as Lock; "
        subprocess.run([sys.executable, "-c", other + "Lock(Path(sys.argv[1])).take()", tmp_path], check=True)

    def test_a_file_system_without_locks_stops_nothing(self, tmp_path, monkeypatch):
        def no_locks(file):
            raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

        monkeypatch.setattr("striate.train.folder_lock._take", no_locks)
        _, history = fit(tmp_path)
        assert len(history.epoch) == 3

    def test_a_folder_that_cannot_be_written_is_not_locked(self, tmp_path, monkeypatch):
        def read_only(*_):
            raise OSError(errno.EROFS, os.strerror(errno.EROFS))

        monkeypatch.setattr(os, "open", read_only)
        FolderLock(tmp_path).take()


FULL = """
import resource, sys
import numpy as np, torch
from striate.callbacks import LambdaCallback
from striate.train import Checkpoint, Trainer

def fill(epoch, logs):
    if epoch == 1:  # as a disk of which a thousand bytes are left
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, resource.RLIM_INFINITY))

x = torch.randn(40, 3, generator=torch.Generator().manual_seed(0))
torch.manual_seed(0)
trainer = Trainer(torch.nn.Linear(3, 1), "adam", "mse")
callbacks = [LambdaCallback(on_epoch_begin=fill)] if sys.argv[2] == "full" else []
history = trainer.fit(x, x[:, :1], epochs=4, batch_size=8, seed=1, verbose=0, callbacks=callbacks, resume=True,
                      checkpoint=Checkpoint(sys.argv[1], every_steps=1))
print(history.history["loss"])
"""


def run_full(folder: Path, how: str) -> tuple[str, str]:
    done = subprocess.run([sys.executable, "-c", FULL, folder, how], capture_output=True, text=True, check=True)
    return done.stdout, done.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="needs setrlimit")
def test_a_write_that_the_system_cuts_off_leaves_the_last_good_one(tmp_path):
    losses, _ = run_full(tmp_path / "whole", "empty")
    printed, errors = run_full(tmp_path / "full", "full")
    assert printed == losses  # the training went on
    assert "cannot be written: File too large. The training goes on; the last good one is step-00000005" in errors
    assert errors.count("\n") == 1
    assert steps(tmp_path / "full") == [4, 5]
    assert sorted(path.name for path in (tmp_path / "full").iterdir())[1:] == [
        "step-00000004.safetensors",
        "step-00000005.safetensors",
    ]
    assert run_full(tmp_path / "full", "empty") == (losses, "")


def test_the_new_name_is_on_the_disk_before_the_old_file_is_removed(tmp_path, monkeypatch):
    events = []
    sync, replace, unlink = os.fsync, os.replace, type(tmp_path).unlink

    def synced(handle):
        events.append("folder" if stat.S_ISDIR(os.fstat(handle).st_mode) else "file")
        sync(handle)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(os, "replace", lambda *names: (events.append("rename"), replace(*names)))
    monkeypatch.setattr(type(tmp_path), "unlink", lambda path: (events.append("remove"), unlink(path)))
    fit(Checkpoint(tmp_path, every_steps=1, keep=1), epochs=1)
    place = events.index("remove")
    assert events[place - 3 : place] == ["file", "rename", "folder"]
