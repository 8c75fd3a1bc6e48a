"""Stand-ins for face crops: smooth random pictures, different for each person and crop."""

from pathlib import Path

import cv2
import numpy as np

from detectors.training.swap_data import FaceCrop


def crop(seed: int) -> np.ndarray:
    """A picture of coarse shapes and fine grain, RGB uint8 (112, 112, 3)."""
    rng = np.random.default_rng(seed)
    coarse = cv2.resize(rng.uniform(30, 220, (7, 7, 3)).astype(np.float32), (112, 112), interpolation=cv2.INTER_CUBIC)
    return np.clip(coarse + rng.normal(0, 6, (112, 112, 3)), 0, 255).astype(np.uint8)


def people(number: int = 4, each: int = 3) -> list[FaceCrop]:
    return [
        FaceCrop(crop(100 * person + one), f"person_{person}", f"person_{person}/{one}.png")
        for person in range(number)
        for one in range(each)
    ]


def write_people(folder: Path, faces: list[FaceCrop]) -> None:
    for face in faces:
        path = folder / face.name
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), np.ascontiguousarray(face.pixels[:, :, ::-1]))
