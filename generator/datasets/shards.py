"""Writes a dataset shard by shard: each shard is whole or absent, workers never share one, killed runs go on.

A shard is a tar of samples (WebDataset) and a Parquet table of their rows. A worker holds a lock on a shard while it makes
it; the system frees the lock when the worker dies, and the shard is made again from its first item.
"""

import errno
import fcntl
import io
import json
import os
import shutil
import tarfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from generator.datasets.maker import Maker, Sample
from generator.errors import DatasetError
from generator.recipes import Recipe, expand

Say = Callable[[str], None]
LEAST_FREE = 64 * 1024 * 1024

TEXTS = (
    "key", "label", "group", "mode", "recipe", "recipe_digest", "prompt", "negative", "model", "model_digest", "parent",
    "split", "parameters", "guard_state", "guard_scores", "guard_reason", "format", "sha256", "pixels_sha256", "pdq", "shard",
)  # fmt: skip
SCHEMA = pa.schema(
    [(name, pa.string()) for name in TEXTS]
    + [(name, pa.bool_()) for name in ("hard_negative", "kept", "mask", "marked")]
    + [(name, pa.int64()) for name in ("seed", "quality", "width", "height")]
)


@dataclass(frozen=True)
class Dataset:
    """A dataset's folder: `dataset.json`, `shards/NNNNNN.tar|.parquet`, and `manifest.parquet` once all are there."""

    folder: Path
    recipe: Recipe

    @property
    def shards(self) -> int:
        return -(-self.recipe.count // self.recipe.shard)

    @property
    def manifest(self) -> Path:
        return self.folder / "manifest.parquet"

    def tar(self, shard: int) -> Path:
        return self.folder / "shards" / f"{shard:06d}.tar"

    def table(self, shard: int) -> Path:
        return self.folder / "shards" / f"{shard:06d}.parquet"

    def done(self, shard: int) -> bool:
        """The table is written last: where it is, the tar is whole."""
        return self.table(shard).is_file()


def write(maker: Maker, folder: Path, *, worker: int = 0, workers: int = 1, say: Say = print) -> Dataset:
    """Make what is missing of the recipe in `folder`; does nothing when all is there.

    worker of workers: takes the shards whose number leaves that remainder, for workers that share no file locks.
    Raises DatasetError when the folder holds another dataset or the disk is full.
    """
    if not 0 <= worker < workers:
        raise DatasetError(f"worker {worker} of {workers} does not exist", hint="workers count from 0")
    dataset = Dataset(folder, maker.recipe)
    (folder / "shards").mkdir(parents=True, exist_ok=True)
    _claim_folder(dataset, maker)
    progress = Progress(sum(_size(dataset, s) for s in range(worker, dataset.shards, workers)), say)
    for shard in range(worker, dataset.shards, workers):
        if dataset.done(shard):
            progress.skip(_size(dataset, shard))
            continue
        with _claimed(dataset, shard) as ours:
            if ours and not dataset.done(shard):
                _write_shard(dataset, maker, shard, progress)
    finish(dataset)
    return dataset


def _size(dataset: Dataset, shard: int) -> int:
    size = dataset.recipe.shard
    return min(size, dataset.recipe.count - shard * size)


@dataclass
class Progress:
    """Says images a second and time left."""

    total: int
    say: Say
    made: int = 0
    skipped: int = 0

    def __post_init__(self) -> None:
        self.started = time.monotonic()

    def skip(self, count: int) -> None:
        self.skipped += count

    def add(self, count: int) -> None:
        self.made += count
        rate = self.made / max(time.monotonic() - self.started, 1e-9)
        left = (self.total - self.skipped - self.made) / rate
        self.say(f"{self.skipped + self.made}/{self.total} items  {rate:.2f} a second  {left / 60:.1f} min left")


def _claim_folder(dataset: Dataset, maker: Maker) -> None:
    """Writes `dataset.json`, or checks that the one there is of the same recipe, model and pictures."""
    identity = {
        "format": 1,
        "recipe": maker.recipe.model_dump(mode="json"),
        "recipe_digest": maker.recipe_digest,
        "model": maker.model,
        "model_digest": maker.model_digest,
        "pictures": [f"{path.parent.name}/{path.name}" for path in maker.pictures],
    }
    path = dataset.folder / "dataset.json"
    text = json.dumps(identity, sort_keys=True, indent=1, ensure_ascii=False) + "\n"
    if not path.is_file():
        temporary = path.with_name(f".dataset.{os.getpid()}.part")
        temporary.write_text(text)
        temporary.replace(path)
    elif path.read_text() != text:
        raise DatasetError(
            f"{dataset.folder} holds a dataset of another recipe, model or set of pictures",
            hint="choose another folder; a dataset is never mixed",
        )


@contextmanager
def _claimed(dataset: Dataset, shard: int) -> Iterator[bool]:
    """Whether this process got the shard's lock. The lock goes with the process, however it ends."""
    with (dataset.folder / "shards" / f".{shard:06d}.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        yield True


def _write_shard(dataset: Dataset, maker: Maker, shard: int, progress: Progress) -> None:
    first = shard * dataset.recipe.shard
    items = list(expand(dataset.recipe, first, first + dataset.recipe.shard))
    tar, table = dataset.tar(shard), dataset.table(shard)
    parts = (tar.with_suffix(".tar.part"), table.with_suffix(".parquet.part"))
    try:
        _check_space(dataset.folder)
        rows = _write_tar(parts[0], maker, items, dataset, shard)
        pq.write_table(pa.Table.from_pylist(rows, SCHEMA), parts[1], compression="zstd")
        for part, whole in zip(parts, (tar, table), strict=True):
            _settle(part, whole)
    except OSError as error:
        for part in parts:
            part.unlink(missing_ok=True)
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise DatasetError(
            f"the disk of {dataset.folder} is full at shard {shard}", hint="free space; then run again"
        ) from error
    progress.add(len(items))


def _write_tar(path: Path, maker: Maker, items: list[Any], dataset: Dataset, shard: int) -> list[dict[str, Any]]:
    rows = []
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as archive:
        for sample in maker.make(items):
            add(archive, sample)
            rows.append(sample.row | {"shard": dataset.tar(shard).name})
    return rows


def add(archive: tarfile.TarFile, sample: Sample) -> None:
    """A sample's files, with nothing in their headers that differs between runs."""
    for ending in sorted(sample.files):
        entry = tarfile.TarInfo(f"{sample.key}.{ending}")
        entry.size, entry.mode = len(sample.files[ending]), 0o644
        archive.addfile(entry, io.BytesIO(sample.files[ending]))


def _check_space(folder: Path) -> None:
    free = shutil.disk_usage(folder).free
    if free < LEAST_FREE:
        raise OSError(errno.ENOSPC, f"{free} bytes free, {LEAST_FREE} needed")


def _settle(part: Path, whole: Path) -> None:
    with part.open("rb") as written:
        os.fsync(written.fileno())
    part.replace(whole)


def finish(dataset: Dataset) -> bool:
    """Joins the shards' tables into `manifest.parquet` when all are there, in order; whether they are."""
    if not all(dataset.done(shard) for shard in range(dataset.shards)):
        return False
    if not dataset.manifest.is_file():
        part = dataset.folder / f".manifest.{os.getpid()}.part"
        with pq.ParquetWriter(part, SCHEMA, compression="zstd") as writer:
            for shard in range(dataset.shards):
                writer.write_table(pq.read_table(dataset.table(shard)))
        _settle(part, dataset.manifest)
    return True
