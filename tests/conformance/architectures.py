"""The architectures of the papers, layer by layer, as `Sheet`s: ImageNet, one image, evaluation.

Sources: ResNet (He et al. 2015, table 1; the stride in the 3×3, as in most code), VGG (Simonyan and Zisserman 2014,
table 1), ViT (Dosovitskiy et al. 2020, table 1), ConvNeXt (Liu et al. 2022, section 3), MobileNetV3 (Howard et al.
2019, table 1), Inception-v3 (Szegedy et al. 2015, table 1).
"""

from __future__ import annotations

from tests.conformance.arithmetic import Sheet

CLASSES = 1000


def _unit(sheet: Sheet, filters: int, kernel: int | tuple[int, int], **options: int | tuple[int, int]) -> Sheet:
    """A convolution without bias, and batch normalisation."""
    return sheet.conv(filters, kernel, bias=False, **options).norm()


# ResNet ---------------------------------------------------------------------------------------------------------------


def resnet(blocks: tuple[int, ...], *, bottleneck: bool) -> Sheet:
    net = _unit(Sheet(3, 224), 64, 7, stride=2, padding=3).pool(3, 2, 1)
    for stage, repeats in enumerate(blocks):
        width = 64 * 2**stage
        output = width * 4 if bottleneck else width
        for block in range(repeats):
            stride = 2 if stage and not block else 1
            if net.channels != output:
                net.beside(lambda x, output=output, stride=stride: _unit(x, output, 1, stride=stride))
            if bottleneck:
                _unit(net, width, 1)
                _unit(net, width, 3, stride=stride, padding=1)
                _unit(net, output, 1)
            else:
                _unit(net, width, 3, stride=stride, padding=1)
                _unit(net, output, 3, padding=1)
    return net.resize().linear(CLASSES)


# VGG ------------------------------------------------------------------------------------------------------------------


def vgg(stages: tuple[tuple[int, ...], ...]) -> Sheet:
    net = Sheet(3, 224)
    for stage in stages:
        for filters in stage:
            net.conv(filters, 3, padding=1)
        net.pool(2, 2)
    return net.flatten().linear(4096).linear(4096).linear(CLASSES)


# ViT ------------------------------------------------------------------------------------------------------------------


def vit(patch: int, layers: int, width: int, hidden: int) -> Sheet:
    net = Sheet(3, 224).conv(width, patch, stride=patch)
    tokens = net.positions + 1
    net.resize(tokens).weights(width + tokens * width)  # the class token, and the positions
    for _ in range(layers):
        net.norm().attention().norm().linear(hidden).linear(width)
    return net.norm().resize().linear(CLASSES)


# ConvNeXt -------------------------------------------------------------------------------------------------------------


def convnext(blocks: tuple[int, ...], widths: tuple[int, ...]) -> Sheet:
    net = Sheet(3, 224).conv(widths[0], 4, stride=4).norm()
    for stage, (repeats, width) in enumerate(zip(blocks, widths, strict=True)):
        if stage:
            net.norm().conv(width, 2, stride=2)
        for _ in range(repeats):
            net.conv(width, 7, padding=3, groups=width).norm().linear(4 * width).linear(width)
            net.weights(width)  # the layer scale
    return net.resize().norm().linear(CLASSES)


# MobileNetV3 ----------------------------------------------------------------------------------------------------------

# Table 1: kernel, expansion, output, squeeze-and-excitation, stride.
MOBILENET_V3_LARGE = [
    (3, 16, 16, False, 1),
    (3, 64, 24, False, 2),
    (3, 72, 24, False, 1),
    (5, 72, 40, True, 2),
    (5, 120, 40, True, 1),
    (5, 120, 40, True, 1),
    (3, 240, 80, False, 2),
    (3, 200, 80, False, 1),
    (3, 184, 80, False, 1),
    (3, 184, 80, False, 1),
    (3, 480, 112, True, 1),
    (3, 672, 112, True, 1),
    (5, 672, 160, True, 2),
    (5, 960, 160, True, 1),
    (5, 960, 160, True, 1),
]


