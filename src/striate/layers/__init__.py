"""Layers with Keras 3's names, arguments, defaults and shapes, each around a torch module."""

from striate.layers.activation import ELU, Activation, LeakyReLU, PReLU, ReLU, Softmax
from striate.layers.attention import AdditiveAttention, Attention
from striate.layers.conv import Conv1D, Conv2D, Conv3D
from striate.layers.conv_transpose import Conv2DTranspose
from striate.layers.dense import Dense
from striate.layers.embedding import Embedding, Masking
from striate.layers.input import Input, InputLayer
from striate.layers.layer import Layer, register, registry
from striate.layers.merge import Add, Average, Concatenate, Dot, Maximum, Minimum, Multiply, Subtract
from striate.layers.multi_head_attention import MultiHeadAttention
from striate.layers.norm import BatchNormalization, GroupNormalization, LayerNormalization
from striate.layers.pool import (
    AveragePooling1D,
    AveragePooling2D,
    AvgPool1D,
    AvgPool2D,
    GlobalAveragePooling1D,
    GlobalAveragePooling2D,
    GlobalAvgPool1D,
    GlobalAvgPool2D,
    GlobalMaxPool1D,
    GlobalMaxPool2D,
    GlobalMaxPooling1D,
    GlobalMaxPooling2D,
    MaxPool1D,
    MaxPool2D,
    MaxPooling1D,
    MaxPooling2D,
)
from striate.layers.preprocessing import Normalization, Rescaling
from striate.layers.recurrent import GRU, LSTM, SimpleRNN
from striate.layers.regularization import Dropout, GaussianNoise, SpatialDropout1D, SpatialDropout2D
from striate.layers.reshape import Cropping2D, Flatten, Permute, RepeatVector, Reshape, UpSampling2D, ZeroPadding2D
from striate.layers.separable import DepthwiseConv2D, SeparableConv2D
from striate.layers.torch_module import wrap
from striate.layers.wrappers import Bidirectional, TimeDistributed
from striate.layers.zoo_network import ZooNetwork as ZooNetwork  # made by `wrap`; files name it

__all__ = [
    "ELU",
    "GRU",
    "LSTM",
    "Activation",
    "Add",
    "AdditiveAttention",
    "Attention",
    "Average",
    "AveragePooling1D",
    "AveragePooling2D",
    "AvgPool1D",
    "AvgPool2D",
    "BatchNormalization",
    "Bidirectional",
    "Concatenate",
    "Conv1D",
    "Conv2D",
    "Conv2DTranspose",
    "Conv3D",
    "Cropping2D",
    "Dense",
    "DepthwiseConv2D",
    "Dot",
    "Dropout",
    "Embedding",
    "Flatten",
    "GaussianNoise",
    "GlobalAveragePooling1D",
    "GlobalAveragePooling2D",
    "GlobalAvgPool1D",
    "GlobalAvgPool2D",
    "GlobalMaxPool1D",
    "GlobalMaxPool2D",
    "GlobalMaxPooling1D",
    "GlobalMaxPooling2D",
    "GroupNormalization",
    "Input",
    "InputLayer",
    "Layer",
    "LayerNormalization",
    "LeakyReLU",
    "Masking",
    "MaxPool1D",
    "MaxPool2D",
    "MaxPooling1D",
    "MaxPooling2D",
    "Maximum",
    "Minimum",
    "MultiHeadAttention",
    "Multiply",
    "Normalization",
    "PReLU",
    "Permute",
    "ReLU",
    "RepeatVector",
    "Rescaling",
    "Reshape",
    "SeparableConv2D",
    "SimpleRNN",
    "Softmax",
    "SpatialDropout1D",
    "SpatialDropout2D",
    "Subtract",
    "TimeDistributed",
    "UpSampling2D",
    "ZeroPadding2D",
    "get",
    "register",
    "wrap",
]

get = registry.get
