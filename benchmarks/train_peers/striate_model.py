"""Striate: `compile` and `fit` of a model of its own layers, nothing but defaults."""

from benchmarks.train_peers import keras_nets, pace
from benchmarks.train_peers.nets import NETS, samples
from benchmarks.train_peers.striate_paced import Paced

from striate import layers, models

name, steps = pace.arguments()
images, labels = samples(NETS[name], steps)
model = keras_nets.build(name, layers, models)
model.compile(optimizer="adam", loss="sparse_categorical_crossentropy")
model.fit(
    images,
    labels,
    batch_size=NETS[name].batch_size,
    epochs=pace.EPOCHS,
    verbose=0,
    callbacks=[Paced(len(images))],
)
