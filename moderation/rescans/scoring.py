"""What heads find on stored embeddings, thousands at once, and whether a policy could tell that from what is stored."""

import json
from collections.abc import Hashable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic_core import from_json

from detectors.base import Finding
from detectors.heads import DIMENSIONS, EmbeddingHead
from moderation.policy.grouping import Grouping

DERIVED = frozenset(("present", "count", "score", "fpr"))
"""What a policy reads of a label that its score and its `fpr` say."""

DECODER = json.JSONDecoder()

FLOATS = 2 * DIMENSIONS
"""Bytes of an embedding."""


class Scored(NamedTuple):
    """Of each of many images the score of its worst frame, its `fpr`, and which of its frames that is."""

    head: EmbeddingHead
    score: NDArray[np.float64]
    fpr: NDArray[np.float64]
    frame: NDArray[np.int64]

    @classmethod
    def of(cls, head: EmbeddingHead, packed: Sequence[bytes]) -> "Scored":
        """packed: float16 embeddings of each image, one for each of its frames."""
        scores = head.scores(np.frombuffer(b"".join(packed), np.float16).reshape(-1, DIMENSIONS))
        ends = np.cumsum([len(blob) // FLOATS for blob in packed])
        starts = np.concatenate([[0], ends[:-1]])
        if len(scores) == len(packed):
            best = np.arange(len(packed))
        else:
            best = np.array(
                [start + int(np.argmax(scores[start:end])) for start, end in zip(starts, ends, strict=True)]
            )
        chosen = scores[best]
        return cls(head, chosen, head.fprs(chosen), best - starts)

    def finding(self, i: int, findings: Sequence[Mapping[str, Any]]) -> Finding:
        """Of an image of these findings: the frames of an animation are numbered as its stored hashes are."""
        frames = [f["frame"] for f in findings if f["label"] == "pdq" and f["detector"] == "signals"]
        place = int(self.frame[i])
        return self.head.found(float(self.score[i]), float(self.fpr[i]), frames[place] if place < len(frames) else None)


class Reader(NamedTuple):
    """How a policy reads the label of a head: only by its score and `fpr`. new: what it sees of the new ones, image by image."""

    grouping: Grouping
    label: str
    members: tuple[str, ...]
    new: Sequence[tuple[Hashable, ...]]

    @classmethod
    def of(cls, grouping: Grouping, scored: Scored) -> "Reader | None":
        """None where it reads more of it."""
        label = scored.head.labels[0].name
        read = [member for variable, member in grouping.chains if variable == label]
        if not DERIVED.issuperset(read):
            return None
        members = tuple(member for member in ("score", "fpr") if member in read)
        values = {"score": scored.score.tolist(), "fpr": scored.fpr.tolist()}
        sides = [[grouping.side(label, member, value) for value in values[member]] for member in members]
        return cls(grouping, label, members, list(zip(*sides, strict=True)))

    def same(self, old: Mapping[str, Any] | None, i: int) -> bool:
        """Whether the policy cannot tell the head's new finding of an image from this one, which is stored."""
        if old is None or old["status"] != "ok" or old["score"] is None or old["fpr"] is None:
            return False
        if not self.members:
            return True
        return self.new[i] == tuple([self.grouping.side(self.label, member, old[member]) for member in self.members])


def stored(head: EmbeddingHead, findings: str) -> Mapping[str, Any] | None:
    """The head's finding among these, JSON as text. Cut out of it where that can be: no text in JSON holds a bare quotation mark."""
    label = head.labels[0].name
    at = findings.find(f'{{"detector": "{head.name}", "label": "{label}", ')
    if at >= 0:
        found: Mapping[str, Any] = DECODER.raw_decode(findings, at)[0]
        return found
    return next((f for f in from_json(findings) if f["label"] == label and f["detector"] == head.name), None)
