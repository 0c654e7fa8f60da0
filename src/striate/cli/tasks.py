"""The tasks that `--task` knows, and which file does each."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from striate.errors import UnknownNameError

if TYPE_CHECKING:
    from striate.cli.task_runs import Job

CLASSIFICATION = "classification"
_JOBS = {
    "segmentation": "striate.cli.segmenting",
    "detection": "striate.cli.detecting",
    "faces": "striate.cli.recognising",
    "caption": "striate.cli.captioning",
}
TASKS = (CLASSIFICATION, *_JOBS)


def job(task: str) -> Job[Any]:
    """What does a task, other than classification; its file is imported now."""
    made: Job[Any] = importlib.import_module(_JOBS[task]).JOB
    return made


def job_of_run(name: str, runs_folder: str) -> Job[Any] | None:
    """What does the task of a run; None of classification, and where there is no such run."""
    from striate.track import open_run  # which the options, declared at the start, need not wait for

    try:
        task = open_run(name, runs_folder).config.get("task")
    except UnknownNameError:
        return None
    return job(task) if task in _JOBS else None
