"""What policies may speak of: each label of each detector, what the host said, and the file itself."""

import difflib
import math
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from detectors.base import Detector, Label

CelType = Literal["bool", "int", "double", "string", "list", "any"]

_TYPES: Mapping[str, CelType] = {"bool": "bool", "int": "int", "float": "double", "string": "string", "list": "list"}
_IDENTIFIER = re.compile(r"[a-z][a-z0-9_]*")


@dataclass(frozen=True, slots=True)
class Member:
    """What `variable.member` is: its type, its value where nothing was found, and the values that it can have.

    low, high: the interval that a number lies in. choices: all values of a text but `absent`, () where any may be.
    """

    type: CelType
    help: str
    absent: Any
    low: float = -math.inf
    high: float = math.inf
    low_open: bool = False
    choices: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Variable:
    """A variable of conditions and its members. `label` and `detector` are None for what no detector measures."""

    name: str
    help: str
    members: Mapping[str, Member]
    label: Label | None = None
    detector: str | None = None


def _natural(help: str) -> Member:
    return Member("int", help, 0, low=0)


CONTEXT = Variable(
    "context",
    "What the host said of the upload. Every member is '' where the host said nothing.",
    {
        "external_id": Member("string", "The host's own id of the image.", ""),
        "uploader": Member("string", "The host's id of who uploaded it.", ""),
        "surface": Member("string", "Where it would be shown, in the host's words: `avatar`, `adult`, …", ""),
        "locale": Member("string", "The uploader's language and region, such as `en-GB`.", ""),
    },
)
IMAGE = Variable(
    "image",
    "The file itself.",
    {
        "width": _natural("Pixels across, of the upright picture."),
        "height": _natural("Pixels down, of the upright picture."),
        "frames": _natural("Frames in the file, 1 for a still."),
        "bytes": _natural("Size of the file."),
        "format": Member("string", "What the bytes are: `JPEG`, `PNG`, `WEBP`, …", ""),
    },
)


@dataclass(frozen=True)
class Vocabulary:
    """Every variable by name, and the labels of every detector."""

    variables: Mapping[str, Variable]

    @classmethod
    def of(cls, detectors: Iterable[type[Detector]]) -> "Vocabulary":
        """The vocabulary of these detectors' labels. Raises ValueError where a label cannot be a variable."""
        variables = {variable.name: variable for variable in (CONTEXT, IMAGE)}
        for detector in detectors:
            for label in detector.labels:
                if label.name in variables or not _IDENTIFIER.fullmatch(label.name):
                    raise ValueError(f"The label {label.name!r} of {detector.name!r} is taken, or is no identifier.")
                variables[label.name] = _variable(label, detector.name)
        return cls(variables)

    def labels_of(self, detector: str) -> frozenset[str]:
        """The labels that a detector finds."""
        return frozenset(name for name, variable in self.variables.items() if variable.detector == detector)

    def detectors_of(self, names: Iterable[str]) -> frozenset[str]:
        """The detectors behind the named variables."""
        return frozenset(detector for name in names if (detector := self.variables[name].detector))


def _variable(label: Label, detector: str) -> Variable:
    members = {
        "present": Member("bool", "Whether it was found at all.", False),
        "count": _natural("How many times it was found."),
    }
    if label.scored:
        members["score"] = Member("double", "The highest score, 0.0 where nothing was found.", 0.0, low=0, high=1)
    if label.calibrated:
        members["fpr"] = Member(
            "double",
            "The lowest share of benign images that score as high, 1.0 where nothing was found.",
            1.0,
            low=0,
            high=1,
            low_open=True,
        )
    for name, field in label.fields.items():
        if name in members or not _IDENTIFIER.fullmatch(name):
            raise ValueError(f"The field {name!r} of the label {label.name!r} is taken, or is no identifier.")
        members[name] = Member(_TYPES[field.type], field.help, field.absent, choices=field.choices)
    return Variable(label.name, label.help, members, label, detector)


def suggestion(word: str, known: Collection[str]) -> str:
    """A hint for a word that is not known: the one that was probably meant, or all there are."""
    close = difflib.get_close_matches(word, known, n=1)
    return f"Did you mean `{close[0]}`?" if close else f"There are: {', '.join(f'`{name}`' for name in sorted(known))}."
