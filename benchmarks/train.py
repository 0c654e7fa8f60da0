"""Images a second in training, beside other frameworks: `python -m benchmarks.train`.

Each contender is a process that trains one net: the same layers, data, batch size and Adam(1e-3), data path included,
in the form in which the framework's users write it. Contenders take turns, one epoch each, while the others wait. The
first epoch is a warm-up; its time from the start of the process is a table of its own. All else are medians. Threads
are what each framework takes by itself. What other processes took of the cores meanwhile is said too: ratios hold
only where that is little.

Other frameworks get environments of their own, in `.bench/`; the first run makes them, 5 GB on disk.
What is printed is Markdown.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
import venv
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path

from benchmarks.train_peers import keras_nets
from benchmarks.train_peers.nets import NETS, Net

ROOT = Path(__file__).parent.parent
BENCH = ROOT / ".bench"


@dataclass(frozen=True)
class Contender:
    """Who trains.

    Attributes:
        title: its name in the tables.
        script: a module of `benchmarks.train_peers`.
        requirements: what its environment holds; none if it runs in Striate's.
        variables: what it needs in the environment of its process.
    """

    title: str
    script: str
    requirements: tuple[str, ...] = ()
    variables: dict[str, str] = field(default_factory=dict)


OURS = {
    "striate": Contender("Striate", "striate_model"),
    "striate-module": Contender("Striate, torch module", "striate_module"),
}
PEERS = {
    "torch": Contender("PyTorch loop", "torch_loop"),
    "lightning": Contender("Lightning", "lightning_fit", ("torch==2.13.0", "lightning==2.6.6")),
    "fastai": Contender("fastai", "fastai_fit", ("torch==2.13.0", "fastai==2.8.12")),
    "keras-torch": Contender("Keras, torch", "keras_fit", variables={"KERAS_BACKEND": "torch"}),
    "keras-jax": Contender("Keras, JAX", "keras_fit", ("jax==0.10.2", "keras==3.15.1"), {"KERAS_BACKEND": "jax"}),
    "keras-tensorflow": Contender(
        "Keras, TensorFlow",
        "keras_fit",
        ("tensorflow-cpu==2.21.0", "keras==3.15.1"),
        {"KERAS_BACKEND": "tensorflow", "TF_CPP_MIN_LOG_LEVEL": "2"},
    ),
}
PRODUCT = {"product": Contender("bfloat16 product", "matrix_product")}


class ContenderError(Exception):
    """A contender cannot be installed, or ended by itself."""


class Running:
    """A contender's process, which trains an epoch whenever it is told to."""

    def __init__(self, name: str, contender: Contender, net: str, steps: int) -> None:
        python = _environment(name, contender)
        self.log = BENCH / "logs" / f"{name}-{net}.txt"
        self.log.parent.mkdir(parents=True, exist_ok=True)
        variables = {key: value for key, value in os.environ.items() if not key.endswith("_NUM_THREADS")}
        self.rates: list[float] = []
        self.others: list[float] = []  # share of the cores that other processes took, of each epoch in `rates`
        start = time.perf_counter()
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                [python, "-m", f"benchmarks.train_peers.{contender.script}", net, str(steps)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                cwd=ROOT,
                env=variables | contender.variables,
                text=True,
            )
        try:
            self._epoch()
        except ContenderError:
            self.close()
            raise
        self.first = time.perf_counter() - start

    def run(self) -> dict[str, float]:
        """Train an epoch and keep its rate."""
        start, busy, own = time.perf_counter(), _busy_seconds(), self._own_seconds()
        answer = self._epoch()
        others = _busy_seconds() - busy - (self._own_seconds() - own)
        self.others.append(max(0.0, others / (time.perf_counter() - start) / len(os.sched_getaffinity(0))))
        self.rates.append(answer["rate"])
        return answer

    @property
    def rate(self) -> float:
        """The median of the epochs."""
        return statistics.median(self.rates)

    def _own_seconds(self) -> float:
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def close(self) -> None:
        """End the process."""
        self.process.kill()
        self.process.communicate()

    def _epoch(self) -> dict[str, float]:
        assert self.process.stdin is not None and self.process.stdout is not None
        try:
            self.process.stdin.write("run\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            pass  # its answer says so too
        line = self.process.stdout.readline()
        if not line:
            raise ContenderError((self.log.read_text().strip().splitlines() or ["it said nothing"])[-1])
        return json.loads(line)


def _busy_seconds() -> float:
    """Seconds of all cores together that were not idle since the machine started (Linux)."""
    user, nice, system, _, _, *rest = (
        int(field) for field in Path("/proc/stat").read_text().split("\n")[0].split()[1:9]
    )
    return (user + nice + system + sum(rest)) / os.sysconf("SC_CLK_TCK")


def _environment(name: str, contender: Contender) -> Path:
    """The Python of a contender; makes its environment where there is none with these versions."""
    if not contender.requirements:
        return Path(sys.executable)
    folder, wanted = BENCH / name, "\n".join(contender.requirements)
    python, ready = folder / "bin" / "python", folder / "ready.txt"
    if not (ready.exists() and ready.read_text() == wanted):
        say(f"{contender.title}: installing {', '.join(contender.requirements)}")
        venv.create(folder, with_pip=True, clear=True)
        pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *contender.requirements]
        installed = subprocess.run(pip, stderr=subprocess.PIPE, text=True)
        if installed.returncode:
            raise ContenderError(f"not installed: {installed.stderr.strip().splitlines()[-1]}")
        ready.write_text(wanted)
    return python


def say(line: str) -> None:
    """Print what is no result."""
    print(line, file=sys.stderr, flush=True)


