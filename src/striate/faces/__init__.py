"""Face recognition on any backbone of the zoo: embeddings of faces, their losses, verification and identification.

Images are faces that are cut out already, all alike: they are neither searched for nor aligned here.
"""

from striate.faces.arcface import ArcFaceLoss
from striate.faces.curves import VerificationCurves
from striate.faces.embedder import Embedder, embed
from striate.faces.gallery import Gallery, Match, load_gallery
from striate.faces.identification import Identification, identify, rank1_with_one_image
from striate.faces.pair_sheet import PairSheet
from striate.faces.people import PeopleBatches, of_people, split_people
from striate.faces.recognizer import Recognizer
from striate.faces.triplet import TripletLoss
from striate.faces.verification import Verification, verify

__all__ = [
    "ArcFaceLoss",
    "Embedder",
    "Gallery",
    "Identification",
    "Match",
    "PairSheet",
    "PeopleBatches",
    "Recognizer",
    "TripletLoss",
    "Verification",
    "VerificationCurves",
    "embed",
    "identify",
    "load_gallery",
    "of_people",
    "rank1_with_one_image",
    "split_people",
    "verify",
]
