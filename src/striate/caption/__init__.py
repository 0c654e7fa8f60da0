"""Captions of images: the data, the words, how good they are, and where they go: into images and web pages."""

from striate.caption.alt_texts import Edited, fill_alt_texts
from striate.caption.dataset import CaptionDataset
from striate.caption.image_metadata import ImageCaption, read_caption, write_caption
from striate.caption.loading import load_captions
from striate.caption.metrics import CaptionScores, human_agreement, score_captions
from striate.caption.tokenizer import tokenize
from striate.caption.vocabulary import Vocabulary

__all__ = [
    "CaptionDataset",
    "CaptionScores",
    "Edited",
    "ImageCaption",
    "Vocabulary",
    "fill_alt_texts",
    "human_agreement",
    "load_captions",
    "read_caption",
    "score_captions",
    "tokenize",
    "write_caption",
]
