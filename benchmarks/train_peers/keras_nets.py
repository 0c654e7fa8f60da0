"""The nets in Keras's names: of Keras itself, or of Striate, which has the same."""

from __future__ import annotations

from types import ModuleType
from typing import Any

from benchmarks.train_peers.nets import NETS


def build(name: str, layers: ModuleType, models: ModuleType) -> Any:
    """One of `NETS`, from `keras.layers` and `keras.models`, or from Striate's."""
    image = layers.Input(shape=NETS[name].shape)
    x = {"a": _convnet, "b": _vgg, "b2": _resnet20, "c": _lstm, "c2": _simple_rnn, "d": _resnet50}[name](layers, image)
    return models.Model(image, layers.Dense(NETS[name].classes, activation="softmax")(x))


def _convnet(layers: ModuleType, x: Any) -> Any:
    for filters in (32, 64):
        x = layers.Conv2D(filters, 3, activation="relu")(x)
        x = layers.MaxPooling2D(2)(x)
    return layers.Dropout(0.5)(layers.Flatten()(x))


def _vgg(layers: ModuleType, x: Any) -> Any:
    for filters in (64, 128, None, 128, 256, None, 256, None):
        x = layers.MaxPooling2D(2)(x) if filters is None else _convolution(layers, x, filters, 3)
    return layers.GlobalMaxPooling2D()(x)


def _resnet20(layers: ModuleType, x: Any) -> Any:
    x = _convolution(layers, x, 16, 3)
    for stage in range(3):
        for block in range(3):
            stride = 2 if stage and not block else 1
            shortcut, filters = x, 16 * 2**stage
            x = _convolution(layers, x, filters, 3, stride)
            x = _convolution(layers, x, filters, 3, relu=False)
            if stride == 2:
                shortcut = _convolution(layers, shortcut, filters, 1, 2, relu=False)
            x = layers.Activation("relu")(layers.Add()([x, shortcut]))
    return layers.GlobalAveragePooling2D()(x)


def _resnet50(layers: ModuleType, x: Any) -> Any:
    x = layers.MaxPooling2D(3, 2, padding="same")(_convolution(layers, x, 64, 7, 2))
    for stage, blocks in enumerate((3, 4, 6, 3)):
        for block in range(blocks):
            stride = 2 if stage and not block else 1
            shortcut, filters = x, 64 * 2**stage
            x = _convolution(layers, x, filters, 1)
            x = _convolution(layers, x, filters, 3, stride)
            x = _convolution(layers, x, 4 * filters, 1, relu=False)
            if not block:
                shortcut = _convolution(layers, shortcut, 4 * filters, 1, stride, relu=False)
            x = layers.Activation("relu")(layers.Add()([x, shortcut]))
    return layers.GlobalAveragePooling2D()(x)


def _lstm(layers: ModuleType, x: Any) -> Any:
    return layers.LSTM(128)(x)


def _simple_rnn(layers: ModuleType, x: Any) -> Any:
    return layers.SimpleRNN(128)(x)


def _convolution(layers: ModuleType, x: Any, filters: int, size: int, stride: int = 1, relu: bool = True) -> Any:
    x = layers.Conv2D(filters, size, stride, padding="same", use_bias=False)(x)
    x = layers.BatchNormalization()(x)
    return layers.Activation("relu")(x) if relu else x
