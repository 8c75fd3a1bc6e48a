"""From decisions to a head that a policy can ask for: the host's consent, the manifest, and a trained head."""

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sqlalchemy as sa

from detectors.training.data import decode, read_manifest
from moderation.application import Application
from moderation.commands.keys import new_secret
from moderation.reviews.deciding import DecisionService
from moderation.reviews.records import Choice
from moderation.reviews.service import ReviewService
from moderation.roles import Role
from moderation.settings import Settings, settings
from moderation.tables import DEFAULT_TENANT, Scan, StoredImage, utc_now
from tests.factories import encode, picture
from tests.moderation.reviews.conftest import explicit, listed, person, scan_maker
from tests.moderation.reviews.test_deciding import LATER
from tests.moderation.test_train_head import run

UPHOLD, OVERTURN = Choice("uphold", clause="adult 1.1"), Choice("overturn", reason="A statue.")


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Settings]:
    monkeypatch.setenv("PALISADE_MODELS_DIR", str(settings().models))
    monkeypatch.setenv("PALISADE_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("PALISADE_HEADS_DIR", str(tmp_path / "heads"))
    monkeypatch.setenv("PALISADE_IMAGE_KEYS", new_secret("images"))
    monkeypatch.setenv("PALISADE_REVIEW_SECOND_SHARE", "0")
    settings.cache_clear()
    yield settings()
    monkeypatch.undo()
    settings.cache_clear()


class Host:
    """A host whose people decide."""

    def __init__(self, config: Settings) -> None:
        self.app = Application(config)
        self.app.database.migrate()
        self.make = scan_maker(self.app.database, self.app.review_rules)
        self.queue = ReviewService(self.app.database, self.app.review_rules)
        self.desk = DecisionService(self.app.database, self.app.review_rules)

    def decide(self, name: str, choice: Choice, *findings: Any, by: str = "", consent: bool = True) -> Scan:
        scan, case = self.make(name, *findings, consent=consent)
        assert case is not None
        for turn, who in enumerate(("ada", "ben")[: 2 if case.harm == "child_abuse" else 1], start=1):
            reviewer = person(who, Role.SENIOR)
            self.queue.take(reviewer, case.id)
            self.desk.decide(reviewer, case.id, turn, choice)
        if by:
            with self.app.database.write() as session:
                session.execute(sa.update(Scan).where(Scan.id == scan.id).values(uploader=by))
        return scan

    def close(self) -> None:
        assert self.desk.release(now=utc_now() + LATER) > 0

    def keep(self, scan: Scan, seed: int) -> None:
        self.app.store.put(DEFAULT_TENANT, scan.image.sha256, encode(picture(160, 120, seed=seed)))


@pytest.fixture
def host(installed: Settings) -> Iterator[Host]:
    host = Host(installed)
    yield host
    host.app.database.close()


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as stream:
        return list(csv.DictReader(stream))


def test_from_decisions_to_a_head(host: Host, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    kinds, model = rng.normal(size=(2, 512)), host.app.runtime.identity("clip_vit_b16")
    scans = [
        host.decide(f"image {number}", OVERTURN if number % 2 else UPHOLD, by=f"u{number}") for number in range(60)
    ]
    with host.app.database.write() as session:
        for number, scan in enumerate(scans):
            vector = (kinds[number % 2] + rng.normal(size=512)).astype(np.float16).tobytes()
            values = {"embedding": vector, "embedding_model": model}
            session.execute(sa.update(StoredImage).where(StoredImage.id == scan.image_id).values(**values))
    host.close()

    manifest = tmp_path / "decisions.csv"
    code, said = run("reviews", "training", "--label", "nsfw", "--out", str(manifest))
    assert (code, "30 images that show it, 30 others." in " ".join(said.split())) == (0, True), said
    assert len({row["group"] for row in rows_of(manifest)}) == 60
    code, said = run("train", "head", "statues", "--data", str(manifest), "--about", "A statue.")

    assert (code, "head_statues: 60 examples" in said) == (0, True), said
    assert list((tmp_path / "heads").glob("*.onnx"))


def test_a_manifest_names_files_only_where_images_are_asked_for(host: Host, tmp_path: Path) -> None:
    scans = [host.decide(f"image {number}", choice) for number, choice in enumerate((UPHOLD, OVERTURN, UPHOLD))]
    for seed, scan in enumerate(scans[:2]):
        host.keep(scan, seed)
    host.close()

    out = tmp_path / "sets" / "plain.csv"
    assert run("reviews", "training", "--label", "nsfw", "--out", str(out))[0] == 0
    assert {row["file"] for row in rows_of(out)} == {""}
    assert not (tmp_path / "images").exists()

    out, folder = tmp_path / "sets" / "files.csv", tmp_path / "images"
    code, said = run(
        "reviews", "training", "--label", "nsfw", "--out", str(out), "--images", str(folder), "--generated"
    )
    assert (code, "1 more are not kept" in " ".join(said.split())) == (0, True), said
    examples = read_manifest(out)  # as `palisade evaluate` reads it
    assert sorted(example.generated for example in examples) == [False, True]
    assert {example.source for example in examples} == {"decisions"}
    assert decode(examples[0].path).size == (160, 120)
    assert [path.stat().st_mode & 0o777 for path in (folder, *folder.iterdir())] == [0o700, 0o600, 0o600]


def test_only_what_may_be_used_is_written(host: Host, tmp_path: Path) -> None:
    for number in range(2):
        host.decide(f"used {number}", UPHOLD, by="one")
    host.decide("refused", UPHOLD, consent=False)
    host.decide("grave", UPHOLD, listed("child_abuse"), explicit())
    host.close()
    _, waiting = host.make("waits", consent=True)
    assert waiting is not None

    out = tmp_path / "out.csv"
    assert run("reviews", "training", "--label", "nsfw", "--out", str(out))[0] == 0
    written = rows_of(out)
    assert len(written) == 2
    assert len({row["group"] for row in written}) == 1, "of one uploader"
    assert "one" not in {value for row in written for value in row.values()}


def test_an_image_that_was_decided_on_again_counts_once_as_it_ended(host: Host, tmp_path: Path) -> None:
    host.decide("same", UPHOLD)
    host.close()
    host.decide("same", OVERTURN)
    host.close()

    out = tmp_path / "out.csv"
    assert run("reviews", "training", "--label", "nsfw", "--out", str(out))[0] == 0
    assert [(row["label"], row["effect"]) for row in rows_of(out)] == [("no", "allow")]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--label", "nsfw"), "No manifest is asked for"),
        (("--images", "x"), "No manifest is asked for"),
        (("--out", "x.csv"), "of no label"),
        (("--out", "x.csv", "--label", "nsfw"), "may be used"),
    ],
)
def test_what_cannot_be_written_is_refused(
    host: Host, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, arguments: tuple[str, ...], says: str
) -> None:
    monkeypatch.chdir(tmp_path)
    code, said = run("reviews", "training", *arguments)

    assert code == 1
    assert says in said
    assert not (tmp_path / "x.csv").exists()
