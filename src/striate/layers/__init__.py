"""Layers with Keras 3's names, arguments, defaults and shapes, each around a torch module."""

from striate.layers.conv import Conv1D, Conv2D, Conv3D
from striate.layers.dense import Dense
from striate.layers.input import Input, InputLayer
from striate.layers.layer import Layer, register

__all__ = ["Conv1D", "Conv2D", "Conv3D", "Dense", "Input", "InputLayer", "Layer", "register"]
