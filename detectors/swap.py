"""Swapped faces."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from detectors.base import Detector, Field, Finding, Label
from detectors.calibration import Calibration
from detectors.embedding import EmbeddingDetector
from detectors.errors import ModelError
from detectors.faces import Face
from detectors.image import Frame, Image, Pixels
from detectors.likeness_scores import resolution
from detectors.runtime import Runtime, file_sha256

WEIGHTS = Path(__file__).with_name("weights")
CARD_VERSION = 2

MOST_FACES = 8
"""Faces of one image that are measured, the largest first; an animation shares them out to its frames, one at least."""

LEAST_RESOLUTION = 0.5
"""Pixels of the frame for each pixel of the aligned crop, along a side: the network was not tested below."""

MAP_SIDE = 7
"""Cells along a side of the evidence `map`: the chance that each part of the aligned crop was pasted in."""


@dataclass(frozen=True)
class SwapModel:
    """A verified model with what its card says of reading its answers.

    backbone: `name@digest` of the CLIP whose tokens it reads. slope, offset: log-odds = slope · logit + offset.
    least_sharpness: crops below it are too blurred to judge.
    """

    path: Path
    identity: str
    backbone: str
    slope: float
    offset: float
    least_sharpness: float

    @classmethod
    def read(cls, folder: Path) -> "SwapModel":
        """The model `swap.onnx` of a folder. Raises ModelError when it or its card is missing, or its digest differs."""
        path, card_path = folder / "swap.onnx", folder / "swap.card.json"
        hint = "Restore both files from the release, or train them anew: `palisade train swap`."
        if not path.is_file():
            raise ModelError(f"The model 'swap' is missing: there is no {path}.", hint=hint)
        try:
            card: Mapping[str, Any] = json.loads(card_path.read_text())
            version, expected = card["card"], str(card["sha256"])
            if version != CARD_VERSION:
                raise ModelError(
                    f"The model card {card_path} has version {version}, expected {CARD_VERSION}.", hint=hint
                )
            backbone = str(card["backbone"])
            numbers = {name: float(card[name]) for name in ("slope", "offset", "least_sharpness")}
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise ModelError(f"The model card {card_path} cannot be read: {error}", hint=hint) from error
        digest = file_sha256(path)
        if digest != expected:
            raise ModelError(f"The model {path} has SHA-256 {digest}, its card says {expected}.", hint=hint)
        return cls(path, f"swap@{digest[:12]}", backbone, **numbers)


class SwapDetector(Detector):
    """Faces that were swapped or pasted in: one finding a face that `faces` found, the largest first.

    Two halves are weighed (docs/training-swap.md): a network trained on self-blended faces sees the seams and the change
    of texture between a face and what surrounds it, and a linear head on CLIP's class tokens of the crop whether the two
    belong together. It ships with the package. `score` is the probability of a swap where both are equally likely before,
    `fpr` comes from real faces of people whom neither half had seen. Faces too small or too blurred to judge are
    `skipped` with the reason. Trained and measured on 112 px crops; no claim is made of anything finer.
    """

    name = "swap"
    cost_ms = 220.0
    weights = ("clip_vit_b16",)
    needs = ("faces",)
    labels = (
        Label(
            "swap",
            "A face was swapped or pasted in.",
            scored=True,
            calibrated=True,
            fields={
                "pixels": Field("int", "The face's shorter side in pixels of the decoded frame."),
                "altered": Field("float", "Share of the face's crop that the map marks as pasted."),
            },
        ),
    )

    def __init__(self, runtime: Runtime, folder: Path = WEIGHTS) -> None:
        super().__init__(runtime)
        self.parameters = SwapModel.read(folder)
        self.calibration = Calibration.read(folder / "swap.calibration.json", model=self.parameters.identity)
        self.embedding = EmbeddingDetector(runtime)
        if self.parameters.backbone != (loaded := runtime.identity("clip_vit_b16")):
            raise ModelError(
                f"The model 'swap' reads tokens of {self.parameters.backbone}, not of {loaded}.",
                hint="Restore the release's models, or train it anew: `palisade train swap`.",
            )
        self.session = runtime.load(self.parameters.path)

    @property
    def model(self) -> str:
        return self.parameters.identity

    def state(self, tenant: str) -> str:  # noqa: ARG002 - the same for every tenant
        """The model's identity: it ships with the package, not in the catalogue that scans are keyed by."""
        return self.model

    def detect(self, images: Sequence[Image]) -> list[list[Finding]]:
        return [self._measure(image) for image in images]

    def _measure(self, image: Image) -> list[Finding]:
        if "faces" not in image.features:
            return self.did_not_measure("skipped", "faces were not looked for")
        most = max(1, MOST_FACES // max(1, len(image.features["faces"])))
        by_frame = [self.judge(faces, most) for faces in image.features["faces"]]
        if image.frame_count == 1:
            return [replace(finding, frame=None) for findings in by_frame for finding in findings]
        return max(by_frame, key=lambda findings: max((f.score or 0.0 for f in findings), default=-1.0))

    def judge(self, faces: Sequence[Face], most: int = MOST_FACES) -> list[Finding]:
        """A finding for each face of one frame: at most so many measured ones first, then those that are not judged."""
        ordered = sorted(faces, key=lambda face: -float(min(face.box[2:])))
        reasons = [self.unfit(face) for face in ordered[:most]]
        reasons += [f"only the {most} largest faces are measured"] * (len(ordered) - len(reasons))
        fit = [face for face, reason in zip(ordered, reasons, strict=True) if not reason]
        return self._findings(fit) + [
            replace(self.did_not_measure("skipped", reason)[0], region=face.region, frame=face.frame.index)
            for face, reason in zip(ordered, reasons, strict=True)
            if reason
        ]

    def unfit(self, face: Face) -> str:
        """Why a face cannot be judged, '' when it can."""
        side, detail = int(min(face.box[2:])), resolution(face)
        if detail < LEAST_RESOLUTION:
            return f"the face is too small: {side} px, about {side * LEAST_RESOLUTION / detail:.0f} are needed"
        if sharpness(face.aligned) < self.parameters.least_sharpness:
            return "the face is too blurred"
        return ""

    def _findings(self, faces: Sequence[Face]) -> list[Finding]:
        if not faces:
            return []
        logits, maps = self.answers([face.aligned for face in faces])
        scores = chance(self.parameters.slope * logits + self.parameters.offset)
        return [
            self.finding(
                "swap",
                float(score),
                fpr=self.calibration.fpr(float(score)),
                region=face.region,
                frame=face.frame.index,
                evidence={
                    "pixels": int(min(face.box[2:])),
                    "altered": round(float((where > 0.5).mean()), 3),
                    "map": np.round(cv2.resize(where, (MAP_SIDE, MAP_SIDE), interpolation=cv2.INTER_AREA), 2).tolist(),
                },
            )
            for face, score, where in zip(faces, scores, chance(maps), strict=True)
        ]

    def answers(self, crops: Sequence[Pixels]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Logits (n,) and maps of logits (n, 14, 14) of aligned RGB crops (112, 112, 3)."""
        inputs = np.ascontiguousarray(np.stack(crops).transpose(0, 3, 1, 2), dtype=np.float32) / np.float32(255)
        _, blocks = self.embedding.embed([Frame(0, crop) for crop in crops])
        logits, maps = self.session.run(["logit", "where"], {"crops": inputs, "blocks": blocks})
        return logits, maps


def chance(log_odds: NDArray[np.float32]) -> NDArray[np.float32]:
    """Probabilities of log-odds."""
    return np.asarray(1 / (1 + np.exp(-np.clip(log_odds, -30, 30))), dtype=np.float32)


def sharpness(crop: Pixels) -> float:
    """Standard deviation of the Laplacian of an aligned RGB crop in grey: falls as the crop is blurred."""
    grey = cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY)
    return float(cv2.Laplacian(grey, cv2.CV_32F).std())
