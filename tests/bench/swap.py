"""The served swap detector on real photographs, through the whole path: `python -m tests.bench.swap`.

Faces that YuNet finds in the shared real photographs: how many can be judged, how often each `fpr` is reached, and what a
face costs. The shipped head was trained on these faces, so the shares flatter: `fpr_reached_on_photographs` on the card
counts the same faces by heads that had not seen them.
"""

import statistics
import time
from pathlib import Path

import numpy as np
import PIL.Image

from detectors.base import Finding
from detectors.faces import FacesDetector
from detectors.image import Frame, Image
from detectors.runtime import Runtime
from detectors.swap import SwapDetector
from moderation.settings import settings
from tests.conftest import SHARED_DATA

SOURCES = ("imagenet", "bsds", "clothing")
SHARES = (0.5, 0.2, 0.1, 0.05, 0.01)


def opened(path: Path) -> Image:
    pixels = np.ascontiguousarray(np.asarray(PIL.Image.open(path).convert("RGB")))
    return Image(b"", "JPEG", pixels.shape[1], pixels.shape[0], (Frame(0, pixels),))


def main() -> None:
    runtime = Runtime(settings().models, threads=1)
    faces, swap = FacesDetector(runtime), SwapDetector(runtime)
    folder = SHARED_DATA / "images" / "real"
    paths = [path for source in SOURCES for path in sorted((folder / source).iterdir())]
    findings: list[Finding] = []
    each: list[float] = []
    for path in paths:
        image = opened(path)
        faces.detect([image])
        started = time.perf_counter()
        found = swap.detect([image])[0]
        if found:
            each.append((time.perf_counter() - started) * 1000 / len(found))
        findings += found
    judged = [finding for finding in findings if finding.status == "ok"]
    print(
        f"{len(paths)} photographs, {len(findings)} faces, {len(judged)} judged, median {statistics.median(each):.1f} ms a face"
    )
    for share in SHARES:
        reached = sum((finding.fpr or 1) <= share for finding in judged)
        print(f"fpr ≤ {share:g}: {reached} of {len(judged)} ({reached / max(1, len(judged)):.3f})")


if __name__ == "__main__":
    main()
