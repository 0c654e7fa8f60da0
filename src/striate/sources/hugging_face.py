"""Hugging Face models from a folder with a config.json: the network that it describes, without its weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn

from striate._lazy import require
from striate.errors import ArgumentError, SavedModelError
from striate.sources.source import Source, sample

_WORDS = 128  # in a text, where no shape is given


def hugging_face_model(folder: Path, input_shape: tuple[int, ...] | None) -> Source:
    """The network of a folder's config.json, made by transformers; no code from the folder runs, no file is fetched.

    Raises:
        MissingExtraError: transformers is not installed.
        SavedModelError: the config.json is broken, or of a model that transformers has not.
        ArgumentError: its input is neither images nor text, so its shape must be given.
    """
    transformers = require("transformers", extra="zoo")
    try:
        config = transformers.AutoConfig.from_pretrained(str(folder), local_files_only=True, trust_remote_code=False)
        kind = next((getattr(transformers, name, None) for name in config.architectures or ()), None)
        with torch.device("meta"):
            module = kind(config) if kind is not None else transformers.AutoModel.from_config(config)
    except Exception as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise SavedModelError(
            f"{folder / 'config.json'} describes no model that transformers can make here: {reason}"
        ) from error
    return Source(str(folder), "Hugging Face", module.eval(), _inputs(str(folder), module, config, input_shape))


def _inputs(name: str, module: nn.Module, config: Any, given: tuple[int, ...] | None) -> dict[str, torch.Tensor]:
    main = str(module.main_input_name)
    words = sample(given if given and main == "input_ids" else (_WORDS,), torch.int64)
    inputs = {"input_ids": words} if main == "input_ids" else {}
    if main == "pixel_values" or hasattr(config, "vision_config"):
        inputs["pixel_values"] = sample(_image(name, getattr(config, "vision_config", config), given))
    elif main != "input_ids":
        if given is None:
            raise ArgumentError(
                f"{name} takes {main}: give its shape, input_shape=..., or --input on the command line."
            )
        inputs[main] = sample(given)
    if getattr(config, "is_encoder_decoder", False):
        inputs["decoder_input_ids"] = words if main == "input_ids" else sample((_WORDS,), torch.int64)
    return inputs


def _image(name: str, config: Any, given: tuple[int, ...] | None) -> tuple[int, ...]:
    if given is not None and len(given) > 1:
        return given
    size = getattr(config, "image_size", None)
    if size is None:
        size = 224  # networks of convolutions alone leave it open
    height, width = size if isinstance(size, (list, tuple)) else (size, size)
    return (int(getattr(config, "num_channels", 3)), int(height), int(width))
