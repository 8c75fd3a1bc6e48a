"""Reads a dataset back: its rows, its samples, and whether it is what its manifest says."""

import hashlib
import json
import tarfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from generator.errors import DatasetError

MATCH = 31
"""PDQ bits that may differ between two copies of one picture, as its authors advise."""


@dataclass(frozen=True)
class Report:
    """Label balance and what is doubtful. `duplicates`: pairs of keys with the same content by PDQ, a real picture and what
    was made of it apart; `leaks`: sources (prompts, parents) in two splits, and duplicates across splits.
    """

    items: int
    labels: dict[str, int]
    splits: dict[str, int]
    groups: dict[str, int]
    guard: dict[str, int]
    hard_negatives: int
    duplicates: list[tuple[str, str]]
    leaks: list[str]


def rows(folder: Path) -> list[dict[str, Any]]:
    """The manifest's rows in order. Raises DatasetError when the dataset is absent or not finished."""
    manifest = folder / "manifest.parquet"
    if not manifest.is_file():
        unfinished = (folder / "dataset.json").is_file()
        raise DatasetError(
            f"{folder} holds {'an unfinished' if unfinished else 'no'} dataset",
            hint="run the same `palisade generate` again; it goes on where it was" if unfinished else "name its folder",
        )
    try:
        found: list[dict[str, Any]] = pq.read_table(manifest).to_pylist()
    except (pa.ArrowInvalid, OSError) as error:
        raise DatasetError(f"{manifest} cannot be read: {error}", hint="delete it and run generate again") from error
    return found


def samples(folder: Path) -> Iterator[tuple[str, dict[str, bytes]]]:
    """Key and files by ending of every sample, shard by shard. Raises DatasetError for a broken shard."""
    for shard in sorted((folder / "shards").glob("*.tar")):
        try:
            with tarfile.open(shard) as archive:
                yield from _grouped(archive)
        except tarfile.TarError as error:
            raise DatasetError(
                f"{shard} is broken: {error}", hint="delete it with its .parquet; generate anew"
            ) from error


def _grouped(archive: tarfile.TarFile) -> Iterator[tuple[str, dict[str, bytes]]]:
    key, files = "", dict[str, bytes]()
    for entry in archive:
        name, _, ending = entry.name.partition(".")
        if key and name != key:
            yield key, files
            files = {}
        key = name
        content = archive.extractfile(entry)
        files[ending] = content.read() if content else b""
    if key:
        yield key, files


def image_of(files: dict[str, bytes]) -> bytes:
    """The image's bytes, empty where it was quarantined."""
    return next((files[ending] for ending in ("jpg", "webp", "png") if ending in files), b"")


def verify(folder: Path) -> int:
    """How many samples are exactly as the manifest says. Raises DatasetError at the first that is not."""
    expected = {row["key"]: row for row in rows(folder)}
    shards = {f"{row['shard']}" for row in expected.values()}
    if missing := sorted(shards - {path.name for path in (folder / "shards").glob("*.tar")}):
        raise DatasetError(f"shards are missing: {', '.join(missing[:5])}", hint="delete their .parquet; generate anew")
    seen: set[str] = set()
    for key, files in samples(folder):
        row = expected.get(key)
        if row is None or key in seen:
            raise DatasetError(f"{key} is not in the manifest, or stands twice", hint="generate the dataset anew")
        seen.add(key)
        _verify_sample(key, files, row)
    if lost := sorted(set(expected) - seen):
        raise DatasetError(f"{len(lost)} samples are missing, {lost[0]} first", hint="generate the dataset anew")
    return len(seen)


def _verify_sample(key: str, files: dict[str, bytes], row: dict[str, Any]) -> None:
    content = image_of(files)
    digest = hashlib.sha256(content).hexdigest() if content else ""
    if digest != row["sha256"]:
        raise DatasetError(f"{key} has SHA-256 {digest[:12]}, not {row['sha256'][:12]}", hint="restore its shard")
    if row["mask"] != ("mask.png" in files):
        raise DatasetError(f"{key}: its mask is not as the manifest says", hint="restore its shard")
    try:
        described = json.loads(files["json"])
    except (KeyError, ValueError) as error:
        raise DatasetError(f"{key} has no readable description", hint="restore its shard") from error
    if any(described[name] != row[name] for name in described):
        raise DatasetError(f"{key} is described otherwise than in the manifest", hint="restore its shard")


def inspect(folder: Path) -> Report:
    """Balance, duplicates and leakage of a finished dataset."""
    found = rows(folder)
    pairs = duplicates(found)
    split = {row["key"]: row["split"] for row in found}
    leaks = [f"{a} and {b} look alike" for a, b in pairs if split[a] != split[b]]
    return Report(
        items=len(found),
        labels=dict(sorted(Counter(row["label"] for row in found).items())),
        splits=dict(sorted(Counter(row["split"] for row in found).items())),
        groups=dict(sorted(Counter(row["group"] for row in found).items())),
        guard=dict(sorted(Counter(row["guard_state"] for row in found).items())),
        hard_negatives=sum(row["hard_negative"] for row in found),
        duplicates=pairs,
        leaks=_shared_sources(found) + leaks,
    )


def duplicates(found: list[dict[str, Any]]) -> list[tuple[str, str]]:
    """Pairs of keys within MATCH bits of PDQ that do not come from the same parent."""
    if not found:
        return []
    packed = np.frombuffer(bytes.fromhex("".join(row["pdq"] for row in found)), np.uint8).reshape(len(found), 32)
    pairs = []
    for number, row in enumerate(found):
        distance = np.bitwise_count(packed[number + 1 :] ^ packed[number]).sum(axis=1, dtype=np.int64)
        for other in np.flatnonzero(distance <= MATCH):
            twin = found[number + 1 + int(other)]
            if not row["parent"] or row["parent"] != twin["parent"]:
                pairs.append((row["key"], twin["key"]))
    return pairs


def _shared_sources(found: list[dict[str, Any]]) -> list[str]:
    splits: dict[str, set[str]] = {}
    for row in found:
        splits.setdefault(row["parent"] or row["prompt"], set()).add(row["split"])
    return [
        f"{source!r} is in {' and '.join(sorted(where))}" for source, where in sorted(splits.items()) if len(where) > 1
    ]