def mobilenet_v3(rows: list[tuple[int, int, int, bool, int]], last: int) -> Sheet:
    net = _unit(Sheet(3, 224), 16, 3, stride=2, padding=1)
    for kernel, expansion, output, excited, stride in rows:
        if expansion != net.channels:
            _unit(net, expansion, 1)
        _unit(net, expansion, kernel, stride=stride, padding=kernel // 2, groups=expansion)
        if excited:
            squeezed = _divisible(expansion // 4)
            net.beside(lambda x, small=squeezed, full=expansion: x.resize().linear(small).linear(full))
        _unit(net, output, 1)
    _unit(net, 6 * net.channels, 1)
    return net.resize().linear(last).linear(CLASSES)


def _divisible(channels: int) -> int:
    """The nearest multiple of 8, as phones like it, never less than nine tenths."""
    nearest = max(8, (channels + 4) // 8 * 8)
    return nearest + 8 * (nearest < 0.9 * channels)


# Inception-v3 ---------------------------------------------------------------------------------------------------------


def _chain(*units: tuple[int, int | tuple[int, int]], stride: int = 1):
    """Convolutions in a row, the window padded; a stride is that of the last, which is not padded."""

    def path(x: Sheet) -> None:
        for index, (filters, kernel) in enumerate(units, start=1):
            if stride > 1 and index == len(units):
                _unit(x, filters, kernel, stride=stride)
            else:
                height, width = kernel if isinstance(kernel, tuple) else (kernel, kernel)
                _unit(x, filters, kernel, padding=(height // 2, width // 2))

    return path


def _fork(*units: tuple[int, int | tuple[int, int]], wide: int):
    """Convolutions in a row, then a 1×3 and a 3×1 side by side."""

    def path(x: Sheet) -> None:
        _chain(*units)(x)
        x.concatenate(_chain((wide, (1, 3))), _chain((wide, (3, 1))))

    return path


def inception_v3() -> Sheet:
    net = _unit(Sheet(3, 299), 32, 3, stride=2)
    _unit(net, 32, 3)
    _unit(net, 64, 3, padding=1).pool(3, 2)
    _unit(net, 80, 1)
    _unit(net, 192, 3).pool(3, 2)
    for pooled in (32, 64, 64):
        net.concatenate(
            _chain((64, 1)), _chain((48, 1), (64, 5)), _chain((64, 1), (96, 3), (96, 3)), _chain((pooled, 1))
        )
    net.concatenate(_chain((384, 3), stride=2), _chain((64, 1), (96, 3), (96, 3), stride=2), lambda x: x.pool(3, 2))
    for width in (128, 160, 160, 192):
        across, down = (1, 7), (7, 1)
        net.concatenate(
            _chain((192, 1)),
            _chain((width, 1), (width, across), (192, down)),
            _chain((width, 1), (width, down), (width, across), (width, down), (192, across)),
            _chain((192, 1)),
        )
    net.concatenate(
        _chain((192, 1), (320, 3), stride=2),
        _chain((192, 1), (192, (1, 7)), (192, (7, 1)), (192, 3), stride=2),
        lambda x: x.pool(3, 2),
    )
    for _ in range(2):
        net.concatenate(
            _chain((320, 1)), _fork((384, 1), wide=384), _fork((448, 1), (384, 3), wide=384), _chain((192, 1))
        )
    return net.resize().linear(CLASSES)


# Recurrence and attention ---------------------------------------------------------------------------------------------


def lstm(steps: int, features: int, units: int, layers: int) -> int:
    """MACs: four gates read the step's input and the last output, at each step and layer."""
    return sum(steps * 4 * units * ((units if layer else features) + units) for layer in range(layers))


def multi_head_attention(tokens: int, width: int) -> int:
    """MACs: four projections, the scores, and their mean of the values; how many heads does not matter."""
    return 4 * tokens * width**2 + 2 * tokens**2 * width
