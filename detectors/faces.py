"""Faces: where they are, and the templates by which two of them are compared."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np
from numpy.typing import NDArray

from detectors.base import Detector, Field, Finding, Label, Region
from detectors.image import Frame, Image, Pixels
from detectors.runtime import Runtime

CANVAS = 640
STRIDES = (8, 16, 32)
LEAST_SCORE = 0.6
OVERLAP = 0.3
TEMPLATE_SIDE = 112

FIVE_POINTS = np.array(
    [[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]],
    dtype=np.float32,
)
"""Where eyes, nose and mouth corners stand in an aligned 112 px crop (ArcFace, Deng et al. 2019)."""


@dataclass(frozen=True, eq=False)
class Face:
    """A face in a frame. Pixel coordinates of the frame.

    box: x, y, width, height. landmarks: float32 (5, 2): right eye, left eye, nose tip, right and left mouth corner, as
    the person has them. score: YuNet's confidence, in [0, 1].
    """

    frame: Frame
    box: NDArray[np.float32]
    landmarks: NDArray[np.float32]
    score: float

    @property
    def region(self) -> Region:
        """The box as fractions of the frame's sides, cut to the frame."""
        left, top = np.clip(self.box[0] / self.frame.width, 0, 1), np.clip(self.box[1] / self.frame.height, 0, 1)
        right = np.clip((self.box[0] + self.box[2]) / self.frame.width, 0, 1)
        bottom = np.clip((self.box[1] + self.box[3]) / self.frame.height, 0, 1)
        return Region(float(left), float(top), float(right - left), float(bottom - top))

    @cached_property
    def aligned(self) -> Pixels:
        """The face turned upright and scaled to 112 × 112, RGB uint8, as SFace and ArcFace expect."""
        return align(self.frame.pixels, self.landmarks)


