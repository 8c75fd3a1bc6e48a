"""How alike a face and an enrolled person are, and how often a stranger's face would be as much so."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import faiss
import numpy as np
from numpy.typing import NDArray

from detectors.calibration import Calibration
from detectors.errors import ModelError
from detectors.faces import FIVE_POINTS, Face, FaceTemplates
from detectors.image import Pixels

SIZE = 128
NEAREST = 3
SHORTLIST = 32

Templates = NDArray[np.float32]


def unit(rows: NDArray[np.floating]) -> Templates:
    """Rows (…, 128) scaled to unit length."""
    return np.asarray(rows / np.maximum(np.linalg.norm(rows, axis=-1, keepdims=True), 1e-12), dtype=np.float32)


class LikenessTemplates:
    """SFace templates averaged over a face and its mirror image: float32 (n, 128), unit length.

    The mirror image costs as much again, and finds one or two in a hundred more of the renderings (docs/people.md).
    """

    method = "mirrored-1"

    def __init__(self, faces: FaceTemplates) -> None:
        self.faces = faces
        self.model = template_model(faces.model)

    def of(self, crops: Sequence[Pixels]) -> Templates:
        """Templates of aligned RGB crops (112, 112, 3)."""
        mirrored = [np.ascontiguousarray(crop[:, ::-1]) for crop in crops]
        return unit(self.faces.of(crops) + self.faces.of(mirrored))


def template_model(identity: str) -> str:
    """What templates are stored as made by: those of two different ones must not be compared."""
    return f"{identity}/{LikenessTemplates.method}"


def resolution(face: Face) -> float:
    """Pixels that the frame has for each pixel of the aligned crop, along a side: in (0, 1]. Below 1 it was enlarged."""
    spread, full = (float(np.sqrt(((p - p.mean(axis=0)) ** 2).sum())) for p in (face.landmarks, FIVE_POINTS))
    return max(1e-3, min(1.0, spread / full))


@dataclass(frozen=True)
class LikenessCalibration:
    """What similarities mean among faces of other people. All of it is statistics of many people, nobody's template.

    model: `sface@digest` that was calibrated. centre: the average template (128), which is taken off before comparing:
        what all faces share says nothing of who they are.
    templates: rows (number of a person's templates, mean, standard deviation) of impostors' similarities.
    resolutions: rows (resolution, shift, widening), ascending: how many standard deviations higher, and how many times
        wider, impostors' similarities are for faces that were enlarged.
    slope, offset: standardised similarity → log-odds that the face is the person's, both being equally likely before.
    tail: share of impostors by that score.
    """

    model: str
    centre: tuple[float, ...]
    templates: tuple[tuple[float, float, float], ...]
    resolutions: tuple[tuple[float, float, float], ...]
    slope: float
    offset: float
    tail: Calibration

    @cached_property
    def _centre(self) -> NDArray[np.float32]:
        return np.asarray(self.centre, dtype=np.float32)

    def centred(self, templates: Templates) -> Templates:
        return unit(templates - self._centre)

    def standard(self, similarity: float, templates: int, face_resolution: float) -> float:
        """The similarity in standard deviations above impostors' mean, for a person with so many templates."""
        numbers, means, deviations = np.asarray(self.templates).T
        place = np.log(templates)
        mean, deviation = (np.interp(place, np.log(numbers), column) for column in (means, deviations))
        levels, shifts, widenings = np.asarray(self.resolutions).T
        shift, widening = (np.interp(face_resolution, levels, column) for column in (shifts, widenings))
        return float(((similarity - mean) / deviation - shift) / widening)

    def score(self, standard: float) -> float:
        """A probability of sorts: that of the person, had both been equally likely beforehand. In (0, 1)."""
        return float(1 / (1 + np.exp(-np.clip(self.slope * standard + self.offset, -16, 16))))

    def fpr(self, score: float, people: int) -> float:
        """Chance that a face of nobody enrolled scores as high with any of so many enrolled people, in (0, 1].

        The comparisons are taken as independent, which overstates the chance a little.
        """
        return float(-np.expm1(people * np.log1p(-min(self.tail.fpr(score), 1 - 1e-12))))

    def write(self, path: Path) -> None:
        path.write_text(json.dumps(asdict(self), indent=1) + "\n")

    @classmethod
    def read(cls, path: Path, *, model: str) -> "LikenessCalibration":
        """Raises ModelError when the file is missing, malformed or was made for another model."""
        try:
            values: dict[str, Any] = json.loads(path.read_text())
            tail: dict[str, Any] = values.pop("tail")
            rows = {name: tuple(map(_frozen, v)) for name, v in values.items() if isinstance(v, list)}
            calibration = cls(
                **{**values, **rows},
                tail=Calibration(**{**tail, "knots": tuple(tail["knots"]), "shares": tuple(tail["shares"])}),
            )
        except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
            raise ModelError(f"The calibration {path} cannot be read: {error}") from error
        if calibration.model != model or len(calibration.centre) != SIZE:
            raise ModelError(
                f"The calibration {path} was made for {calibration.model}, not for {model}.",
                hint="Run `python -m tests.bench.likeness --fit` with the model that is served.",
            )
        return calibration


def _frozen(value: object) -> object:
    return tuple(value) if isinstance(value, list) else value


def similarities(probes: Templates, own: Templates) -> NDArray[np.float64]:
    """How alike faces (m, 128) and one person's templates (n, 128) are, all centred: (m,), each in [-1, 1].

    Half the cosine to the mean template, half the mean of the three highest cosines.
    """
    highest = np.sort(probes @ own.T, axis=1)[:, -NEAREST:].mean(axis=1)
    return np.asarray((probes @ unit(own.mean(axis=0)) + highest) / 2, dtype=np.float64)


@dataclass(frozen=True, eq=False)
class Match:
    """The enrolled person that a face is most like. margin: similarity over that of the second best (or over 0)."""

    person: str
    similarity: float
    templates: int
    margin: float


class PreparedGallery:
    """Centred templates by person, searched by FAISS (exact inner product) over the mean templates.

    The best of the shortlist are compared in full. Immutable, safe to share between threads.
    """

    def __init__(self, templates: Templates, people: Sequence[str], calibration: LikenessCalibration) -> None:
        centred = calibration.centred(templates)
        owners = np.asarray(people)
        self.people = tuple(dict.fromkeys(people))
        self.own = [centred[owners == person] for person in self.people]
        self.index = faiss.IndexFlatIP(SIZE)
        self.index.add(np.stack([unit(own.mean(axis=0)) for own in self.own]))

    def best(self, probe: Templates) -> Match:
        """The best match of a centred template (128)."""
        _, rows = self.index.search(probe[None], min(SHORTLIST, len(self.people)))
        ranked = sorted(
            ((float(similarities(probe[None], self.own[row])[0]), int(row)) for row in rows[0]), reverse=True
        )
        highest, row = ranked[0]
        second = ranked[1][0] if len(ranked) > 1 else 0.0
        return Match(self.people[row], highest, len(self.own[row]), highest - second)
