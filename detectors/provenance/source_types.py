"""IPTC's digital source types (NewsCodes, 2024): which say that a model made the picture, and which that it made a part.

`digitalCapture`, `humanEdits`, `algorithmicallyEnhanced`, `screenCapture` and the rest say neither.
"""

GENERATED = frozenset({"trainedAlgorithmicMedia", "algorithmicMedia"})
EDITED = frozenset({"compositeWithTrainedAlgorithmicMedia", "compositeSynthetic"})


def term(source_type: str) -> str:
    """The term of a source type, which is written as an URL or as a code (`digsrctype:digitalCapture`)."""
    return source_type.strip().rstrip("/").replace(":", "/").rsplit("/", 1)[-1]
