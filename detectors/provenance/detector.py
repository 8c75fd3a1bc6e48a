"""The `provenance` detector: what a file says of its own origin, and what was hidden in its pixels."""

from collections.abc import Mapping, Sequence
from typing import Any

from detectors.base import Detector, Field, Finding, Label
from detectors.image import Image
from detectors.provenance.containers import Metadata, read_metadata
from detectors.provenance.credentials import read_credentials
from detectors.provenance.exif import read_exif
from detectors.provenance.generators import Clues, find_generator
from detectors.provenance.text import cleaned
from detectors.provenance.watermark import find
from detectors.provenance.xmp import AI_SOURCE_TYPES, SOURCE_TYPE, xmp_value

GENERATED = Field("bool", "Whether it says that a model made the whole picture.")


class ProvenanceDetector(Detector):
    """Content credentials (C2PA), declared source types (IPTC), generators' metadata, and invisible watermarks.

    What a file says of itself can be written by anybody and is lost when a host saves it anew: a finding is what the
    file claims, or what a signature shows; no finding is evidence of nothing. All texts are bounded and printable.
    """

    name = "provenance"
    cost_ms = 15.0
    labels = (
        Label(
            "c2pa",
            "A C2PA manifest. Whether it is valid, whether its signer is trusted, and what it declares are three facts.",
            fields={
                "state": Field(
                    "string", "`valid`; `invalid`: it does not fit the file or cannot be read; `remote`: not in it."
                ),
                "trusted": Field("bool", "Whether the signer is on a trust list."),
                "signer": Field("string", "Who issued the signer's certificate."),
                "ai_generated": GENERATED,
                "ai_edited": Field("bool", "Whether it says that a model made a part of the picture."),
                "source_type": Field("string", "The IPTC digital source type that it declares."),
                "generator": Field("string", "The software that wrote it."),
                "problems": Field("list", "Codes of what is wrong with it, as the C2PA specification names them."),
            },
        ),
        Label(
            "generator",
            "Metadata that an image generator left.",
            fields={
                "tool": Field(
                    "string", "`a1111`, `comfyui`, `invokeai`, `novelai`, `fooocus`, `midjourney`, `dalle`, …"
                ),
                "prompt": Field("string", "The prompt."),
                "negative_prompt": Field("string", "What the prompt asks to avoid."),
                "model": Field("string", "The model's name."),
                "seed": Field("string", "The seed, in digits."),
            },
        ),
        Label(
            "source_type",
            "A digital source type in the file's XMP.",
            fields={"value": Field("string", "The IPTC term."), "ai_generated": GENERATED},
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
                "scheme": Field("string", "Whose watermark it is."),
                "bits_matched": Field("int", "Bits of its message that match."),
            },
        ),
    )

    def detect(self, images: Sequence[Image]) -> list[list[Finding]]:
        return [self._measure(image) for image in images]

    def _measure(self, image: Image) -> list[Finding]:
        metadata = read_metadata(image.data, image.format)
        exif = read_exif(metadata.exif)
        facts = {
            "c2pa": read_credentials(image.data, image.format),
            "source_type": _source_type(metadata),
            "generator": _generator(metadata, exif),
            "software": _software(metadata, exif),
        }
        findings = [self.finding(label, evidence=cleaned(evidence)) for label, evidence in facts.items() if evidence]
        return findings + self._watermark(image)

    def _watermark(self, image: Image) -> list[Finding]:
        for frame in image.frames:
            found = find(frame.pixels)
            if found:
                evidence = {
                    "scheme": found.message.scheme,
                    "bits_matched": found.matched,
                    "bits": len(found.message.bits),
                    "chance": float(f"{found.chance:.2g}"),
                }
                number = frame.index if image.frame_count > 1 else None
                return [self.finding("watermark", found.share, frame=number, evidence=evidence)]
        return []


def _source_type(metadata: Metadata) -> dict[str, Any] | None:
    value = xmp_value(metadata.xmp, SOURCE_TYPE).rsplit("/", 1)[-1]
    return {"value": value, "ai_generated": value in AI_SOURCE_TYPES} if value else None


def _generator(metadata: Metadata, exif: Mapping[str, str]) -> dict[str, Any] | None:
    found = find_generator(Clues(metadata, exif))
    return found.cleaned() if found else None


def _software(metadata: Metadata, exif: Mapping[str, str]) -> dict[str, Any] | None:
    software = Clues(metadata, exif).software
    camera = " ".join(part for part in (exif.get("Make", ""), exif.get("Model", "")) if part and len(part) < 200)
    return {"software": software, "camera": camera} if software or camera else None
