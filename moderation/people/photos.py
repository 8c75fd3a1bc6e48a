"""Looking at photos that are to be enrolled: in memory only, they are never kept."""

from collections.abc import Sequence
from dataclasses import dataclass

from detectors.faces import Face, FacesDetector
from detectors.image import Image, Pixels
from detectors.likeness import LikenessDetector
from detectors.likeness_scores import Templates
from moderation import media
from moderation.errors import InvalidRequestError, MediaError
from moderation.media import MediaLimits
from moderation.people import enrolment
from moderation.people.enrolment import Quality, Refusal
from moderation.people.records import Photo, PhotoReport, check_count


@dataclass(frozen=True)
class Assessed:
    """Photos that were looked at: reports of all; templates, qualities and aligned faces of the enrolled ones."""

    reports: tuple[PhotoReport, ...]
    templates: Templates
    qualities: tuple[Quality, ...]
    faces: tuple[Pixels, ...]


class PhotoDesk:
    """Opens photos, finds the face in each, and says which of them may be enrolled."""

    def __init__(self, faces: FacesDetector, likeness: LikenessDetector, limits: MediaLimits) -> None:
        self.faces = faces
        self.likeness = likeness
        self.limits = limits

    def open(self, photo: Photo) -> Image:
        return media.open(photo.data, self.limits, name=photo.name or None)

    def assess(self, photos: Sequence[Photo], known: Templates) -> Assessed:
        """Look at photos, in order. Raises InvalidRequestError when none of them can be enrolled."""
        check_count(len(photos) + len(known))
        looked = [self._look(photo) for photo in photos]
        names = [photo.name or f"photo {number}" for number, photo in enumerate(photos, start=1)]
        refusals = {place: face for place, (face, _) in enumerate(looked) if isinstance(face, Refusal)}
        good = [
            (place, face, quality) for place, (face, quality) in enumerate(looked) if isinstance(face, Face) and quality
        ]
        templates = self.likeness.templates.of([face.aligned for _, face, _ in good])
        outliers = enrolment.outliers(templates, known, self.likeness.calibration)
        for row in outliers:
            refusals[good[row][0]] = Refusal("another_face", "The face does not agree with the person's other photos.")
        reports = tuple(PhotoReport(name, refusals.get(place), looked[place][1]) for place, name in enumerate(names))
        if len(refusals) == len(photos):
            raise InvalidRequestError(
                "None of the photos can be enrolled. "
                + " ".join(f"{r.name}: {r.refusal.reason}" for r in reports if r.refusal),
                hint="See docs/people.md for what a photo must show.",
                code="photos_refused",
            )
        kept = [row for row in range(len(good)) if row not in outliers]
        _, faces, qualities = zip(*(good[row] for row in kept), strict=True)
        return Assessed(reports, templates[kept], qualities, tuple(face.aligned for face in faces))

    def _look(self, photo: Photo) -> tuple[Face | Refusal, Quality | None]:
        try:
            image = self.open(photo)
        except MediaError as error:
            return Refusal(error.error_code, error.message), None
        face = enrolment.find_face(self.faces, image)
        if isinstance(face, Refusal):
            return face, None
        quality = enrolment.measure(face)
        return enrolment.judge(quality) or face, quality
