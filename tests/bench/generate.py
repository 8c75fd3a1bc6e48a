"""Speed of the generator: `python -m tests.bench.generate [--quick]`. The last line is one JSON object.

images_per_s   by mode: the embedded model at 64 px (20 steps), reconstructions of 128 px, self-blended faces of 112 px;
               a whole dataset each (post-processing, checks, encoding, shards), one process
outside_model  share of the time of mode text that is spent outside the model
two_workers    how many times as fast two processes make a dataset of self-blended faces as one, each with one thread
peak_rss_mb    highest resident memory of this process; growth_mb: its growth over the second half of the swaps (10,000 in all)

Guard and marker are the shipped ones where both are installed (`parts: shipped`), else the plainest of the tests.
"""

import argparse
import importlib.util
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from generator import recipes
from generator.datasets.maker import Maker
from generator.datasets.shards import write
from generator.model import EMBEDDED
from generator.modes import reconstruct
from generator.modes.diffusion import Families
from generator.pipelines import load
from tests.generator.parts import PlainMarker, TermGuard, pictures


def shipped_parts(folder: Path) -> tuple[Any, Any, str]:
    if all(importlib.util.find_spec(name) for name in ("generator.guard", "generator.mark")):
        guard, mark = (importlib.import_module(name) for name in ("generator.guard", "generator.mark"))
        return guard.Guard.default(), mark.Marker.default(folder / "marks"), "shipped"
    return TermGuard(), PlainMarker(), "plain"


def resident_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def timed(name: str, changes: dict[str, Any], count: int, parts: dict[str, Any], folder: Path) -> tuple[float, float]:
    """Images a second of a shipped recipe cut to `count` items, and the share of time outside the model."""
    recipe = recipes.load(name)
    groups = (recipe.groups[0].model_copy(update={"count": count}),)
    recipe = recipe.model_copy(update={"groups": groups, "pairs": False, "shard": max(8, count // 2), **changes})
    maker = Maker(recipe, "0" * 64, **parts)
    started = time.perf_counter()
    write(maker, folder, say=lambda _: None)
    seconds = time.perf_counter() - started
    return count / seconds, 1 - maker.model_seconds / seconds


def two_workers(faces: Path, count: int, folder: Path) -> float:
    """The gain of a second process, by the command that users run; what a process takes to start is not counted."""
    values = recipes.load("swaps").model_dump(mode="json") | {"pairs": False, "shard": max(8, count // 40)}
    values["groups"] = [{"name": "faces", "label": "face-swap", "count": count}]
    (folder / "recipe.yaml").write_text(json.dumps(values))
    seconds = {}
    for processes in (1, 2):
        out = folder / f"workers-{processes}"
        command = [sys.executable, "-W", "ignore", "palisade.py", "generate", str(folder / "recipe.yaml")]
        command += ["--out", str(out), "--pictures", str(faces), "--processes", str(processes)]
        environment = os.environ | {"OMP_NUM_THREADS": "1", "PALISADE_DATA_DIR": str(folder / "data")}
        subprocess.run(command, env=environment, check=True, capture_output=True, cwd=Path(__file__).parents[2])
        times = sorted(path.stat().st_mtime for path in (out / "shards").glob("*.parquet"))
        seconds[processes] = (times[-1] - times[processes - 1]) / (len(times) - processes)
    return seconds[1] / seconds[2]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer pictures, at most 40 s")
    quick = parser.parse_args().quick
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        guard, marker, kind = shipped_parts(folder)
        common = {"guard": guard, "marker": marker}
        faces, photos = pictures(folder / "faces", 4, 112), pictures(folder / "photos", 4, 128)
        loaded = load(EMBEDDED)
        text = common | {"families": Families(loaded), "model": "embedded", "model_digest": loaded.digest}
        trip = common | {"autoencoder": reconstruct.load("kl", EMBEDDED / "vae"), "pictures": photos, "model": "kl"}
        count = 8 if quick else 64
        rate, outside = timed("everyday", {}, count, text, folder / "text")
        rates = {"text": rate}
        changes = {"strengths": (0.5,)}
        rates["inpaint"] = timed("edits", changes, count // 4, text | {"pictures": photos}, folder / "inpaint")[0]
        rates["reconstruct"] = timed("reconstructions", {"autoencoder": "kl"}, count, trip, folder / "trip")[0]
        blend = common | {"pictures": faces}
        many = 200 if quick else 10_000
        rates["self_blend"] = timed("swaps", {}, many // 2, blend, folder / "half")[0]
        before = resident_mb()
        timed("swaps", {"seed": 9}, many // 2, blend, folder / "other_half")
        growth = resident_mb() - before
        gain = two_workers(folder / "faces", 400 if quick else 4000, folder)
    figures = {
        "outside_model": round(outside, 4),
        "images_per_s": {mode: round(value, 3) for mode, value in rates.items()},
        "two_workers": round(gain, 2),
        "peak_rss_mb": round(resident_mb()),
        "growth_mb": round(growth, 1),
        "parts": kind,
    }
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
