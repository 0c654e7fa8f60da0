"""What other counters say about one model of each family of timm: the tables of `docs/counting.md`.

    python -m benchmarks.peers

Needs torchvision, timm, torchinfo, fvcore, thop, calflops and deepspeed. Each counter runs in a process of its own, on
the CPU and on real tensors, as its documentation shows; torch's own also on the meta device, where Striate runs. A
counter that raises gets a dash.
"""

from __future__ import annotations

import contextlib
import io
import json
import math
import statistics
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from tests.conformance.families import FAMILIES, build, define_missing_operators
from torch import nn

PAGE = Path(__file__).parent.parent / "docs" / "counting.md"
BEGIN, END = "<!-- families -->\n", "<!-- end of families -->\n"
Shape = tuple[int, ...]


def striate(model: nn.Module, shape: Shape) -> dict[str, int]:
    from striate.account import count

    ledger = count(model, shape)
    return {
        "macs": ledger.macs,
        "neurons": ledger.neurons,
        "parameters": ledger.parameters,
        "unknown": sum(ledger.unknown.values()),
    }


def torch_on_meta(model: nn.Module, shape: Shape) -> float:
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter:
        model(torch.empty(1, *shape, device="meta"))
    return counter.get_total_flops() / 2


def torch_on_cpu(model: nn.Module, shape: Shape) -> float:
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter:
        model(torch.zeros(1, *shape))
    return counter.get_total_flops() / 2


def torchinfo(model: nn.Module, shape: Shape) -> float:
    import torchinfo

    return torchinfo.summary(model, (1, *shape), device="cpu", verbose=0).total_mult_adds


def fvcore(model: nn.Module, shape: Shape) -> float:
    from fvcore.nn import FlopCountAnalysis

    analysis = FlopCountAnalysis(model, torch.zeros(1, *shape))
    return analysis.unsupported_ops_warnings(False).uncalled_modules_warnings(False).total()


def thop(model: nn.Module, shape: Shape) -> float:
    import thop

    return thop.profile(model, (torch.zeros(1, *shape),), verbose=False)[0]


def calflops(model: nn.Module, shape: Shape) -> float:
    import calflops

    return calflops.calculate_flops(model, (1, *shape), output_as_string=False, print_results=False)[1]


def deepspeed(model: nn.Module, shape: Shape) -> float:
    from deepspeed.profiling.flops_profiler import get_model_profile

    return get_model_profile(model, (1, *shape), as_string=False, print_profile=False)[1]


ON_META = (striate, torch_on_meta)
ON_CPU = (torch_on_cpu, torchinfo, fvcore, thop, calflops, deepspeed)
COUNTERS: dict[str, Callable] = {counter.__name__: counter for counter in (*ON_META, *ON_CPU)}


