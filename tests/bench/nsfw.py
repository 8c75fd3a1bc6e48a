"""False positives of `nsfw` on benign pictures: `python -m tests.bench.nsfw [--quick] [--fit]`. The last line is one JSON object.

Reads the real pictures of the shared data, each kind apart. `--fit` writes `detectors/weights/nsfw.calibration.json` anew.
No explicit picture is used, so nothing is said of recall. The pictures had been screened with the same network: what
is measured here is the consistency of the calibration, and a lower bound on false positives.
"""

import argparse
import json
from pathlib import Path

import numpy as np
import PIL.Image

from detectors.calibration import Calibration
from detectors.image import Frame
from detectors.nsfw import NsfwDetector
from detectors.runtime import Runtime
from moderation.settings import settings
from tests.conftest import SHARED_DATA

WRITTEN = Path(__file__).parents[2] / "detectors/weights/nsfw.calibration.json"

SOURCE = (
    "810 benign images of four kinds: photographs of three collections and drawn art. All had been screened with "
    "open_nsfw (score ≤ 0.2 in another preparation), so shares above a score of about 0.2 are optimistic and extrapolated."
)


def scores(detector: NsfwDetector, folder: Path, every: int) -> list[float]:
    """The raw scores of the pictures of one kind."""
    paths = sorted(folder.iterdir())[::every]
    frames = [Frame(0, np.asarray(PIL.Image.open(path).convert("RGB"))) for path in paths]
    return detector.scores(frames)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="every fourth picture")
    parser.add_argument("--fit", action="store_true", help="calibrate on all pictures and write the file")
    arguments = parser.parse_args()
    detector = NsfwDetector(Runtime(settings().models, threads=2))
    every = 4 if arguments.quick and not arguments.fit else 1
    kinds = {path.name: scores(detector, path, every) for path in sorted((SHARED_DATA / "images/real").iterdir())}
    everything = np.array([score for found in kinds.values() for score in found])
    if arguments.fit:
        fitted = Calibration.fit(everything, model=detector.model or "", source=SOURCE)
        fitted.write(WRITTEN)
        print(f"{WRITTEN.name} written")
    rates = np.array([detector.calibration.fpr(score) for score in everything])
    figures = {
        "images": len(everything),
        "share_with_fpr_below": {str(limit): round(float(np.mean(rates <= limit)), 4) for limit in (0.1, 0.01, 0.001)},
        "highest_score": {kind: round(max(found), 3) for kind, found in kinds.items()},
    }
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
