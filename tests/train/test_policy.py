"""What the policy chooses, what may be asked of it instead, and that a choice changes nothing but the time."""

import copy
import functools

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from striate.errors import ArgumentError
from striate.layers import Conv2D, Dense, Flatten, Input
from striate.models import Sequential
from striate.train import Trainer, policy
from striate.train.policy import Work

CPU, CUDA = torch.device("cpu"), torch.device("cuda")
X, Y = torch.rand(24, 3, 8, 8, generator=torch.Generator().manual_seed(0)), torch.arange(24) % 5


def convnet() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1, bias=False),  # a bias before a normalisation has noise for a gradient
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.ConvTranspose2d(8, 6, 3),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(6, 5),
    )


def trained(optimizer="adam", fits=1, data=(X, Y), **options):
    module = convnet()
    trainer = Trainer(module, optimizer, "cross_entropy", metrics=["accuracy"], precision="float32", **options)
    history = [trainer.fit(*data, batch_size=10, epochs=2, seed=1, verbose=0).history["loss"] for _ in range(fits)]
    return trainer, history


class TestMemoryFormat:
    def test_wide_convolutions_of_a_torch_module_read_channels_side_by_side(self):
        wide, narrow = Work(1e9, 1e9), Work(1e9, 1e6)
        assert policy.choose_memory_format(convnet(), wide).value == "channels_last"
        assert policy.choose_memory_format(convnet(), narrow).value == "contiguous"
        assert policy.choose_memory_format(convnet(), None).value == "contiguous"
        assert policy.choose_memory_format(convnet(), narrow, "channels_last").value == "channels_last"
        assert policy.choose_memory_format(nn.Linear(4, 4), wide) is None

    def test_striates_layers_see_to_it(self):
        model = Sequential([Input((8, 8, 3)), Conv2D(4, 3), Flatten(), Dense(2)])
        assert policy.choose_memory_format(model, None, "contiguous").reason == "as Striate's layers lie in memory"

    @pytest.mark.parametrize("optimizer", ["adam", "sgd", torch.optim.Adagrad])
    @pytest.mark.parametrize("data", [(X, Y), (DataLoader(TensorDataset(X, Y), 10),)], ids=["arrays", "loader"])
    def test_training_is_the_same_over_two_fits(self, optimizer, data):
        def made():
            module = convnet()
            bound = optimizer if isinstance(optimizer, str) else optimizer(module.parameters(), lr=0.01)
            return module, bound

        results = []
        for memory_format in ("contiguous", "channels_last"):
            module, chosen = made()
            trainer = Trainer(module, chosen, "cross_entropy", precision="float32", memory_format=memory_format)
            losses = [trainer.fit(*data, batch_size=10, epochs=2, seed=1, verbose=0).history["loss"] for _ in range(2)]
            results.append((torch.tensor(losses), [p.detach() for p in module.parameters()]))
        torch.testing.assert_close(results[0][0], results[1][0], rtol=1e-5, atol=1e-6)
        for one, other in zip(results[0][1], results[1][1], strict=True):
            torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)

    def test_weights_lie_so_during_the_training_and_as_before_afterwards(self):
        seen = []
        module = convnet()
        module[0].register_forward_hook(
            lambda part, args, output: (
                seen.append(
                    [
                        tensor.is_contiguous(memory_format=torch.channels_last)
                        for tensor in (part.weight, args[0], output)
                    ]
                )
                if part.training
                else None
            )
        )
        trainer = Trainer(module, "adam", "cross_entropy", precision="float32", memory_format="channels_last")
        trainer.fit(X, Y, batch_size=12, verbose=0)
        assert seen == [[True, True, True]] * 2
        state = trainer.stepper.bind().state
        assert all(parameter.is_contiguous() for parameter in module.parameters())
        assert all(value.is_contiguous() for values in state.values() for value in values.values())

    def test_weights_lie_as_before_after_an_error(self):
        module = convnet()
        trainer = Trainer(module, "adam", "cross_entropy", memory_format="channels_last", precision="float32")
        module[6].register_forward_hook(lambda *_: (_ for _ in ()).throw(RuntimeError("stop")))
        with pytest.raises(RuntimeError, match="stop"):
            trainer.fit(X, Y, verbose=0)
        assert module[0].weight.is_contiguous()


