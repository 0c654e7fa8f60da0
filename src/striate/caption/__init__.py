"""Captions of images: the data, the network that writes them, how good they are, and where they go.

Names are imported when they are first used: an index of captions is searched without torch, and at once.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

_NAMES = {
    "AttentionSheet": "attention_sheet",
    "CaptionDataset": "dataset",
    "CaptionIndex": "index",
    "CaptionLoss": "training",
    "CaptionScores": "metrics",
    "Captioner": "captioner",
    "CoverageLoss": "training",
    "Decoder": "decoder",
    "Description": "description",
    "Edited": "alt_texts",
    "FilledPage": "site",
    "Hit": "index",
    "ImageCaption": "image_metadata",
    "Reward": "self_critical",
    "RewardLoss": "self_critical",
    "ScheduledSampling": "training",
    "SelfCritical": "self_critical",
    "Vocabulary": "vocabulary",
    "WordAccuracy": "training",
    "arrays": "training",
    "candidates": "describing",
    "describe": "describing",
    "embedded_scenes": "loading",
    "fill_alt_texts": "alt_texts",
    "fill_site": "site",
    "human_agreement": "metrics",
    "load_captions": "loading",
    "losses": "training",
    "read_caption": "image_metadata",
    "score_captions": "metrics",
    "tokenize": "tokenizer",
    "write_caption": "image_metadata",
}
__all__ = [*_NAMES]

if TYPE_CHECKING:
    from striate.caption.alt_texts import Edited as Edited
    from striate.caption.alt_texts import fill_alt_texts as fill_alt_texts
    from striate.caption.attention_sheet import AttentionSheet as AttentionSheet
    from striate.caption.captioner import Captioner as Captioner
    from striate.caption.dataset import CaptionDataset as CaptionDataset
    from striate.caption.decoder import Decoder as Decoder
    from striate.caption.describing import candidates as candidates
    from striate.caption.describing import describe as describe
    from striate.caption.description import Description as Description
    from striate.caption.image_metadata import ImageCaption as ImageCaption
    from striate.caption.image_metadata import read_caption as read_caption
    from striate.caption.image_metadata import write_caption as write_caption
    from striate.caption.index import CaptionIndex as CaptionIndex
    from striate.caption.index import Hit as Hit
    from striate.caption.loading import embedded_scenes as embedded_scenes
    from striate.caption.loading import load_captions as load_captions
    from striate.caption.metrics import CaptionScores as CaptionScores
    from striate.caption.metrics import human_agreement as human_agreement
    from striate.caption.metrics import score_captions as score_captions
    from striate.caption.self_critical import Reward as Reward
    from striate.caption.self_critical import RewardLoss as RewardLoss
    from striate.caption.self_critical import SelfCritical as SelfCritical
    from striate.caption.site import FilledPage as FilledPage
    from striate.caption.site import fill_site as fill_site
    from striate.caption.tokenizer import tokenize as tokenize
    from striate.caption.training import CaptionLoss as CaptionLoss
    from striate.caption.training import CoverageLoss as CoverageLoss
    from striate.caption.training import ScheduledSampling as ScheduledSampling
    from striate.caption.training import WordAccuracy as WordAccuracy
    from striate.caption.training import arrays as arrays
    from striate.caption.training import losses as losses
    from striate.caption.vocabulary import Vocabulary as Vocabulary


def __getattr__(name: str) -> Any:
    if name in _NAMES:
        return getattr(importlib.import_module(f"striate.caption.{_NAMES[name]}"), name)
    raise AttributeError(f"module 'striate.caption' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
