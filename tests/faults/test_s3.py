"""Spool, kept images, imports and sources in an object store: moto's, through s3fs as a host would use it."""

import importlib.util
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import httpx
import pytest
import sqlalchemy as sa

from moderation.application import Application
from moderation.errors import InvalidRequestError, StorageError
from moderation.jobs.records import Order
from moderation.rescans.importing import Importer, items
from moderation.rescans.records import PlanSpec
from moderation.rescans.sources import SourceError, UrlImages
from moderation.scans.service import HostContext, Upload
from moderation.tables import Scan
from tests.factories import encode, picture
from tests.faults.installation import Installation

MISSING = [name for name in ("moto", "s3fs", "flask", "flask_cors") if importlib.util.find_spec(name) is None]

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(bool(MISSING), reason=f"not installed: {', '.join(MISSING)} (they are in the extra `dev`)"),
]

NAMES = ("a/1.png", "a/2.png", "b/1.png", "b/2.png")

PICTURES = {name: encode(picture(64, 64, seed=seed), "PNG") for seed, name in enumerate(NAMES)}

NO_ANSWER = r"Unable to locate credentials|Could not connect"


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """The address of an object store."""
    from moto.server import ThreadedMotoServer

    running = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    running.start()
    host, port = running.get_host_and_port()
    yield f"http://{host}:{port}"
    running.stop()


@pytest.fixture
def bucket(server: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The file system of an empty bucket `hosted`, with credentials in the environment."""
    for name, value in {
        "AWS_ENDPOINT_URL": server,
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_MAX_ATTEMPTS": "1",
        "AWS_CONFIG_FILE": "/nowhere",
        "AWS_SHARED_CREDENTIALS_FILE": "/nowhere",
    }.items():
        monkeypatch.setenv(name, value)
    httpx.post(f"{server}/moto-api/reset").raise_for_status()
    forget_connections()
    files = fsspec.filesystem("s3")
    files.mkdir("hosted")
    yield files
    httpx.post(f"{server}/moto-api/reset-auth", content=b"1000000").raise_for_status()
    forget_connections()


def forget_connections() -> None:
    """What fsspec keeps of earlier credentials."""
    fsspec.get_filesystem_class("s3").clear_instance_cache()


def make(folder: Path, **changed: object) -> Application:
    installation = Installation(folder, f"sqlite:///{folder / 'palisade.db'}", "", **changed)
    made = installation.application()
    made.database.migrate()
    return made


def fill(bucket: Any) -> None:
    for name, data in PICTURES.items():
        bucket.pipe_file(f"hosted/{name}", data)


def test_images_wait_for_their_scan_in_a_bucket(tmp_path: Path, bucket: Any) -> None:
    app = make(tmp_path, spool_url="s3://hosted/spool")
    job = app.jobs.submit("default", Order(PICTURES["a/1.png"]))
    (waiting,) = bucket.find("hosted/spool")
    assert PICTURES["a/1.png"][:64] not in bucket.cat(waiting)

    assert app.runner.run(job.id) == "done"

    bucket.invalidate_cache()
    assert bucket.find("hosted/spool") == []
    app.database.close()


def test_kept_images_are_in_a_bucket_and_re_scanned_from_there(tmp_path: Path, bucket: Any) -> None:
    app = make(tmp_path, storage_url="s3://hosted/kept")
    text = (tmp_path / "policies" / "light.yaml").read_text()
    (tmp_path / "policies" / "light.yaml").write_text(text.replace("cascade:", "keep: all\ncascade:"))
    for name, data in PICTURES.items():
        app.scans.scan("default", Upload(data, context=HostContext(external_id=name)))
    assert len(bucket.find("hosted/kept")) == len(PICTURES)

    plan = app.rescans.plan("default", PlanSpec("all", source="kept"), actor="test")
    while app.rescans.advance("test", plan_id=plan.id):
        pass

    view = app.rescans.find("default", plan.id)
    assert (view.plan.state, view.progress.done, view.progress.failed) == ("done", 4, 0)
    app.database.close()


def test_a_bucket_is_imported_and_re_scanned(tmp_path: Path, bucket: Any) -> None:
    fill(bucket)
    app = make(tmp_path)
    importer = Importer(app.database, app.scans, app.client, max_bytes=1_000_000)
    states = [
        [done.state for done in importer.run("default", items("s3://hosted"), stopped=lambda: False)] for _ in range(2)
    ]
    assert states == [["scanned"] * 4, ["known"] * 4]
    with app.database.read() as session:
        assert set(session.scalars(sa.select(Scan.external_id))) == set(PICTURES)

    bucket.rm("hosted/b/2.png")
    plan = app.rescans.plan(
        "default", PlanSpec("model", ("signals",), source="s3://hosted/{external_id}"), actor="test"
    )
    while app.rescans.advance("test", plan_id=plan.id):
        pass

    (failure,) = app.rescans.failures("default", plan.id)
    progress = app.rescans.find("default", plan.id).progress
    assert (failure.code, progress.done, progress.waiting) == ("not_found", 3, 1)
    app.database.close()


def test_a_bucket_that_is_not_there_is_said_and_not_made(tmp_path: Path, bucket: Any) -> None:
    app = make(tmp_path, spool_url="s3://absent/spool")

    with pytest.raises(StorageError, match="could not be kept") as refusal:
        app.jobs.submit("default", Order(PICTURES["a/1.png"]))
    assert "bucket does not exist" in refusal.value.message
    assert "PALISADE_SPOOL_URL" in refusal.value.hint
    assert app.jobs.counts("default") == {}
    with pytest.raises(InvalidRequestError, match="There is no 's3://absent'"):
        list(items("s3://absent"))
    bucket.invalidate_cache()
    assert bucket.ls("") == ["hosted"]
    app.database.close()


def test_wrong_credentials_are_said(tmp_path: Path, bucket: Any, server: str) -> None:
    fill(bucket)
    httpx.post(f"{server}/moto-api/reset-auth", content=b"0").raise_for_status()
    app = make(tmp_path, spool_url="s3://hosted/spool")

    with pytest.raises(StorageError, match=r"could not be kept: .*Access Key"):
        app.jobs.submit("default", Order(PICTURES["a/1.png"]))
    with pytest.raises(StorageError, match="cannot be read") as refusal:
        list(items("s3://hosted"))
    assert "credentials" in refusal.value.hint
    with pytest.raises(SourceError, match="cannot be read: PermissionError"):
        UrlImages("s3://hosted/{external_id}", app.client, max_bytes=1_000_000).read("default", "", "a/1.png")
    app.database.close()


@pytest.mark.parametrize("lacking", ["credentials", "server"])
def test_a_store_that_gives_no_answer_is_said(
    tmp_path: Path, bucket: Any, monkeypatch: pytest.MonkeyPatch, lacking: str
) -> None:
    if lacking == "server":
        monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    else:
        monkeypatch.delenv("AWS_ACCESS_KEY_ID")
        monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    forget_connections()
    app = make(tmp_path, spool_url="s3://hosted/spool")

    with pytest.raises(StorageError, match=NO_ANSWER):
        app.jobs.submit("default", Order(PICTURES["a/1.png"]))
    with pytest.raises(StorageError, match=NO_ANSWER):
        list(items("s3://hosted"))
    with pytest.raises(SourceError, match=NO_ANSWER):
        UrlImages("s3://hosted/{external_id}", app.client, max_bytes=1_000_000).read("default", "", "a/1.png")
    app.database.close()
