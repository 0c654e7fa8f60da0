"""The people who are enrolled: their embeddings in one file, and whom a new face is most like.

A gallery holds personal data: whoever has it can find these people again on other images. It is an ordinary file that
nothing sends anywhere; it holds no images.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save as arrays_to_bytes

from striate import _files
from striate._registry import suggestion
from striate.errors import ArgumentError, DataError, ShapeError, UnknownNameError
from striate.faces.embedder import Embedder
from striate.faces.identification import scores_of_people
from striate.shapes import text

_FORMAT = 1
_KEY = "striate.gallery"
_LENGTH_TOLERANCE = 1e-3


@dataclass(frozen=True)
class Match:
    """Whom a face is most like.

    Attributes:
        person: who it is; None where the similarity does not reach the threshold.
        nearest: the enrolled person it is most like.
        similarity: to that person, from −1 to 1.
    """

    person: str | None
    nearest: str
    similarity: float


class Gallery:
    """Embeddings of people, by name; several of a person are kept side by side.

    Args:
        model: the fingerprint of the embedder that they are from: those of another one cannot be compared with them.
        size: D, the numbers of an embedding.

    Attributes:
        people: the name of each embedding's person.
        embeddings: M × D, of length 1.

    Example:
        >>> gallery = Gallery("", size=2)
        >>> gallery.enrol("ann", np.array([[1.0, 0.0]]))
        >>> gallery.enrol("bob", np.array([[0.0, 1.0]]))
        >>> gallery.match(np.array([[0.6, 0.8]]), threshold=0.9)
        [Match(person=None, nearest='bob', similarity=0.8...)]
    """

    def __init__(self, model: str, size: int) -> None:
        self.model = model
        self.people: list[str] = []
        self.embeddings = np.zeros((0, size), np.float32)

    @classmethod
    def of(cls, embedder: Embedder) -> Gallery:
        """An empty gallery for an embedder."""
        return cls(fingerprint(embedder), embedder.size)

    @property
    def names(self) -> list[str]:
        """Everyone who is enrolled, in the order of the alphabet."""
        return sorted(set(self.people))

    def enrol(self, person: str, embeddings: np.ndarray) -> None:
        """Add images of a person.

        Args:
            person: the name; someone of that name is given further images.
            embeddings: n × D, of length 1, as `embed` gives them.

        Raises:
            ArgumentError: an empty name, or one with line breaks.
            ShapeError: embeddings of another size.
            DataError: they have another length than 1.
        """
        if not person.strip() or not person.isprintable():
            raise ArgumentError(f"A person cannot be called {person!r}: expected a name.")
        given = np.asarray(embeddings, np.float32)
        self._check(given)
        self.people += [person] * len(given)
        self.embeddings = np.concatenate([self.embeddings, given])

    def remove(self, person: str) -> None:
        """Forget a person.

        Raises:
            UnknownNameError: nobody of that name is enrolled.
        """
        if person not in self.people:
            raise UnknownNameError(f"Nobody called {person!r} is enrolled.{suggestion(person, self.names)}")
        kept = np.array(self.people) != person
        self.people = [name for name in self.people if name != person]
        self.embeddings = self.embeddings[kept]

    def match(self, embeddings: np.ndarray, threshold: float) -> list[Match]:
        """Say who is on images.

        Args:
            embeddings: n × D, of length 1.
            threshold: the least similarity that makes a face a person's, such as `Verification.threshold_at(0.01)`
                of people that the training never saw.

        Raises:
            DataError: nobody is enrolled.
        """
        if not self.people:
            raise DataError("Nobody is enrolled in this gallery yet.")
        given = np.asarray(embeddings, np.float32)
        self._check(given)
        scores = scores_of_people(self.embeddings, np.array(self.people), given)
        best = scores.argmax(1)
        return [
            Match(self.names[index] if row[index] >= threshold else None, self.names[index], float(row[index]))
            for row, index in zip(scores, best.tolist(), strict=True)
        ]

    def save(self, path: str | Path) -> None:
        """Write the gallery into a safetensors file, atomically.

        Raises:
            DataError: the file cannot be written.
        """
        told = json.dumps({"format": _FORMAT, "model": self.model, "people": self.people}, ensure_ascii=False)
        try:
            _files.write_bytes(path, arrays_to_bytes({"embeddings": self.embeddings}, {_KEY: told}))
        except OSError as error:
            raise DataError(f"{path} cannot be written: {error.strerror or error}.") from error

    def check_model(self, embedder: Embedder, path: str | Path = "The gallery") -> None:
        """Refuse an embedder that the embeddings are not from.

        Raises:
            ArgumentError: it is another one.
        """
        if self.model != fingerprint(embedder):
            raise ArgumentError(
                f"{path} was made with another model, whose embeddings cannot be compared with this one's. Use the run "
                "that it was made with, or enrol everyone again in a new gallery."
            )

    def _check(self, embeddings: np.ndarray) -> None:
        size = self.embeddings.shape[1]
        if embeddings.ndim != 2 or embeddings.shape[1] != size or not len(embeddings):
            raise ShapeError(f"Embeddings of the shape {text(embeddings.shape)}: expected (images, {size}).")
        if not (np.abs(np.linalg.norm(embeddings, axis=1) - 1) < _LENGTH_TOLERANCE).all():
            raise DataError("Some embeddings are not of length 1: give what striate.faces.embed gives.")


def load_gallery(path: str | Path) -> Gallery:
    """Read a gallery that `save` wrote; nothing in the file is run.

    Raises:
        DataError: there is no such file, or it is damaged or no gallery.
    """
    if not Path(path).is_file():
        raise DataError(f"There is no gallery {str(path)!r}.")
    try:
        with safe_open(path, "numpy") as file:
            told = json.loads((file.metadata() or {})[_KEY])
            embeddings = file.get_tensor("embeddings")
        gallery, people = Gallery(str(told["model"]), embeddings.shape[1]), told["people"]
        if told["format"] != _FORMAT or embeddings.dtype != np.float32 or len(people) != len(embeddings):
            raise ValueError("its parts do not fit each other")
        if people:
            gallery._check(embeddings)
    except (SafetensorError, OSError, KeyError, IndexError, TypeError, ValueError) as error:
        raise DataError(
            f"{path} is no gallery, or is damaged ({error}). Galleries are written by `striate faces enrol`."
        ) from error
    gallery.people, gallery.embeddings = list(map(str, people)), embeddings
    return gallery


def fingerprint(embedder: Embedder) -> str:
    """A hash of all that decides an embedding: the weights, how the network is made, what is done to images before."""
    digest = hashlib.blake2b(digest_size=16)
    told = (embedder.backbone.config, embedder.preprocessing.to_config(), embedder.size)
    digest.update(json.dumps(told, sort_keys=True).encode())
    for name, tensor in embedder.state_dict().items():
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
