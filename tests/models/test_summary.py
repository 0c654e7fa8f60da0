"""What is printed: golden texts, whose sums are added up again."""

import re

import pytest

from striate.errors import NotBuiltError
from striate.layers import LSTM, BatchNormalization, Conv2D, Dense, Dropout, Flatten, MaxPooling2D, SimpleRNN
from striate.models import Sequential
from tests.models.test_model import branched

CNN = """\
Model: "sequential"
┏━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━┳━━━━━━━━━━━━━━━━━━━━┳━━━━━━━━━━━━┳━━━━━━━━━┓
┃ Layer (type)                             ┃ Output shape       ┃ Parameters ┃ Neurons ┃
┡━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━╇━━━━━━━━━━━━━━━━━━━━╇━━━━━━━━━━━━╇━━━━━━━━━┩
│ conv2d (Conv2D)                          │ (None, 26, 26, 32) │        320 │  21,632 │
│ batch_normalization (BatchNormalization) │ (None, 26, 26, 32) │        128 │       0 │
│ max_pooling2d (MaxPooling2D)             │ (None, 13, 13, 32) │          0 │       0 │
│ flatten (Flatten)                        │ (None, 5408)       │          0 │       0 │
│ dropout (Dropout)                        │ (None, 5408)       │          0 │       0 │
│ dense (Dense)                            │ (None, 10)         │     54,090 │      10 │
└──────────────────────────────────────────┴────────────────────┴────────────┴─────────┘
 Total parameters: 54,538 (213.04 KB)
 Trainable: 54,474
 Non-trainable: 64
 Neurons: 21,642, on 784 input features
"""

BRANCHED = """\
Model: "model"
┏━━━━━━━━━━━━━━━━━━━━━━━━━━━┳━━━━━━━━━━━━━━┳━━━━━━━━━━━━┳━━━━━━━━━┳━━━━━━━━━━━━━━┓
┃ Layer (type)              ┃ Output shape ┃ Parameters ┃ Neurons ┃ Connected to ┃
┡━━━━━━━━━━━━━━━━━━━━━━━━━━━╇━━━━━━━━━━━━━━╇━━━━━━━━━━━━╇━━━━━━━━━╇━━━━━━━━━━━━━━┩
│ left (InputLayer)         │ (None, 6)    │          0 │       0 │              │
│ right (InputLayer)        │ (None, 6)    │          0 │       0 │              │
│ dense (Dense)             │ (None, 5)    │         35 │       5 │ left, right  │
│ inner (Model)             │ (None, 5)    │         30 │       5 │ dense        │
│   input (InputLayer)      │ (None, 5)    │          0 │       0 │              │
│   dense (Dense)           │ (None, 5)    │         30 │       5 │ input        │
│   add (Add)               │ (None, 5)    │          0 │       0 │ input, dense │
│ concatenate (Concatenate) │ (None, 10)   │          0 │       0 │ inner, dense │
│ first (Dense)             │ (None, 2)    │         22 │       2 │ concatenate  │
│ second (Dense)            │ (None, 1)    │         11 │       1 │ concatenate  │
└───────────────────────────┴──────────────┴────────────┴─────────┴──────────────┘
 Total parameters: 98 (392 B)
 Trainable: 98
 Non-trainable: 0
 Neurons: 13, on 12 input features
"""


def cnn() -> Sequential:
    return Sequential(
        [
            Conv2D(filters=32, kernel_size=(3, 3), activation="relu", input_shape=(28, 28, 1)),
            BatchNormalization(),
            MaxPooling2D(pool_size=(2, 2), strides=2),
            Flatten(),
            Dropout(0.5),
            Dense(10, activation="softmax"),
        ]
    )


def test_a_stack(capsys):
    cnn().summary()
    assert capsys.readouterr().out == CNN


def test_a_graph_with_a_model_inside(capsys):
    branched().summary(expand_nested=True)
    assert capsys.readouterr().out == BRANCHED


@pytest.mark.parametrize("golden", [CNN, BRANCHED])
def test_the_rows_add_up(golden):
    rows = [line.split("│") for line in golden.splitlines() if line.startswith("│") and not line.startswith("│   ")]
    parameters, neurons = (sum(int(row[i].replace(",", "")) for row in rows) for i in (3, 4))
    assert f"Total parameters: {parameters:,} (" in golden
    assert f"Neurons: {neurons:,}, on" in golden
    trainable, frozen = (
        int(re.search(f" {name}: ([0-9,]+)", golden)[1].replace(",", "")) for name in ("Trainable", "Non-trainable")
    )
    assert trainable + frozen == parameters


def test_freezing_moves_parameters():
    model = cnn()
    model.layers[0].trainable = False
    lines = []
    model.summary(print_fn=lines.append)
    assert "Trainable: 54,154\n Non-trainable: 384" in lines[0]


def test_formulas_with_their_numbers():
    lines = cnn().explain().splitlines()
    assert lines[0] == "input: 28 × 28 × 1 = 784 input features; no parameters, no neurons"
    assert lines[1] == (
        "conv2d: 32 filters × (3 × 3 × 1 weights) + 32 biases = 320 parameters; 26 × 26 × 32 = 21,632 neurons; "
        "each weight is used at 676 positions; a dense layer to the same neurons would need 16,981,120"
    )
    assert lines[4] == "flatten: 5,408 values; no parameters, no neurons"
    assert lines[-1] == "dense: 10 neurons × 5,408 weights + 10 biases = 54,090 parameters; 10 neurons"


@pytest.mark.parametrize(
    ("layer", "shape", "parameters"),
    [
        (SimpleRNN(128), (None, 5, 10), 17_792),
        (SimpleRNN(128), (None, 5, 64), 24_704),
        (LSTM(128), (None, 5, 10), 71_168),
        (Dense(64), (None, 128), 8_256),
        (Conv2D(32, 3), (None, 32, 32, 3), 896),
    ],
)
def test_known_counts_are_in_the_text(layer, shape, parameters):
    assert f"{parameters:,} parameters" in layer.explain(shape)


def test_before_the_shape_is_known():
    for call in ("summary", "explain", "count_neurons"):
        with pytest.raises(NotBuiltError, match="no input shape yet"):
            getattr(Sequential([Dense(2)]), call)()
