"""The likeness of protected people."""

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Protocol

import numpy as np

from detectors.base import Detector, Field, Finding, Label
from detectors.errors import ModelError
from detectors.faces import Face, FaceTemplates
from detectors.image import Image
from detectors.likeness_scores import (
    SIZE,
    LikenessCalibration,
    LikenessTemplates,
    PreparedGallery,
    Templates,
    resolution,
    template_model,
)
from detectors.runtime import Runtime

CALIBRATION = Path(__file__).with_name("weights") / "likeness.calibration.json"

REPORTED_FPR = 0.05
"""Matches that more than one stranger's face in twenty would reach are not reported; policies set their own limit."""

MOST_FACES = 32
"""Faces of one image that are compared, the largest first: each takes two runs of SFace."""


@dataclass(frozen=True, eq=False)
class Gallery:
    """The enrolled people of one tenant at one moment.

    version: changes with any change of the gallery. model: what made the templates (`template_model`).
    templates: float32 (n, 128), n ≥ 1, unit length, not centred; people: the person's id of each row.
    """

    version: str
    model: str
    templates: Templates = field(repr=False)
    people: tuple[str, ...]

    def __post_init__(self) -> None:
        if self.templates.shape != (len(self.people), SIZE) or not self.people:
            raise ValueError(f"{len(self.people)} people's ids, templates of shape {self.templates.shape}")


class GallerySource(Protocol):
    """Where galleries come from."""

    def gallery(self, tenant: str) -> Gallery | None:
        """The tenant's gallery as it is now, None when nobody is enrolled. Raises ModerationError when unreadable."""

    def version(self, tenant: str) -> str:
        """The version of that gallery, '' when nobody is enrolled, without reading the templates."""


class LikenessDetector(Detector):
    """Faces that are like an enrolled person's: one finding a matched face, the best match of each.

    SFace templates, centred and averaged with the mirror image, against the gallery that `attach` gave. `fpr` is the
    chance that a face of nobody enrolled matches anyone in the gallery as well as this. Without a gallery every image
    is `skipped: no gallery`, and SFace is not loaded. Templates of probes never leave this module.
    """

    name = "likeness"
    cost_ms = 40.0
    weights = ("sface",)
    needs = ("faces",)
    labels = (
        Label(
            "likeness",
            "The likeness of a person who is enrolled for protection.",
            scored=True,
            calibrated=True,
            fields={"person": Field("string", "The enrolled person's id.")},
        ),
    )

    def __init__(self, runtime: Runtime) -> None:
        super().__init__(runtime)
        self.calibration = LikenessCalibration.read(CALIBRATION, model=runtime.identity("sface"))
        self._source: GallerySource | None = None
        self._prepared: dict[str, tuple[Gallery, PreparedGallery]] = {}
        self._loading = threading.Lock()

    def attach(self, source: GallerySource) -> None:
        """Compare with the galleries of this source from now on."""
        self._source = source
        self._prepared.clear()

    def state(self, tenant: str) -> str:
        return self._source.version(tenant) if self._source else ""

    @cached_property
    def _loaded(self) -> LikenessTemplates:
        return LikenessTemplates(FaceTemplates(self.runtime))

    @property
    def templates(self) -> LikenessTemplates:
        """Makes templates; loads SFace when it is first asked for. Raises ModelError."""
        with self._loading:
            return self._loaded

    def detect(self, images: Sequence[Image]) -> list[list[Finding]]:
        return [self._measure(image) for image in images]

    def _measure(self, image: Image) -> list[Finding]:
        gallery = self._gallery(image.features.get("tenant", "default"))
        if gallery is None:
            return self.did_not_measure("skipped", "no gallery")
        if "faces" not in image.features:
            return self.did_not_measure("skipped", "faces were not looked for")
        faces = [face for frame in image.features["faces"] for face in frame]
        faces = sorted(faces, key=lambda face: -float(min(face.box[2:])))[:MOST_FACES]
        matched = [finding for face in faces if (finding := self._match(face, gallery, image))]
        return matched if image.frame_count == 1 else self._best_of_each_person(matched)

    def _gallery(self, tenant: str) -> PreparedGallery | None:
        gallery = self._source.gallery(tenant) if self._source else None
        if gallery is None:
            self._prepared.pop(tenant, None)
            return None
        known = self._prepared.get(tenant)
        if known is None or known[0] is not gallery:
            if gallery.model != template_model(self.calibration.model):
                raise ModelError(
                    f"The gallery's templates were made by {gallery.model}.", hint="Enrol the photos again."
                )
            known = (gallery, PreparedGallery(gallery.templates, gallery.people, self.calibration))
            self._prepared[tenant] = known
        return known[1]

    def _match(self, face: Face, gallery: PreparedGallery, image: Image) -> Finding | None:
        probe = self.calibration.centred(self.templates.of([face.aligned]))[0]
        best, detail = gallery.best(np.ascontiguousarray(probe)), resolution(face)
        score = self.calibration.score(self.calibration.standard(best.similarity, best.templates, detail))
        fpr = self.calibration.fpr(score, len(gallery.people))
        if fpr > REPORTED_FPR:
            return None
        return self.finding(
            "likeness",
            score,
            fpr=fpr,
            region=face.region,
            frame=face.frame.index if image.frame_count > 1 else None,
            evidence={
                "person": best.person,
                "similarity": round(best.similarity, 3),
                "margin": round(best.margin, 3),
                "quality": round(detail, 3),
            },
        )

    @staticmethod
    def _best_of_each_person(findings: Sequence[Finding]) -> list[Finding]:
        best: dict[str, Finding] = {}
        for finding in sorted(findings, key=lambda finding: finding.fpr or 0.0):
            best.setdefault(finding.evidence["person"], finding)
        return list(best.values())
