"""fastai: `Learner.fit` with its own loader and its own Adam; validation is not timed."""

import torch
from benchmarks.train_peers import pace, torch_nets
from benchmarks.train_peers.nets import NETS
from fastai.callback.core import Callback
from fastai.data.core import DataLoaders
from fastai.learner import Learner
from fastai.optimizer import Adam
from torch import nn
from torch.utils.data import TensorDataset


class Paced(Callback):
    def __init__(self, amount: int) -> None:
        self.pace = pace.Pace(amount)

    def before_train(self) -> None:
        self.pace.begin()

    def after_train(self) -> None:
        self.pace.end(float(self.recorder.smooth_loss.value))


name, steps = pace.arguments()
samples = torch_nets.dataset(name, steps)
one = TensorDataset(*samples[:1])
loaders = DataLoaders.from_dsets(
    samples, one, bs=NETS[name].batch_size, device=torch.device("cpu"), num_workers=0, n_inp=1
)
learner = Learner(loaders, torch_nets.build(name), nn.CrossEntropyLoss(), opt_func=Adam, cbs=[Paced(len(samples))])
with learner.no_logging():
    learner.fit(pace.EPOCHS, lr=1e-3, wd=0.0)
