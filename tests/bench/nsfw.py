"""False positives of `nsfw` on benign pictures: `python -m tests.bench.nsfw [--quick] [--images M.csv] [--fit]`.

The last line is one JSON object: for each kind of picture how many there are, the share at or below each `fpr` (it should
be about that `fpr`), and the highest score; `people`: photographs in which a face is found. Reads the real pictures of the
shared data, which had been screened with the same network, so that they say little about its worst errors, and those of further
manifests (`palisade train gather` makes one), which had not. `--fit` writes `detectors/weights/nsfw.calibration.json` anew from
the shared pictures. No explicit picture is used, so nothing is said of recall.
"""

import argparse
import json
from collections import defaultdict
from pathlib import Path

import numpy as np

from detectors.calibration import Calibration
from detectors.faces import FacesDetector
from detectors.image import Frame, Image
from detectors.nsfw import NsfwDetector
from detectors.runtime import Runtime
from detectors.training.data import Example, decode, read_manifest
from moderation.settings import settings
from tests.conftest import SHARED_DATA

WRITTEN = Path(__file__).parents[2] / "detectors/weights/nsfw.calibration.json"
LIMITS = (0.1, 0.01, 0.001)
SOURCE = (
    "810 benign images of four kinds: photographs of three collections and drawn art. All had been screened with "
    "open_nsfw (score ≤ 0.2 in another preparation), so shares above a score of about 0.2 are optimistic and extrapolated."
)


def kinds_of(example: Example, frame: Frame, faces: FacesDetector) -> list[str]:
    """Its source, and `people` where a photograph shows a face."""
    if example.family != "photo":
        return [example.source]
    image = Image(b"", "PNG", frame.width, frame.height, (frame,))
    faces.detect([image])
    return [example.source, "people"] if image.features["faces"][0] else [example.source]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="every eighth picture")
    parser.add_argument(
        "--images", type=Path, action="append", default=[], help="a further manifest; may be given again"
    )
    parser.add_argument("--fit", action="store_true", help="calibrate on all shared pictures and write the file")
    arguments = parser.parse_args()
    runtime = Runtime(settings().models, threads=2)
    detector, faces = NsfwDetector(runtime), FacesDetector(runtime)
    shared = read_manifest(SHARED_DATA / "manifest.csv")
    examples = shared + [example for manifest in arguments.images for example in read_manifest(manifest)]
    real = [example for example in examples if not example.generated]
    found: dict[str, list[float]] = defaultdict(list)
    for example in real[:: 8 if arguments.quick and not arguments.fit else 1]:
        frame = Frame(0, np.ascontiguousarray(np.asarray(decode(example.path))))
        (score,) = detector.scores([frame])
        for kind in kinds_of(example, frame, faces):
            found[kind].append(score)
    if arguments.fit:
        sources = {example.source for example in shared}
        scores = np.array([score for kind in sorted(sources & found.keys()) for score in found[kind]])
        Calibration.fit(scores, model=detector.model or "", source=SOURCE).write(WRITTEN)
        print(f"{WRITTEN.name} written")
    figures = {}
    for kind, scores in sorted(found.items()):
        rates = np.array([detector.calibration.fpr(score) for score in scores])
        shares = {f"fpr <= {limit:g}": round(float(np.mean(rates <= limit)), 4) for limit in LIMITS}
        figures[kind] = {"images": len(scores), **shares, "highest_score": round(max(scores), 3)}
        print(kind, *figures[kind].values(), sep="\t")
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
