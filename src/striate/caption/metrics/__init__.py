"""Metrics of captions, equal to pycocoevalcap's on the same words: BLEU, ROUGE-L, CIDEr-D, CIDEr."""

from striate.caption.metrics.bleu import Bleu, bleu
from striate.caption.metrics.cider import DocumentFrequencies, cider, cider_d
from striate.caption.metrics.rouge import rouge_l
from striate.caption.metrics.scores import CaptionScores, human_agreement, score_captions, table_text

__all__ = [
    "Bleu",
    "CaptionScores",
    "DocumentFrequencies",
    "bleu",
    "cider",
    "cider_d",
    "human_agreement",
    "rouge_l",
    "score_captions",
    "table_text",
]
