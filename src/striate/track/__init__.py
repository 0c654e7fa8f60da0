"""Where a training leaves its results: one folder for each run."""

from striate.track.run import Run, create_run, list_runs, open_run

__all__ = ["Run", "create_run", "list_runs", "open_run"]
