"""How good a captioner's captions are, by how they are searched for; and whether it looks at what it names.

`python -m benchmarks.caption RUN` takes a finished run of `striate train --task caption`, describes its test images
with one to five beams, and prints BLEU, ROUGE-L, CIDEr-D and CIDEr as a Markdown table, beside how well people agree.
For the drawn scenes, of which all is known, it prints as well how many words for colours, shapes and relations are
right, and how often the attention of a word has its peak on the object that it names. It takes a minute or two on two
cores.

`python -m benchmarks.caption` alone prints what a training step of the decoder takes with each attention.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from statistics import median

import numpy as np
import torch

from striate.caption import (
    CaptionDataset,
    Captioner,
    Decoder,
    Description,
    Vocabulary,
    describe,
    embedded_scenes,
    human_agreement,
    score_captions,
    tokenize,
)
from striate.caption.attention import ATTENTIONS
from striate.cli.captioning import JOB
from striate.cli.plan import plan_of
from striate.cli.task_runs import open_task
from striate.data.shapes import judge, judge_all, on_object

_COLUMNS = ("BLEU-1", "BLEU-2", "BLEU-3", "BLEU-4", "ROUGE-L", "CIDEr-D", "CIDEr")
_BEAMS = (1, 5, 3)
"""The usual number last: what is told below the table is of its captions."""
_REPEATS = 20


def row(name: str, numbers: Mapping[str, float], seconds: str = "") -> str:
    """Scores times 100, as papers print them."""
    return f"| {name} | {' | '.join(f'{100 * numbers[column]:.1f}' for column in _COLUMNS)} | {seconds} |"


def looked_at(data: CaptionDataset, found: list[Description]) -> str:
    """Of drawn scenes: which words are right, and how often attention lies on what a word names."""
    scenes = embedded_scenes(data)
    if scenes is None:
        return ""
    hits = words = 0
    for index, one in enumerate(found):
        of_image = on_object(scenes, index, judge(scenes, index, one.words).objects, one.attention)
        hits, words = hits + of_image.right, words + of_image.total
    told = judge_all(scenes, [one.words for one in found]).told
    return f"\n{told}; attention has its peak on the object that a word names in {hits / words:.1%} of {words:,} words."


def steps() -> None:
    """What a training step takes: 80 captions of 24 words about 16 grids of 8 × 8, and a small vocabulary."""
    grid = torch.randn(16, 8, 8, 128)
    words = torch.randint(4, 33, (16, 5, 24))
    words[..., 0] = Vocabulary.start
    decoders = {name: Decoder(128, (8, 8), 33, attention=name, size=128, embedding=64) for name in ATTENTIONS}
    seconds: dict[str, list[float]] = {name: [] for name in decoders}
    for _ in range(_REPEATS):  # in turn: a busy moment of the machine hits all of them
        for name, decoder in decoders.items():
            start = time.perf_counter()
            with torch.autocast("cpu", torch.bfloat16):
                scores, _ = decoder(grid, words)
            scores.float().logsumexp(-1).mean().backward()
            seconds[name].append(time.perf_counter() - start)
    for name, took in seconds.items():
        print(f"{name}: {1000 * median(took):.0f} ms, {median(took) / median(seconds['luong']):.2f} of luong's")


def main() -> None:
    """Describe, score, print."""
    if len(sys.argv) < 2:
        steps()
        return
    run, module = open_task(JOB, sys.argv[1], "runs")
    assert isinstance(module, Captioner)
    data = JOB.read(plan_of(run.config, run.config_file, {"runs_folder": "runs"})).test
    references = [[tokenize(caption) for caption in own] for own in data.captions]
    print(
        f"\n| {len(data):,} images | {' | '.join(_COLUMNS)} | images a second |\n|---|{'---:|' * (len(_COLUMNS) + 1)}"
    )
    for beams in _BEAMS:
        start = time.perf_counter()
        found = describe(module, data.images, beams=beams)
        speed = f"{len(data) / (time.perf_counter() - start):.0f}"
        name = "greedy" if beams == 1 else f"{beams} beams"
        print(row(name, score_captions([one.words for one in found], references).numbers, speed), flush=True)
    if embedded_scenes(data) is None and min(map(len, references)) > 1:
        print(row("people", human_agreement(references).numbers))
    lengths = np.array([len(one.words) for one in found])
    print(f"\n{len({one.text for one in found}):,} captions are different; they have {lengths.mean():.1f} words.")
    print(looked_at(data, found))


if __name__ == "__main__":
    main()
