"""Banks: lookups beside python-threatexchange's own PDQ index, in one run and on the same hashes.

`python -m tests.bench.banks [--quick] [--data FOLDER]`. Prints JSON. An upload is eight hashes, looked up together.
A million hashes, index beside index: `lookup_ratio` (our hashes a second over theirs, hits compared whole), `recall` (of all
pairs within 31 bits, against brute force), `mb_per_million` (what the index adds to the process). Through the database,
which has the last word on every hit: `p99_ms` of an upload's matches, one in 50 of them a near copy, `add_million_s`. And
recall on the PDQ authors' pictures by transformation.
"""

import argparse
import ctypes
import gc
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import PIL.Image
from numpy.typing import NDArray
from threatexchange.signal_type.pdq.signal import PdqSignal

from detectors.signals import pdq_orientations
from moderation.banks.index import ChunkSegment, HashIndex, distances
from moderation.banks.indexes import BankIndexes
from moderation.banks.matcher import LocalSearch, Matcher, Probe
from moderation.banks.records import BankSpec, NewEntry, Signal
from moderation.banks.service import BATCH, BankService
from moderation.database import Database

MILLION = 1_000_000
ORIENTATIONS = 8
RADIUS = 31
DATA = Path(__file__).resolve().parents[3] / "shared" / "data"

Hashes = NDArray[np.uint8]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer entries in the database, fewer lookups")
    parser.add_argument("--data", type=Path, default=DATA, help="the shared data folder, for real transformations")
    arguments = parser.parse_args()
    faiss.omp_set_num_threads(1)
    random = np.random.default_rng(7)
    figures = index_beside_index(random, uploads=80 if arguments.quick else 400)
    with tempfile.TemporaryDirectory() as folder:
        database = Database(f"sqlite:///{folder}/bench.db")
        database.migrate()
        figures |= through_the_database(database, random, 150_000 if arguments.quick else 1_000_000)
        database.close()
    if (arguments.data / "pdq").is_dir():
        figures["transformations"] = transformations(arguments.data / "pdq")
    print(json.dumps(figures))


def index_beside_index(random: np.random.Generator, *, uploads: int) -> dict[str, Any]:
    hashes = random.integers(0, 256, (MILLION, 32), dtype=np.uint8)
    probes = random.integers(0, 256, (uploads, ORIENTATIONS, 32), dtype=np.uint8)
    probes[::2, 0] = near(hashes[random.integers(0, MILLION, len(probes[::2]))], random)
    before = resident()
    index = HashIndex(32, (ChunkSegment(hashes, np.arange(MILLION)),))
    grown = resident() - before

    def our_ids(upload: Hashes) -> set[int]:
        hits = index.search(upload, RADIUS)
        return set(hits.ids[distances(upload[hits.queries], hashes[hits.ids]) <= RADIUS].tolist())

    ours, times = lookups(our_ids, probes)
    print(f"our index: {grown / 1e6:.1f} MB, {ORIENTATIONS * uploads / sum(times):,.0f} lookups/s", flush=True)
    theirs_index = PdqSignal.get_index_cls().build([(row.tobytes().hex(), n) for n, row in enumerate(hashes)])
    theirs, their_times = lookups(lambda upload: their_ids(theirs_index, upload), probes)
    print(f"theirs: {ORIENTATIONS * uploads / sum(their_times):,.0f} lookups/s", flush=True)
    truth = [brute_force(hashes, upload) for upload in probes[: 2 * 40]]
    return {
        "lookup_ratio": round(sum(their_times) / sum(times), 2),
        "recall": recall(ours, truth),
        "mb_per_million": round(grown / 1e6, 1),
        "lookups_per_s": round(ORIENTATIONS * uploads / sum(times)),
        "their_lookups_per_s": round(ORIENTATIONS * uploads / sum(their_times)),
        "their_recall": recall(theirs, truth),
    }


