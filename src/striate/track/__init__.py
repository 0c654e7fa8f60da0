"""Where a training leaves its results: one folder for each run, and the services that show runs."""

from striate.track.run import Run, create_run, list_runs, new_folder, open_run
from striate.track.trackers import Tracker, tracker

__all__ = ["Run", "Tracker", "create_run", "list_runs", "new_folder", "open_run", "tracker"]
