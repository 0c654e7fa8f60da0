"""Where a training stands: all that its next step depends on, taken from the living objects and put back into them.

Weights go by name, and so does what the optimiser remembers of each, so that a state fits a model that was made anew.
"""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from striate._nested import map_nested
from striate.callbacks import Callback
from striate.data.batches import Batches, LoaderBatches
from striate.distributed.processes import World
from striate.distributed.sharding import is_sharded, like
from striate.errors import ArgumentError
from striate.layers.layer import Layer
from striate.metrics import Metric
from striate.train.objective import Logs, Objective
from striate.train.step import Stepper

State = dict[str, Any]


@dataclass
class History:
    """What a training reported.

    `history` has a list for each name of the logs, one entry for each epoch of `epoch`.
    """

    history: dict[str, list[Any]] = field(default_factory=dict)
    epoch: list[int] = field(default_factory=list)

    def append(self, epoch: int, logs: Logs) -> None:
        """Add an epoch."""
        self.epoch.append(epoch)
        for name, value in logs.items():
            self.history.setdefault(name, []).append(value)


@dataclass
class Position:
    """How far a training has come.

    Attributes:
        epoch: the epoch at hand.
        batch: how many of its batches are done.
        logs: the numbers of the last whole epoch.
        history: the numbers of all of them.
    """

    epoch: int = 0
    batch: int = 0
    logs: Logs = field(default_factory=dict)
    history: History = field(default_factory=History)

    def state(self) -> State:
        return asdict(self)

    @staticmethod
    def of(state: State) -> Position:
        """The position that `state` described."""
        return Position(**{**state, "history": History(**state["history"])})


# The module ---------------------------------------------------------------------------------------------------------


def module_state(module: nn.Module) -> State:
    """Parameters, buffers, and which parts are frozen or in evaluation mode."""
    return {
        "tensors": _tensors(module),
        "frozen": [name for name, parameter in module.named_parameters() if not parameter.requires_grad],
        "frozen_layers": [name for name, part in _layers(module) if not part.trainable],
        "evaluated": [name for name, part in module.named_modules() if not part.training],
    }


@torch.no_grad()
def load_module(module: nn.Module, state: State) -> None:
    """Put a module into a state.

    Raises:
        ArgumentError: the state is of another module.
    """
    tensors, saved = _tensors(module), state["tensors"]
    check_names("The checkpoint is of another model", saved, tensors)
    for name, tensor in tensors.items():
        if tensor.shape != saved[name].shape:
            raise ArgumentError(
                f"The checkpoint is of another model: its {name} is {tuple(saved[name].shape)}, not "
                f"{tuple(tensor.shape)}."
            )
        tensor.copy_(like(saved[name], tensor))
    for name, part in _layers(module):  # from the outside in, as setting it applies to what is inside
        part.trainable = name not in state["frozen_layers"]
    for name, parameter in module.named_parameters():
        parameter.requires_grad_(name not in state["frozen"])
    for name, module_part in module.named_modules():
        module_part.training = name not in state["evaluated"]


def _tensors(module: nn.Module) -> dict[str, Tensor]:
    """Once each, also where parts share them; with the buffers that a `state_dict` leaves out."""
    return {**dict(module.named_parameters()), **dict(module.named_buffers())}


def _layers(module: nn.Module) -> list[tuple[str, Layer]]:
    return [(name, part) for name, part in module.named_modules() if isinstance(part, Layer)]


def check_names(problem: str, saved: Iterable[str], present: Iterable[str]) -> None:
    """Refuse a state whose names are not those that are there."""
    saved, present = set(saved), set(present)
    if saved != present:
        only = [f"{where} {', '.join(sorted(names)[:3])}" for where, names in _sides(saved, present) if names]
        raise ArgumentError(f"{problem}: {'; '.join(only)}.")


def _sides(saved: set[str], present: set[str]) -> list[tuple[str, set[str]]]:
    return [("it alone has", saved - present), ("it lacks", present - saved)]


# The optimiser ------------------------------------------------------------------------------------------------------