def through_the_database(database: Database, random: np.random.Generator, count: int) -> dict[str, Any]:
    hashes = random.integers(0, 256, (count, 32), dtype=np.uint8)
    indexes = BankIndexes(database)
    matcher = Matcher(database, LocalSearch(indexes))
    service = BankService(database, indexes, matcher, no_images)
    service.create("default", BankSpec("bench"), actor="bench")
    seconds = timed(lambda: fill(service, hashes))
    loading = timed(lambda: indexes.snapshot("default"))
    probes = random.integers(0, 256, (500, ORIENTATIONS, 32), dtype=np.uint8)
    probes[::50, 3] = near(hashes[random.integers(0, count, 10)], random)

    def matched(upload: Hashes) -> set[int]:
        near = matcher.near("default", [Probe(Signal("pdq", row.tobytes())) for row in upload])
        return {found.entry.id for found in near}

    found, times = lookups(matched, probes)
    assert all(found[::50]), "a near copy was missed"
    return {
        "p99_ms": round(float(np.quantile(times, 0.99)) * 1000, 3),
        "p50_ms": round(float(np.median(times)) * 1000, 3),
        "add_million_s": round(seconds * MILLION / count, 1),
        "load_million_s": round(loading * MILLION / count, 2),
        "stored": count,
    }


def no_images() -> Any:
    raise NotImplementedError("this bench holds no images")


def fill(service: BankService, hashes: Hashes) -> None:
    for start in range(0, len(hashes), BATCH):
        batch = [NewEntry(Signal("pdq", row.tobytes())) for row in hashes[start : start + BATCH]]
        service.add("default", "bench", batch, actor="bench")


def near(hashes: Hashes, random: np.random.Generator) -> Hashes:
    """Each hash with 0 to 31 bits flipped."""
    bits = np.unpackbits(hashes, axis=1)
    for row in bits:
        row[random.choice(256, random.integers(0, RADIUS + 1), replace=False)] ^= 1
    return np.packbits(bits, axis=1)


def their_ids(index: Any, upload: Hashes) -> set[int]:
    return {match.metadata for row in upload for match in index.query(row.tobytes().hex())}


def lookups(look_up: Callable[[Hashes], set[int]], probes: Hashes) -> tuple[list[set[int]], list[float]]:
    """What each upload's hashes found, and how long that took."""
    look_up(probes[0])
    found, times = [], []
    for upload in probes:
        started = time.perf_counter()
        found.append(look_up(upload))
        times.append(time.perf_counter() - started)
    return found, times


def brute_force(hashes: Hashes, upload: Hashes) -> set[int]:
    return {int(row) for probe in upload for row in np.flatnonzero(distances(hashes, probe[None]) <= RADIUS)}


def recall(found: list[set[int]], truth: list[set[int]]) -> float:
    wanted = sum(len(rows) for rows in truth)
    return round(sum(len(a & b) for a, b in zip(found, truth, strict=False)) / wanted, 6) if wanted else 1.0


def transformations(folder: Path) -> dict[str, dict[str, Any]]:
    """By transformation: share of the pictures whose hash, in some orientation, is within the radius of the original's."""
    original: dict[str, Hashes] = {}
    apart: dict[str, list[int]] = {}
    for path in sorted((folder / "bridge-mods").glob("*.jpg")):
        picture = PIL.Image.open(path).convert("RGB")
        picture.thumbnail((512, 512))
        hashes, _ = pdq_orientations(picture)
        if not original:
            original["bridge"] = hashes[:1]
        apart.setdefault(path.stem, []).append(int(distances(hashes, original["bridge"]).min()))
    return {
        name: {"recall": sum(bits <= RADIUS for bits in found) / len(found), "bits": found}
        for name, found in apart.items()
    }


def resident() -> int:
    """Bytes of this process that are in memory, freed ones given back first."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


def timed(work: Callable[[], None]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
