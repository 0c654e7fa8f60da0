"""Shared set-up of the tests: Keras is an oracle here, on the torch backend."""

import os

os.environ["KERAS_BACKEND"] = "torch"