def optimizer_state(stepper: Stepper) -> State:
    """The optimiser's groups and what it remembers of each parameter, by name; and the stepper's own numbers."""
    bound = stepper.bind()
    names = _parameter_names(stepper.module, bound)
    state = bound.state_dict()
    groups = [
        {**group, "params": [names[id(parameter)] for parameter in held["params"]]}
        for group, held in zip(state["param_groups"], bound.param_groups, strict=True)
    ]
    by_index = _by_index(state, bound, names)
    remembered = {by_index.get(key, key): value for key, value in state["state"].items()}
    return {
        "class": type(bound).__name__,
        "state_dict": {**state, "state": remembered, "param_groups": groups},
        "steps": stepper.steps,
        "scheduled": stepper._scheduled,
        "precision": stepper.precision,
    }


def load_optimizer(stepper: Stepper, state: State) -> None:
    """Put the optimiser of a module, whose weights and frozen parts are restored already, into a state.

    Raises:
        ArgumentError: the state is of another optimiser, or of one that holds other parameters.
    """
    bound = stepper.bind()
    if state["class"] != type(bound).__name__:
        raise ArgumentError(
            f"The checkpoint is of a training with {state['class']}, this one has {type(bound).__name__}: "
            "give the same optimizer."
        )
    names = _parameter_names(stepper.module, bound)
    current, saved = bound.state_dict(), state["state_dict"]
    by_index = _by_index(current, bound, names)
    index = {name: key for key, name in by_index.items()}
    problem = "The checkpoint's optimizer holds other parameters"
    check_names(problem, (name for group in saved["param_groups"] for name in group["params"]), index)
    groups = [{**group, "params": [index[name] for name in group["params"]]} for group in saved["param_groups"]]
    remembered = {index.get(key, key): value for key, value in saved["state"].items()}
    try:
        bound.load_state_dict({**saved, "state": remembered, "param_groups": groups})
    except ValueError as error:
        raise ArgumentError(f"{problem}: {error}.") from error
    for parameter in (parameter for group in bound.param_groups for parameter in group["params"]):
        for key, value in saved["state"].get(names[id(parameter)], {}).items():
            if isinstance(value, Tensor):
                bound.state[parameter][key] = _placed(value, bound.state[parameter][key].device, parameter)
    stepper.steps, stepper._scheduled, stepper.precision = state["steps"], state["scheduled"], state["precision"]


def _placed(value: Tensor, device: torch.device, parameter: Tensor) -> Tensor:
    same = value.shape == parameter.shape
    if same and hasattr(parameter, "full_tensor"):
        return like(value, parameter)
    # torch casts to the parameter's type, which may be narrower, and a file has no strides: fused kernels need those
    # of the parameter.
    model = parameter if same else value
    return torch.empty_like(model, dtype=value.dtype, device=device, requires_grad=False).copy_(value)


def _parameter_names(module: nn.Module, bound: torch.optim.Optimizer) -> dict[int, str]:
    """Names by identity; a parameter that the optimiser holds beside the module's goes by its place."""
    names = {id(parameter): name for name, parameter in module.named_parameters()}
    held = (parameter for group in bound.param_groups for parameter in group["params"])
    for place, parameter in enumerate(held):
        names.setdefault(id(parameter), f"#{place}")
    return names


def _by_index(state: State, bound: torch.optim.Optimizer, names: dict[int, str]) -> dict[int, str]:
    """Names by the numbers that stand for parameters in torch's `state_dict`."""
    return {
        key: names[id(parameter)]
        for group, held in zip(state["param_groups"], bound.param_groups, strict=True)
        for key, parameter in zip(group["params"], held["params"], strict=True)
    }


# What runs beside them ----------------------------------------------------------------------------------------------


def objective_state(objective: Objective) -> list[State]:
    """The running sums of the losses and the metrics within an epoch, and the predictions that a metric keeps."""
    return [{"sums": metric._state, "kept": getattr(metric, "_kept", [])} for metric in _running(objective)]


def objective_state_of_all(objective: Objective, world: World) -> list[State]:
    """The state that one process would have that had seen the samples of all."""
    if world.size == 1:
        return objective_state(objective)
    states = world.gather(map_nested(objective_state(objective), _on_cpu))
    return [_added(parts) for parts in zip(*states, strict=True)]


