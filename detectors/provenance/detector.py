"""The `provenance` detector: what a file says of its own origin, and what was hidden in its pixels."""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

from detectors.base import Detector, Field, Finding, Label
from detectors.image import Image, Pixels
from detectors.provenance import own_mark
from detectors.provenance.containers import read_metadata
from detectors.provenance.credentials import read_anchors, read_credentials
from detectors.provenance.exif import read_exif
from detectors.provenance.generators import TOOLS, Clues, find_generator
from detectors.provenance.source_types import EDITED, GENERATED, term
from detectors.provenance.text import cleaned
from detectors.provenance.watermark import MESSAGES, find
from detectors.provenance.xmp import read_xmp
from detectors.runtime import Runtime

TRUST_LIST = "c2pa-trust-anchors.pem"
"""In the models' folder: the certificates that signers are trusted by, as C2PA publishes them. Without it none is."""

AI_GENERATED = Field("bool", "Whether it says that a model made the whole picture.")
AI_EDITED = Field("bool", "Whether it says that a model made a part of the picture.")
SCHEMES = (own_mark.SCHEME, *(message.scheme for message in MESSAGES))
SOURCE_TYPES = ("DigitalSourceType", "DigitalSourcefileType")
"""IPTC's property in XMP, by its name and by that of 2008."""


class ProvenanceDetector(Detector):
    """Content credentials (C2PA), declared source types (IPTC), generators' metadata, and invisible watermarks.

    What a file says of itself can be written by anybody and is lost when a host saves it anew: a finding is what the
    file claims, or what a signature shows; no finding is evidence of nothing. All texts are bounded and printable.

    Signers are trusted by the certificates in `c2pa-trust-anchors.pem` in the models' folder, read when the process
    starts; no trust list is shipped, and without one no signer is trusted.
    """

    name = "provenance"
    version = "3"
    cost_ms = 5.0
    labels = (
        Label(
            "c2pa",
            "A C2PA manifest. Whether it is valid, whether its signer is trusted, and what it declares are three facts.",
            fields={
                "state": Field(
                    "string",
                    "`valid`; `invalid`: it does not fit the file or cannot be read; `remote`: not in it.",
                    choices=("valid", "invalid", "remote"),
                ),
                "trusted": Field("bool", "Whether the signer is on a trust list."),
                "signer": Field("string", "Who issued the signer's certificate."),
                "ai_generated": AI_GENERATED,
                "ai_edited": AI_EDITED,
                "source_type": Field("string", "The IPTC digital source type that it declares."),
                "generator": Field("string", "The software that wrote it."),
                "problems": Field("list", "Codes of what is wrong with it, as the C2PA specification names them."),
            },
        ),
        Label(
            "generator",
            "Metadata that an image generator left.",
            fields={
                "tool": Field("string", "One of " + ", ".join(f"`{tool}`" for tool in TOOLS) + ".", choices=TOOLS),
                "prompt": Field("string", "The prompt."),
                "negative_prompt": Field("string", "What the prompt asks to avoid."),
                "model": Field("string", "The model's name."),
                "seed": Field("string", "The seed, in digits."),
            },
        ),
        Label(
            "source_type",
            "A digital source type in the file's XMP.",
            fields={
                "value": Field("string", "The IPTC term."),
                "ai_generated": AI_GENERATED,
                "ai_edited": AI_EDITED,
            },
        ),
        Label(
            "software",
            "The software or camera that the file names.",
            fields={
                "software": Field("string", "The software."),
                "camera": Field("string", "Maker and model of the camera."),
            },
        ),
        Label(
            "watermark",
            "An invisible watermark of a known generator, read from the pixels.",
            scored=True,
            fields={
                "scheme": Field("string", "Whose watermark it is; `palisade`: our own generator's.", choices=SCHEMES),
                "bits_matched": Field("int", "Bits of its message that match."),
            },
        ),
    )

    def __init__(self, runtime: Runtime) -> None:
        super().__init__(runtime)
        self.anchors = read_anchors(runtime.folder / TRUST_LIST)

    def state(self, tenant: str) -> str:  # noqa: ARG002 - the trust list is the same for all
        """Version of the trust list, '' for none."""
        return hashlib.sha256(self.anchors.encode()).hexdigest()[:12] if self.anchors else ""

    def detect(self, images: Sequence[Image]) -> list[list[Finding]]:
        return [self._measure(image) for image in images]

    def _measure(self, image: Image) -> list[Finding]:
        metadata = read_metadata(image.data, image.format)
        clues = Clues(metadata.texts, read_exif(metadata.exif), read_xmp(metadata.xmp))
        facts = {
            "c2pa": read_credentials(image.data, image.format, self.anchors),
            "source_type": _source_type(clues.xmp),
            "generator": _generator(clues),
            "software": _software(clues),
        }
        findings = [self.finding(label, evidence=cleaned(evidence)) for label, evidence in facts.items() if evidence]
        return findings + self._watermark(image)

    def _watermark(self, image: Image) -> list[Finding]:
        for frame in image.frames:
            found = _mark(frame.pixels)
            if found:
                score, evidence = found
                number = frame.index if image.frame_count > 1 else None
                return [self.finding("watermark", score, frame=number, evidence=evidence)]
        return []


def _mark(pixels: Pixels) -> tuple[float, dict[str, Any]] | None:
    """The score and the evidence of the mark that pixels carry: our own generator's, or a known one."""
    own = own_mark.find(pixels)
    if own:
        return own.score, _mark_evidence(own_mark.SCHEME, own.matched, own_mark.PLACES, own.chance)
    known = find(pixels)
    if known:
        return known.share, _mark_evidence(known.message.scheme, known.matched, len(known.message.bits), known.chance)
    return None


def _mark_evidence(scheme: str, matched: int, bits: int, chance: float) -> dict[str, Any]:
    return {"scheme": scheme, "bits_matched": matched, "bits": bits, "chance": float(f"{chance:.2g}")}


def _source_type(xmp: Mapping[str, str]) -> dict[str, Any] | None:
    value = term(next((xmp[name] for name in SOURCE_TYPES if xmp.get(name)), ""))
    return {"value": value, "ai_generated": value in GENERATED, "ai_edited": value in EDITED} if value else None


def _generator(clues: Clues) -> dict[str, Any] | None:
    found = find_generator(clues)
    return found.cleaned() if found else None


def _software(clues: Clues) -> dict[str, Any] | None:
    maker, model = clues.exif.get("Make", "").strip(), clues.exif.get("Model", "").strip()
    # Where ComfyUI put its graph there is no camera.
    camera = " ".join(part for part in (maker, model) if len(part) < 200).strip()
    return {"software": clues.software, "camera": camera} if clues.software.strip() or camera else None
