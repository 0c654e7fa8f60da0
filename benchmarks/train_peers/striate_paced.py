"""The callback that lets Striate wait and answer."""

from benchmarks.train_peers.pace import Pace

from striate.callbacks import Callback, Logs


class Paced(Callback):
    def __init__(self, amount: int) -> None:
        self.pace = Pace(amount)

    def on_epoch_begin(self, epoch: int, logs: Logs) -> None:
        self.pace.begin()

    def on_epoch_end(self, epoch: int, logs: Logs) -> None:
        self.pace.end(logs["loss"])