def _on_cpu(leaf: Any) -> Any:
    return leaf.cpu() if isinstance(leaf, Tensor) else leaf


def _added(parts: Iterable[State]) -> State:
    sums: State = {}
    kept: list[Any] = []
    for part in parts:
        for name, value in part["sums"].items():
            sums[name] = sums.get(name, 0) + value
        kept += part["kept"]
    return {"sums": sums, "kept": kept}


def logs_of_all(objective: Objective, world: World) -> Logs:
    """The logs over the samples of all processes, the same in each."""
    if world.size == 1:
        return objective.logs()
    own = objective_state(objective)
    load_objective(objective, objective_state_of_all(objective, world), "cpu")
    logs = objective.logs()
    load_objective(objective, own)
    return logs


def load_objective(objective: Objective, state: list[State], device: Any = None) -> None:
    """Put the means of an objective that has seen labels, so that its metrics are chosen, into a state."""
    running = _running(objective)
    if len(running) != len(state):
        raise ArgumentError(
            f"The checkpoint has {len(state)} running means, this training {len(running)}: give the same losses and "
            "metrics."
        )
    for metric, values in zip(running, map_nested(state, partial(_moved, device=device)), strict=True):
        metric._state = values["sums"]
        if hasattr(metric, "_kept"):
            metric._kept = values["kept"]


def _moved(leaf: Any, device: Any) -> Any:
    return leaf.to(device) if isinstance(leaf, Tensor) and device is not None else leaf


def _running(objective: Objective) -> list[Metric]:
    heads = [metric for head in objective.heads for metric in (head.loss_mean, *head.metrics)]
    return [objective.mean, *heads]


def callback_states(callbacks: Iterable[Callback]) -> list[tuple[str, State]]:
    """The state of each callback with the name of its class."""
    return [(type(callback).__name__, callback.state_dict()) for callback in callbacks]


def load_callbacks(callbacks: Iterable[Callback], states: list[tuple[str, State]], module: nn.Module) -> list[str]:
    """Put each callback into the first state of its class that is left.

    Weights of the module that a state holds by name come in parts where the module's are.

    Returns:
        The classes whose states nobody took up.
    """
    left = _in_parts(states, _tensors(module)) if is_sharded(module) else list(states)
    for callback in callbacks:
        index = next((index for index, (name, _) in enumerate(left) if name == type(callback).__name__), None)
        if index is not None:
            callback.load_state_dict(left.pop(index)[1])
    return [name for name, state in left if state]


def _in_parts(state: Any, tensors: dict[str, Tensor]) -> Any:
    if isinstance(state, (list, tuple)):
        return type(state)(_in_parts(item, tensors) for item in state)
    if not isinstance(state, dict):
        return state
    if state and set(state) <= set(tensors):
        return {name: like(value, tensors[name]) for name, value in state.items()}
    return {name: _in_parts(value, tensors) for name, value in state.items()}


def random_state(batches: Batches | LoaderBatches) -> State:
    """Of torch, on all devices, of numpy's legacy functions, of Python, and of a loader's own generators."""
    version, numbers, gauss = random.getstate()
    kind, keys, *rest = np.random.get_state()  # noqa: NPY002
    return {
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else [],
        "numpy": (kind, np.asarray(keys, np.int64), *rest),
        "python": (version, np.asarray(numbers, np.int64), gauss),
        "loader": [generator.get_state() for generator in _generators(batches)],
    }


def load_random(batches: Batches | LoaderBatches, state: State) -> None:
    """Put all random states back."""
    torch.set_rng_state(state["torch"])
    if torch.cuda.is_initialized() and len(state["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(state["cuda"])
    np.random.set_state(state["numpy"])  # noqa: NPY002
    version, numbers, gauss = state["python"]
    random.setstate((version, tuple(numbers.tolist()), gauss))
    for generator, value in zip(_generators(batches), state["loader"], strict=False):
        generator.set_state(value)


def _generators(batches: Batches | LoaderBatches) -> list[torch.Generator]:
    loader = getattr(batches, "loader", None)
    found = [getattr(part, "generator", None) for part in (loader, getattr(loader, "sampler", None))]
    return [generator for generator in found if isinstance(generator, torch.Generator)]
