"""Striate: `fit` of a torch module, nothing but defaults."""

from benchmarks.train_peers import pace, torch_nets
from benchmarks.train_peers.nets import NETS
from benchmarks.train_peers.striate_paced import Paced

import striate

name, steps = pace.arguments()
samples = torch_nets.dataset(name, steps)
striate.fit(
    torch_nets.build(name),
    samples,
    optimizer="adam",
    loss="cross_entropy",
    batch_size=NETS[name].batch_size,
    epochs=pace.EPOCHS,
    verbose=0,
    callbacks=[Paced(len(samples))],
)
