"""The nets in torch's own modules, channels first, and their data."""

from __future__ import annotations

import torch
from benchmarks.train_peers.nets import NETS, samples
from torch import Tensor, nn
from torch.utils.data import TensorDataset


def build(name: str) -> nn.Module:
    """One of `NETS`; its outputs are logits."""
    return {
        "a": _convnet,
        "b": _vgg,
        "b2": _resnet20,
        "c": lambda: Recurrent(nn.LSTM),
        "c2": lambda: Recurrent(nn.RNN),
        "d": _resnet50,
    }[name]()


def dataset(name: str, steps: int) -> TensorDataset:
    """The samples of an epoch; images channels first."""
    images, labels = (torch.from_numpy(array) for array in samples(NETS[name], steps))
    if images.ndim == 4:
        images = images.permute(0, 3, 1, 2).contiguous()
    return TensorDataset(images, labels)


class Recurrent(nn.Module):
    """A dense layer on the last state of a recurrent one."""

    def __init__(self, kind: type[nn.RNNBase]) -> None:
        super().__init__()
        self.recurrent = kind(28, 128, batch_first=True)
        self.dense = nn.Linear(128, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.dense(self.recurrent(x)[0][:, -1])


class Residual(nn.Module):
    """A residual block."""

    def __init__(self, branch: nn.Module, shortcut: nn.Module) -> None:
        super().__init__()
        self.branch, self.shortcut = branch, shortcut

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.branch(x) + self.shortcut(x))


def _convnet() -> nn.Module:
    return nn.Sequential(
        *(nn.Conv2d(1, 32, 3), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(32, 64, 3), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Flatten(), nn.Dropout(0.5), nn.Linear(1600, 10)),
    )


def _vgg() -> nn.Module:
    return nn.Sequential(
        *(_convolution(3, 64, 3), _convolution(64, 128, 3), nn.MaxPool2d(2)),
        *(_convolution(128, 128, 3), _convolution(128, 256, 3), nn.MaxPool2d(2)),
        *(_convolution(256, 256, 3), nn.MaxPool2d(2)),
        *(nn.AdaptiveMaxPool2d(1), nn.Flatten(), nn.Linear(256, 10)),
    )


def _resnet20() -> nn.Module:
    modules: list[nn.Module] = [_convolution(3, 16, 3)]
    channels = 16
    for stage in range(3):
        for block in range(3):
            stride = 2 if stage and not block else 1
            filters = 16 * 2**stage
            branch = nn.Sequential(
                _convolution(channels, filters, 3, stride), _convolution(filters, filters, 3, relu=False)
            )
            shortcut = nn.Identity() if stride == 1 else _convolution(channels, filters, 1, 2, relu=False)
            modules.append(Residual(branch, shortcut))
            channels = filters
    return nn.Sequential(*modules, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10))


def _resnet50() -> nn.Module:
    modules: list[nn.Module] = [_convolution(3, 64, 7, 2), nn.MaxPool2d(3, 2, padding=1)]
    channels = 64
    for stage, blocks in enumerate((3, 4, 6, 3)):
        for block in range(blocks):
            stride = 2 if stage and not block else 1
            filters = 64 * 2**stage
            branch = nn.Sequential(
                _convolution(channels, filters, 1),
                _convolution(filters, filters, 3, stride),
                _convolution(filters, 4 * filters, 1, relu=False),
            )
            shortcut = nn.Identity() if block else _convolution(channels, 4 * filters, 1, stride, relu=False)
            modules.append(Residual(branch, shortcut))
            channels = 4 * filters
    return nn.Sequential(*modules, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2048, 1000))


def _convolution(channels: int, filters: int, size: int, stride: int = 1, relu: bool = True) -> nn.Sequential:
    convolution = nn.Conv2d(channels, filters, size, stride, padding=size // 2, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(filters), *([nn.ReLU(inplace=True)] if relu else []))
