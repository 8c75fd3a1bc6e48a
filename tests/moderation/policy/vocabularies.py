"""A small vocabulary with every kind of label, so that these tests do not move when a detector does."""

from collections.abc import Sequence

from detectors.base import Detector, Field, Finding, Label
from detectors.image import Image
from moderation.policy import Vocabulary


class Declared(Detector):
    """A detector of which only the declarations are used."""

    cost_ms = 1.0

    def detect(self, images: Sequence[Image]) -> list[list[Finding]]:
        raise NotImplementedError


class Origin(Declared):
    name = "origin"
    labels = (
        Label(
            "manifest",
            "A statement of origin.",
            fields={
                "state": Field("string", "What became of it.", choices=("valid", "invalid")),
                "signer": Field("string", "Who signed it."),
                "trusted": Field("bool", "Whether the signer is known."),
                "problems": Field("list", "What is wrong with it."),
            },
        ),
        Label("mark", "A watermark.", scored=True, fields={"bits": Field("int", "Bits that agree.")}),
    )


class Nsfw(Declared):
    name = "nsfw"
    labels = (Label("nsfw", "Explicit content.", scored=True, calibrated=True),)


class Faces(Declared):
    name = "faces"
    labels = (Label("face", "A face.", scored=True, fields={"size": Field("float", "Share of the height.")}),)


class Likeness(Declared):
    name = "likeness"
    labels = (
        Label(
            "likeness",
            "A protected person.",
            scored=True,
            calibrated=True,
            fields={"person": Field("string", "Who.")},
        ),
    )


DETECTORS = (Origin, Nsfw, Faces, Likeness)
VOCABULARY = Vocabulary.of(DETECTORS)

PICTURE = {"width": 640, "height": 480, "frames": 1, "bytes": 90_000, "format": "JPEG"}


def nsfw(fpr: float, score: float | None = None) -> Finding:
    return Finding("nsfw", "nsfw", "ok", 1 - fpr if score is None else score, fpr)


def face(score: float = 0.9, size: float = 0.3) -> Finding:
    return Finding("faces", "face", "ok", score, evidence={"size": size})


def likeness(fpr: float, person: str = "p_17") -> Finding:
    return Finding("likeness", "likeness", "ok", 1 - fpr, fpr, evidence={"person": person})


def manifest(state: str = "valid", *, signer: str = "", trusted: bool = False, problems: Sequence[str] = ()) -> Finding:
    evidence = {"state": state, "signer": signer, "trusted": trusted, "problems": list(problems)}
    return Finding("origin", "manifest", "ok", evidence=evidence)


def skipped(detector: type[Detector], reason: str = "no model") -> list[Finding]:
    return detector.did_not_measure("skipped", reason)


def failed(detector: type[Detector], reason: str = "it broke") -> list[Finding]:
    return detector.did_not_measure("failed", reason)