class Attention(nn.Module):
    """Self-attention by torch's own module."""

    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(256, 8, batch_first=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.attention(x, x, x)[0]


class Functional(nn.Module):
    """A product with a parameter that no layer holds."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(64, 128))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return nn.functional.linear(x, self.weight)


class Shared(nn.Module):
    """One layer that runs twice."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(128, 128)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layer(self.layer(x))


SMALL: dict[str, tuple[Callable[[], nn.Module], Shape]] = {
    "LSTM: 28 steps of 28, 2 layers of 128": (lambda: nn.LSTM(28, 128, 2, batch_first=True), (28, 28)),
    "`MultiheadAttention`: 100 tokens, 256": (Attention, (100, 256)),
    "`Linear(128, 64)` on 50 tokens": (lambda: nn.Sequential(nn.Linear(128, 64)), (50, 128)),
    "the same by `functional.linear`": (Functional, (50, 128)),
    "one `Linear(128, 128)`, run twice": (Shared, (128,)),
    "`Conv2d(8, 16, 3, groups=4)` at 32 × 32": (lambda: nn.Sequential(nn.Conv2d(8, 16, 3, groups=4)), (8, 32, 32)),
    "`ConvTranspose2d(8, 16, 3, 2)` at 32 × 32": (lambda: nn.Sequential(nn.ConvTranspose2d(8, 16, 3, 2)), (8, 32, 32)),
}


def subjects(device: str) -> Iterator[tuple[str, nn.Module, Shape]]:
    """What is counted: its name, the module in evaluation, the shape of its input."""
    for name, (make, shape) in SMALL.items():
        yield name, make().eval().to(device), shape
    for family, model in FAMILIES.items():
        yield family, *build(model, device)


def count_all(name: str) -> None:
    """Print what one counter says of every subject, one line of JSON each."""
    warnings.filterwarnings("ignore")
    library = define_missing_operators()  # noqa: F841, held while timm is used
    counter = COUNTERS[name]
    functions = dict(vars(nn.functional)), dict(vars(torch))
    for subject, model, shape in subjects("meta" if counter in ON_META else "cpu"):
        with torch.no_grad() if counter in ON_CPU else contextlib.nullcontext():
            try:
                with contextlib.redirect_stdout(io.StringIO()):
                    found = counter(model, shape)
            except Exception as error:
                found = None
                print(f"{name}, {subject}: {type(error).__name__}: {str(error)[:150]}", file=sys.stderr)
                for module, before in zip((nn.functional, torch), functions, strict=True):
                    vars(module).update(before)  # those that patch functions leave them so when they raise
        print(json.dumps([subject, found]), flush=True)


def tables(found: dict[str, dict]) -> str:
    """The tables in Markdown."""
    ours = found.pop("striate")
    heads = " | ".join(name.replace("_", " ") for name in found)
    lines = [f"| MACs of | Striate | {heads} |", "|---|---:|" + "---:|" * len(found)]
    for name in SMALL:
        cells = ("–" if counted[name] is None else f"{counted[name]:,.0f}" for counted in found.values())
        lines.append(f"| {name} | {ours[name]['macs']:,} | {' | '.join(cells)} |")
    lines += ["", "| Counter | families | equal | within 1 % | median | lowest | highest |", "|---|" + "---:|" * 6]
    for peer, counted in found.items():
        ratios = sorted(counted[family] / ours[family]["macs"] for family in FAMILIES if counted[family] is not None)
        near = (sum(abs(ratio - 1) <= bound for ratio in ratios) for bound in (0, 0.01))
        ends = (f"{100 * ratio:.1f} %" for ratio in (statistics.median(ratios), ratios[0], ratios[-1]))
        lines.append(
            f"| {peer.replace('_', ' ')} | {len(ratios)} | {' | '.join(map(str, near))} | {' | '.join(ends)} |"
        )
    unknown = [family for family in FAMILIES if ours[family]["unknown"]]
    lines += ["", f"Families with operations that no formula of Striate's knows: {', '.join(unknown) or 'none'}."]
    lines += [
        "",
        f"| Family | Model | MACs | Neurons | Parameters | {heads} |",
        "|---|---|---:|---:|---:|" + "---:|" * len(found),
    ]
    for family, model in FAMILIES.items():
        shares = (share(counted[family], ours[family]["macs"]) for counted in found.values())
        cells = (f"{ours[family][key]:,}" for key in ("macs", "neurons", "parameters"))
        lines.append(f"| {family} | {model} | {' | '.join(cells)} | {' | '.join(shares)} |")
    return "\n".join(lines) + "\n"


def share(macs: float | None, of: int) -> str:
    if macs is None:
        return "–"
    percent = 100 * macs / of
    return "=" if macs == of else f"{percent:.3f} %" if math.isclose(percent, 100, abs_tol=0.05) else f"{percent:.1f} %"


def main() -> None:
    found = {}
    for name in COUNTERS:
        print(name, file=sys.stderr)
        command = [sys.executable, "-m", "benchmarks.peers", name]
        output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
        found[name] = dict(json.loads(line) for line in output.splitlines())
    before, rest = PAGE.read_text().split(BEGIN)
    PAGE.write_text(before + BEGIN + tables(found) + END + rest.split(END)[1])


if __name__ == "__main__":
    count_all(sys.argv[1]) if len(sys.argv) > 1 else main()
