"""Keras: `compile` and `fit`, on the backend that the environment variable `KERAS_BACKEND` names."""

import keras
from benchmarks.train_peers import keras_nets, pace
from benchmarks.train_peers.nets import NETS, samples


class Paced(keras.callbacks.Callback):
    def __init__(self, amount: int) -> None:
        super().__init__()
        self.pace = pace.Pace(amount)

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        self.pace.begin()

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        self.pace.end(float(logs["loss"]))


name, steps = pace.arguments()
images, labels = samples(NETS[name], steps)
model = keras_nets.build(name, keras.layers, keras.models)
model.compile(optimizer="adam", loss="sparse_categorical_crossentropy")
model.fit(
    images,
    labels,
    batch_size=NETS[name].batch_size,
    epochs=pace.EPOCHS,
    verbose=0,
    callbacks=[Paced(len(images))],
)
