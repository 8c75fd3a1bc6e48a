"""Datasets in the format of `palisade generate` as training data; broken ones are refused. Those it made: tests/generator."""

import hashlib
import io
import tarfile
from pathlib import Path

import PIL.Image
import pytest

pa = pytest.importorskip("pyarrow", reason="datasets need the `train` extra")
pq = pytest.importorskip("pyarrow.parquet", reason="datasets need the `train` extra")
from detectors.training.data import DataError, decode, drop_duplicates  # noqa: E402
from detectors.training.datasets import read_all, read_dataset  # noqa: E402
from tests.factories import picture  # noqa: E402

PAIRS = {"a0": ("real", "", 1), "a1": ("synthetic", "photo/1", 1), "b0": ("benign", "", 2), "b1": ("synthetic", "", 3)}


def png(width: int, height: int, seed: int) -> bytes:
    with io.BytesIO() as buffer:
        PIL.Image.fromarray(picture(width, height, seed=seed)).save(buffer, format="PNG")
        return buffer.getvalue()


def add(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    entry = tarfile.TarInfo(name)
    entry.size = len(content)
    archive.addfile(entry, io.BytesIO(content))


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    """Two shards: a real picture beside its copy, and two that were made from prompts, one of them not kept."""
    folder = tmp_path / "made"
    (folder / "shards").mkdir(parents=True)
    rows = []
    for key, (label, parent, seed) in PAIRS.items():
        shard, content = f"{'ab'.index(key[0]):06d}.tar", png(96, 64, seed=seed)
        row = {
            "key": key, "label": label, "group": "things", "recipe": "everyday", "model": "" if label == "real" else "tiny",
            "prompt": f"prompt of {key}", "parent": parent, "kept": key != "b1", "format": "png", "shard": shard,
            "sha256": hashlib.sha256(content).hexdigest(),
        }  # fmt: skip
        rows.append(row)
        with tarfile.open(folder / "shards" / shard, "a", format=tarfile.USTAR_FORMAT) as archive:
            add(archive, f"{key}.json", b"{}")
            add(archive, f"{key}.png", content)
    pq.write_table(pa.Table.from_pylist(rows), folder / "manifest.parquet")
    return folder


def test_a_dataset_gives_examples_of_both_classes(dataset: Path) -> None:
    real, copy, other = read_dataset(dataset)

    assert (real.generated, real.family, real.source) == (False, "photo", "everyday/things")
    assert (copy.generated, copy.family, copy.prompt, copy.remade) == (True, "tiny", "photo/1", True)
    assert (other.generated, other.prompt) == (True, "prompt of b0")
    assert decode(other.path).size == (96, 64)


def test_a_copy_stays_beside_the_picture_that_it_was_made_of(dataset: Path) -> None:
    examples = read_all([dataset / "manifest.parquet"])

    assert drop_duplicates(examples) == examples


def test_what_was_unpacked_is_not_unpacked_again_but_mended(dataset: Path) -> None:
    first, second, _ = read_dataset(dataset)
    second.path.write_bytes(b"broken")
    (dataset / "shards/000001.tar").unlink()

    assert read_dataset(dataset)[0] == first
    assert decode(second.path).size == (96, 64)


def test_a_damaged_or_missing_shard_is_named(dataset: Path) -> None:
    shard = dataset / "shards/000000.tar"
    whole = shard.read_bytes()
    for broken in (whole[:700], whole.replace(png(96, 64, seed=1)[100:140], bytes(40), 1), whole[:0]):
        shard.write_bytes(broken)
        with pytest.raises(DataError, match=r"000000\.tar"):
            read_dataset(dataset)
    shard.unlink()
    with pytest.raises(DataError, match=r"000000\.tar"):
        read_dataset(dataset)


def test_an_unfinished_dataset_is_refused_with_what_to_do(dataset: Path) -> None:
    (dataset / "manifest.parquet").unlink()

    with pytest.raises(DataError, match="cannot be read") as refusal:
        read_dataset(dataset)
    assert "goes on where it was" in refusal.value.hint


def test_all_data_together_needs_both_classes_and_names_once(dataset: Path, tmp_path: Path) -> None:
    (tmp_path / "photo.png").write_bytes(png(90, 60, seed=8))
    manifest = tmp_path / "photos.csv"
    manifest.write_text("file,label,source,family\nphoto.png,real,camera,photo\n")

    assert [example.generated for example in read_all([manifest, dataset])] == [False, False, True, True]
    with pytest.raises(DataError, match="1 of the two classes"):
        read_all([manifest])
    with pytest.raises(DataError, match="2 times"):
        read_all([dataset, dataset])
