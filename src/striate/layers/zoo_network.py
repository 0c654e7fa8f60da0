"""A backbone of the zoo as a layer: unlike other wrapped modules it can be made again from a file, by its name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Unpack

from striate import zoo
from striate.layers.layer import Layer, LayerOptions, register
from striate.layers.torch_module import Wrapped
from striate.zoo import Backbone


@register("ZooNetwork")
class ZooNetwork(Wrapped):
    """A network that `striate.zoo.create` made; see `wrap`, which makes the layer.

    Args:
        network: the network, or the arguments of `create` as a mapping.
        data_format: `"channels_first"`: in a model the images are turned before it; `"channels_last"`: the layer takes
            its input as it comes.

    Input shape:
        `(batch, height, width, channels)` in a model, which turns its images; the layer itself takes channels first.

    Output shape:
        What the network gives: `(batch, classes)`.

    Example:
        >>> from striate.layers import Input
        >>> ZooNetwork({"name": "resnet18", "num_classes": 10})(Input((32, 32, 3)))
        <SymbolicTensor (None, 10) from resnet18>
    """

    def __init__(
        self,
        network: Backbone | Mapping[str, Any],
        data_format: str = "channels_first",
        **options: Unpack[LayerOptions],
    ) -> None:
        made = network if isinstance(network, Backbone) else zoo.create(**network)
        options.setdefault("name", made.config["name"])
        super().__init__(made, data_format=data_format, **options)

    @property
    def network(self) -> dict[str, Any]:
        """What makes the network again."""
        return dict(self.op.config)

    def get_config(self) -> dict[str, Any]:
        # In a model's file the views around the network are rows of their own.
        return Layer.get_config(self) | {"data_format": "channels_last"}
