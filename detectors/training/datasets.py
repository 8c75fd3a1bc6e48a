"""Reads the datasets that `palisade generate` makes: tar shards of samples (WebDataset) beside a Parquet manifest.

Each picture is unpacked once, checked against the digest in the manifest. A picture labelled `real` is real; every other was made by the
dataset's model, whatever it shows.
"""

import hashlib
import tarfile
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from detectors.training.data import DataError, Example, check_classes, check_names, read_manifest

MANIFEST = "manifest.parquet"
UNPACKED = "unpacked"
COLUMNS = ("key", "label", "group", "recipe", "model", "prompt", "parent", "kept", "sha256", "shard", "format")


def is_dataset(path: Path) -> bool:
    """Whether a path is a dataset's folder or its manifest."""
    return path.name == MANIFEST or path.is_dir()


def read_all(sources: Sequence[Path]) -> list[Example]:
    """The examples of manifests and datasets, one after the other. Raises DataError, also for one class."""
    examples = [e for path in sources for e in (read_dataset(path) if is_dataset(path) else read_manifest(path))]
    check_names(examples, "The data names")
    check_classes(examples)
    return examples


def read_dataset(path: Path) -> list[Example]:
    """The pictures of a dataset that its guard kept, in the order of their keys, unpacked below `unpacked/`.

    family: the model. source: recipe and group. prompt: the picture it was made of, else the prompt. Raises DataError for a
    dataset that is not whole, or a shard that is damaged.
    """
    folder = path if path.is_dir() else path.parent
    rows = [row for row in _rows(folder / MANIFEST) if row["kept"]]
    shards = defaultdict[str, list[Mapping[str, Any]]](list)
    for row in rows:
        shards[row["shard"]].append(row)
    for shard, held in sorted(shards.items()):
        _unpack(folder / "shards" / shard, held, folder / UNPACKED)
    return sorted(_example(folder, row) for row in rows)


def _rows(manifest: Path) -> list[dict[str, Any]]:
    try:
        import pyarrow as pa  # noqa: PLC0415 - not in the base install
        import pyarrow.parquet as pq  # noqa: PLC0415
    except ImportError as error:
        raise DataError("A dataset's manifest needs pyarrow.", hint="Install the extra: palisade[train].") from error
    try:
        rows: list[dict[str, Any]] = pq.read_table(manifest).to_pylist()
    except (pa.ArrowException, OSError) as error:
        raise DataError(
            f"{manifest} cannot be read: {error}",
            hint="Run the same `palisade generate` again; it goes on where it was.",
        ) from error
    if missing := [name for name in COLUMNS if not rows or name not in rows[0]]:
        raise DataError(f"{manifest} has no {', '.join(missing)}, or no rows.", hint="Is it of `palisade generate`?")
    return rows


def _place(row: Mapping[str, Any]) -> str:
    """The picture's name in its shard, as `generator.datasets.maker` writes it."""
    return f"{row['key']}.{row['format'].replace('jpeg', 'jpg')}"


def _unpack(shard: Path, rows: Sequence[Mapping[str, Any]], out: Path) -> None:
    """Lay a shard's pictures in `out`, but for those that are there as the manifest says. Raises DataError."""
    wanted = {_place(row): row["sha256"] for row in rows if not _whole(out / _place(row), row["sha256"])}
    if not wanted:
        return
    out.mkdir(exist_ok=True)
    try:
        with tarfile.open(shard) as archive:
            for entry in archive:
                if entry.name in wanted and (content := archive.extractfile(entry)):
                    _write(out / entry.name, content.read(), wanted.pop(entry.name), shard)
    except (tarfile.TarError, OSError) as error:
        raise DataError(
            f"The shard {shard} is broken: {error}.", hint="Delete it with its .parquet; generate anew."
        ) from error
    if wanted:
        raise DataError(f"The shard {shard} lacks {min(wanted)}.", hint="Delete it with its .parquet; generate anew.")


def _whole(path: Path, sha256: str) -> bool:
    return path.is_file() and hashlib.sha256(path.read_bytes()).hexdigest() == sha256


def _write(path: Path, content: bytes, sha256: str, shard: Path) -> None:
    if (found := hashlib.sha256(content).hexdigest()) != sha256:
        raise DataError(
            f"{path.name} in {shard} has SHA-256 {found[:12]}, not {sha256[:12]}.",
            hint="Delete the shard with its .parquet; generate anew.",
        )
    part = path.with_suffix(".part")
    part.write_bytes(content)
    part.replace(path)


def _example(folder: Path, row: Mapping[str, Any]) -> Example:
    generated = row["label"] != "real"
    return Example(
        file=f"{folder.name}/{_place(row)}",
        path=folder / UNPACKED / _place(row),
        generated=generated,
        source=f"{row['recipe']}/{row['group']}",
        family=(row["model"] or "unknown") if generated else "photo",
        prompt=(row["parent"] or row["prompt"]) if generated else "",
        remade=bool(row["parent"]),
    )