class TestCompile:
    def test_only_where_it_is_repaid(self):
        small, large = Work(1e8, 1e8), Work(1e12, 1e12)
        assert policy.choose_compile(CPU, large, 10**6).value == "no"
        assert policy.choose_compile(CUDA, large, 100).value == "no"
        assert policy.choose_compile(CUDA, large, None).value == "no"
        assert policy.choose_compile(CUDA, large, 10**5).value == "default"
        assert policy.choose_compile(CUDA, small, 10**5).value == "reduce-overhead"  # CUDA graphs
        assert policy.choose_compile(CUDA, small, 10**5, False).value == "no"
        assert policy.choose_compile(CPU, small, None, True).value == "default"

    def test_the_compiled_module_takes_the_steps_and_learns_the_same(self, monkeypatch):
        graphs = []

        def backend(graph, inputs):
            graphs.append(graph)
            return graph.forward

        monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend=backend, mode=None))
        monkeypatch.setattr(torch, "compile", lambda module, mode, compile=torch.compile: compile(module))
        _, expected = trained(jit_compile=False)
        assert not graphs
        trainer, losses = trained(jit_compile=True)
        assert graphs
        assert losses[0] == pytest.approx(expected[0], rel=1e-5)
        assert not any("_orig_mod" in name for name in trainer.module.state_dict())

    def test_a_model_of_striates_layers(self, monkeypatch):
        compiled = []
        monkeypatch.setattr(torch, "compile", lambda module, mode: compiled.append(module) or module)
        model = Sequential([Input((4,)), Dense(2)])
        model.compile("sgd", "mse", jit_compile=True)
        model.fit(torch.rand(8, 4), torch.rand(8, 2), verbose=0)
        assert compiled == [model]

    def test_mistakes(self):
        with pytest.raises(ArgumentError, match="jit_compile"):
            Trainer(convnet(), jit_compile="yes")
        with pytest.raises(ArgumentError, match="memory_format='nhwc': expected one of"):
            Trainer(convnet(), memory_format="nhwc")


class TestThreads:
    @pytest.fixture(autouse=True)
    def threads(self, monkeypatch):
        monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
        chosen = []
        monkeypatch.setattr(torch, "get_num_threads", lambda: 64)
        monkeypatch.setattr(torch, "set_num_threads", chosen.append)
        monkeypatch.setattr(policy.os, "sched_getaffinity", lambda process: set(range(64)), raising=False)
        return chosen

    @pytest.mark.parametrize(("quota", "expected"), [("250000 100000", 3), ("50000 100000", 1), ("max 100000", 64)])
    def test_a_containers_quota(self, quota, expected, threads, tmp_path, monkeypatch):
        (tmp_path / "cpu.max").write_text(quota)
        monkeypatch.setattr(policy, "_QUOTA", tmp_path / "cpu.max")
        assert policy.choose_threads(CPU).value == str(expected)
        assert threads == ([expected] if expected < 64 else [])

    def test_affinity_a_wish_and_another_device(self, threads, tmp_path, monkeypatch):
        monkeypatch.setattr(policy, "_QUOTA", tmp_path / "none")
        monkeypatch.setattr(policy.os, "sched_getaffinity", lambda process: {3, 5}, raising=False)
        assert policy.choose_threads(CPU).value == "2"
        assert policy.choose_threads(CUDA) is None
        monkeypatch.setenv("OMP_NUM_THREADS", "64")
        assert policy.choose_threads(CPU).reason == "as OMP_NUM_THREADS says"
        assert threads == [2]


def test_what_the_optimiser_runs_on():
    module = copy.deepcopy(convnet())
    trainer = Trainer(module, "adam")
    assert policy.describe_optimizer(trainer.stepper.bind()).value == "fused"
    assert policy.describe_optimizer(Trainer(module, "sgd").stepper.bind()).value == "by operation"


def test_products_beside_those_of_children_count_once():
    class Cosines(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = torch.nn.Sequential(torch.nn.Linear(128, 64))
            self.weight = torch.nn.Parameter(torch.ones(10, 64))

        def forward(self, x):
            return torch.nn.functional.linear(self.inner(x), self.weight)

    work = policy.count_work(Cosines(), torch.zeros(4, 128))
    assert work == policy.Work(macs=4 * (128 * 64 + 64 * 10), wide=4 * (128 * 64 + 64 * 10))