class FacesDetector(Detector):
    """Faces by YuNet (OpenCV Zoo, 2023): one finding a face, from the sampled frame that has the most.

    Leaves the feature `faces`: a list with a list of `Face` for each frame. Templates are made of them in memory by
    `FaceTemplates` only where a gallery asks, and never kept.
    """

    name = "faces"
    cost_ms = 30.0
    weights = ("yunet",)
    provides = ("faces",)
    labels = (
        Label(
            "face",
            "A human face.",
            scored=True,
            fields={
                "size": Field("float", "The box's height as a share of the picture's height."),
                "pixels": Field("int", "The box's shorter side in pixels of the decoded frame."),
            },
        ),
    )

    def __init__(self, runtime: Runtime) -> None:
        super().__init__(runtime)
        self.session = runtime.session("yunet")

    def detect(self, images: Sequence[Image]) -> list[list[Finding]]:
        return [self._measure(image) for image in images]

    def _measure(self, image: Image) -> list[Finding]:
        found = [self.find(frame) for frame in image.frames]
        image.features["faces"] = found
        most = max(found, key=len)
        return [self._finding(face, image) for face in most]

    def _finding(self, face: Face, image: Image) -> Finding:
        region = face.region
        return self.finding(
            "face",
            face.score,
            region=region,
            frame=face.frame.index if image.frame_count > 1 else None,
            evidence={
                "size": round(region.height, 4),
                "pixels": int(min(face.box[2:])),
                "landmarks": [
                    [round(float(x) / face.frame.width, 5), round(float(y) / face.frame.height, 5)]
                    for x, y in face.landmarks
                ],
            },
        )

    def find(self, frame: Frame) -> list[Face]:
        """The faces of a frame, the most certain first.

        The frame fills the network's canvas. Where nothing is found it is looked at once more, at a half and at a
        quarter side by side: a face that fills the picture is too large for the network at full scale.
        """
        return self._find(frame, (CANVAS,)) or self._find(frame, (CANVAS // 2, CANVAS // 4))

    def _find(self, frame: Frame, sides: Sequence[int]) -> list[Face]:
        """Faces in copies of the frame that fit squares of the given sides, next to each other on one canvas."""
        canvas = np.zeros((CANVAS, CANVAS, 3), dtype=np.float32)
        copies = []
        left = 0
        for side in sides:
            copy = fitted(frame, side)
            canvas[: copy.shape[0], left : left + copy.shape[1]] = copy[:, :, ::-1]
            copies.append((left, frame.width / copy.shape[1], frame.height / copy.shape[0]))
            left += side
        outputs = self.session.run(None, {"input": np.ascontiguousarray(canvas.transpose(2, 0, 1)[None])})
        named = {output.name: value[0] for output, value in zip(self.session.get_outputs(), outputs, strict=True)}
        boxes, landmarks, scores = decode(named)
        for number, (start, stretch_x, stretch_y) in enumerate(copies):
            middle = boxes[:, 0] + boxes[:, 2] / 2
            own = (middle >= start) & ((middle < copies[number + 1][0]) if number + 1 < len(copies) else True)
            stretch = np.array([stretch_x, stretch_y], dtype=np.float32)
            boxes[own] = (boxes[own] - [start, 0, 0, 0]) * np.tile(stretch, 2)
            landmarks[own] = (landmarks[own] - [start, 0]) * stretch
        kept = cv2.dnn.NMSBoxes(boxes.tolist(), scores.tolist(), LEAST_SCORE, OVERLAP) if len(boxes) else ()
        best_first = sorted(kept, key=lambda i: -float(scores[i]))
        return [Face(frame, boxes[i], landmarks[i], float(scores[i])) for i in best_first]


def fitted(frame: Frame, side: int) -> Pixels:
    """A copy of the frame that fits a square, RGB uint8; small frames grow fourfold at most."""
    scale = min(side / max(frame.width, frame.height), 4.0)
    size = max(1, round(frame.width * scale)), max(1, round(frame.height * scale))
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(frame.pixels, size, interpolation=method), dtype=np.uint8)


def decode(
    outputs: dict[str, NDArray[np.float32]],
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    """YuNet's outputs as boxes (n, 4), landmarks (n, 5, 2), both in canvas pixels, and scores (n,) above the least.

    Anchor-free decoding as the network was trained: centres and landmarks are offsets from their grid cell, sizes are
    logarithms, all in strides (Wu et al. 2023, "YuNet: A Tiny Millisecond-level Face Detector").
    """
    boxes, points, scores = [], [], []
    for stride in STRIDES:
        score = np.sqrt(np.clip(outputs[f"cls_{stride}"][:, 0], 0, 1) * np.clip(outputs[f"obj_{stride}"][:, 0], 0, 1))
        chosen = np.flatnonzero(score >= LEAST_SCORE)
        side = CANVAS // stride
        cell = np.stack([chosen % side, chosen // side], axis=1).astype(np.float32)
        box, mark = outputs[f"bbox_{stride}"][chosen], outputs[f"kps_{stride}"][chosen].reshape(-1, 5, 2)
        size = np.exp(box[:, 2:]) * stride
        boxes.append(np.concatenate([(cell + box[:, :2]) * stride - size / 2, size], axis=1))
        points.append((cell[:, None] + mark) * stride)
        scores.append(score[chosen])
    return np.concatenate(boxes), np.concatenate(points), np.concatenate(scores)


def align(pixels: Pixels, landmarks: NDArray[np.float32]) -> Pixels:
    """The face under five landmarks (5, 2), turned and scaled onto `FIVE_POINTS`: RGB uint8 (112, 112, 3).

    A similarity transform by least squares (Umeyama 1991).
    """
    source, target = landmarks - landmarks.mean(axis=0), FIVE_POINTS - FIVE_POINTS.mean(axis=0)
    left, stretch, right = np.linalg.svd(target.T @ source)
    sign = np.diag([1.0, np.sign(np.linalg.det(left @ right)) or 1.0])
    scale = float((stretch * np.diag(sign)).sum() / max(float((source**2).sum()), 1e-6))
    rotation = scale * (left @ sign @ right)
    shift = FIVE_POINTS.mean(axis=0) - rotation @ landmarks.mean(axis=0)
    matrix = np.concatenate([rotation, shift[:, None]], axis=1).astype(np.float64)
    return np.asarray(
        cv2.warpAffine(pixels, matrix, (TEMPLATE_SIDE, TEMPLATE_SIDE), flags=cv2.INTER_LINEAR), dtype=np.uint8
    )


class FaceTemplates:
    """Face templates by SFace (OpenCV Zoo, 2021): 128 numbers of unit length, compared by cosine.

    In memory only: templates of people who have not enrolled are biometric data that nobody consented to keep.
    """

    def __init__(self, runtime: Runtime) -> None:
        self.session = runtime.session("sface")
        self.model = runtime.identity("sface")

    def of(self, crops: Sequence[Pixels]) -> NDArray[np.float32]:
        """Templates of aligned RGB crops (112, 112, 3): float32 (n, 128), unit length."""
        if not crops:
            return np.zeros((0, 128), dtype=np.float32)
        rows = [
            self.session.run(None, {"data": np.ascontiguousarray(crop.transpose(2, 0, 1)[None], dtype=np.float32)})[0]
            for crop in crops
        ]
        templates = np.concatenate(rows)
        return np.asarray(templates / np.linalg.norm(templates, axis=1, keepdims=True), dtype=np.float32)