def measure(net: str, contenders: dict[str, Contender], rounds: int, steps: int) -> dict[str, Running]:
    """Let contenders train a net in turns; those that fail are left out and said."""
    running: dict[str, Running] = {}
    try:
        for name, contender in contenders.items():
            try:
                running[name] = Running(name, contender, net, steps)
                say(f"{net} {name}: first epoch done after {running[name].first:.1f} s")
            except ContenderError as error:
                say(f"{net} {name}: left out: {error}")
        for turn in range(rounds):
            for name in list(running):
                try:
                    answer = running[name].run()
                    loss = "" if answer["loss"] is None else f", loss {answer['loss']:.3f}"
                    others = f"{running[name].others[-1]:.0%} of the cores taken by others"
                    say(f"{net} {name}, round {turn + 1}: {answer['rate']:,.1f} a second{loss}; {others}")
                except ContenderError as error:
                    say(f"{net} {name}: left out: {error}")
                    running.pop(name).close()
    finally:
        for one in running.values():
            one.close()
    return running


def operations(net: str) -> int:
    """What one image costs in training: two operations for each MAC of the forward and the backward pass."""
    from striate import count, layers, models

    total = count(keras_nets.build(net, layers, models), NETS[net].shape).total
    return 2 * (total.macs + total.backward_macs)


def table(heads: list[str], rows: list[list[str]]) -> str:
    """A table in Markdown, numbers to the right."""
    lines = [heads, ["---", *("---:" for _ in heads[1:])], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def speeds(measured: dict[str, dict[str, Running]], contenders: dict[str, Contender]) -> str:
    """Images a second, and Striate's over those of the fastest peer: of the medians, and of each round."""
    rows = []
    for net, running in measured.items():
        peers = [one for name, one in running.items() if name in PEERS]
        cells = [f"{running[name].rate:,.4g}" if name in running else "–" for name in contenders]
        if peers and "striate" in running:
            fastest = max(peers, key=lambda one: one.rate)
            pairs = zip(running["striate"].rates, fastest.rates, strict=True)
            ratios = sorted(ours / theirs for ours, theirs in pairs)
            ratio = f"{running['striate'].rate / fastest.rate:.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})"
        else:
            ratio = "–"
        rows.append([_title(net, NETS[net]), *cells, ratio, f"{NETS[net].aim}"])
    heads = ["Images a second, batch", *(one.title for one in contenders.values()), "Striate / fastest peer", "aim"]
    return table(heads, rows)


def firsts(measured: dict[str, dict[str, Running]], contenders: dict[str, Contender]) -> str:
    """Seconds from the start of the process."""
    rows = [
        [_title(net, NETS[net]), *(f"{running[name].first:.1f}" if name in running else "–" for name in contenders)]
        for net, running in measured.items()
    ]
    return table(["Seconds to the end of the first epoch", *(one.title for one in contenders.values())], rows)


def shares(measured: dict[str, dict[str, Running]]) -> str:
    """How much of what the machine's matrix products reach a training does."""
    rows = []
    for net, running in measured.items():
        if "product" not in running:
            continue
        cost, peak = operations(net), running["product"].rate
        share = (f"{100 * running[name].rate * cost / peak:.1f} %" if name in running else "–" for name in OURS)
        rows.append([_title(net, NETS[net]), f"{cost / 1e9:,.3g}", f"{peak / 1e9:,.0f}", *share])
    heads = [
        "Share of the matrix product's peak",
        "GFLOP an image",
        "peak, GFLOP/s",
        *(one.title for one in OURS.values()),
    ]
    return table(heads, rows)


def _title(name: str, net: Net) -> str:
    return f"{name}: {net.title}, {' × '.join(map(str, net.shape))}, {net.batch_size}"


def disturbance(measured: dict[str, dict[str, Running]]) -> str:
    """How far the machine was not the benchmark's own."""
    shares = [share for running in measured.values() for one in running.values() for share in one.others]
    if not shares:
        return ""
    median, most = statistics.median(shares), max(shares)
    return f"Other processes took {median:.0%} of the cores (median of the epochs), at most {most:.0%}."


def _machine() -> str:
    """The processor and the versions."""
    models = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    versions = {name: metadata.version(name) for name in ("torch", "keras")}
    for peer in PEERS.values():
        versions |= dict(requirement.split("==") for requirement in peer.requirements)
    listed = ", ".join(f"{name} {version}" for name, version in versions.items())
    return f"{len(models)} cores of {models[0].split(': ')[1]}; load {os.getloadavg()[0]:.1f} before; {listed}."


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--nets", default=",".join(NETS), help="which, with commas between (default: %(default)s)")
    parser.add_argument("--peers", default=",".join(PEERS), help="which, with commas between (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="measured epochs of each (default: %(default)s)")
    parser.add_argument("--quick", action="store_true", help="one round of two steps: whether it runs, not how fast")
    options = parser.parse_args()
    nets, peers = options.nets.split(","), [name for name in options.peers.split(",") if name]
    for names, known in ((nets, NETS), (peers, PEERS)):
        if unknown := set(names) - set(known):
            parser.error(f"unknown: {', '.join(sorted(unknown))}; there are {', '.join(known)}")
    contenders = OURS | {name: PEERS[name] for name in peers}
    machine = _machine()
    measured = {}
    for net in nets:
        rounds, steps = (1, 2) if options.quick else (options.rounds, NETS[net].steps)
        measured[net] = measure(net, contenders | PRODUCT, rounds, steps)
    print(
        "\n".join(
            (
                speeds(measured, contenders),
                firsts(measured, contenders),
                shares(measured),
                disturbance(measured),
                machine,
            )
        )
    )


if __name__ == "__main__":
    main()
