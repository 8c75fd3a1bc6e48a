"""Images read again from where the host keeps them."""

import http.server
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import sqlalchemy as sa

from detectors.nsfw import NsfwDetector
from detectors.runtime import Runtime
from detectors.signals import SignalsDetector
from moderation.application import Application
from moderation.errors import InvalidRequestError
from moderation.policy import PolicyLibrary, Vocabulary
from moderation.rescans.records import PlanSpec
from moderation.scanner import Scanner
from moderation.scans.service import HostContext, Upload
from moderation.tables import Measurement, RescanFailure, Scan, StoredImage, utc_now
from tests.factories import encode, picture
from tests.moderation.rescans.conftest import make
from tests.moderation.rescans.stored import run

POLICY = """
name: plain
version: 1
description: For tests.
keep: {keep}
on_error: hold
on_skipped: allow
rules:
  - name: explicit
    when: nsfw.fpr <= 0.0001
    action: hold
    queue: explicit
    reason: A person looks at it.
examples:
  - name: an explicit one is held
    findings: {{nsfw: {{fpr: 0.00001}}}}
    action: hold
"""


class NextNsfw(NsfwDetector):
    """A newer version of the detector: what it finds has another version."""

    version = "next"


def light(
    folder: Path, url: str, runtime: Runtime, *, newer: bool = False, keep: str = "none", **changed: object
) -> Application:
    """An application of two detectors, so that measuring is quick."""
    (folder / "policies").mkdir(exist_ok=True)
    (folder / "policies/plain.yaml").write_text(POLICY.format(keep=keep))
    made = make(folder, url, policy="plain", **changed)
    scanner = Scanner(runtime, detectors=(SignalsDetector, NextNsfw if newer else NsfwDetector))
    library = PolicyLibrary("plain", folder=folder / "policies", vocabulary=Vocabulary.of(scanner.classes))
    made.__dict__.update({"runtime": runtime, "scanner": scanner, "policies": library})
    full = Scanner(runtime)
    made.__dict__.update({"known": full.detector("known"), "likeness": None})
    return made


@dataclass
class Hosted:
    """A host's images: files by name, and how the server behaves for some."""

    files: dict[str, bytes] = field(default_factory=dict)
    status: dict[str, int] = field(default_factory=dict)
    truncated: set[str] = field(default_factory=set)
    slow: set[str] = field(default_factory=set)
    url: str = ""


@pytest.fixture
def server() -> Iterator[Hosted]:
    hosted = Hosted()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            name = self.path.rsplit("/", 1)[1]
            data = hosted.files.get(name, b"")
            if name in hosted.slow:
                time.sleep(1.5)
            self.send_response(hosted.status.get(name, 200 if data else 404))
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            try:
                self.wfile.write(data[: len(data) // 2] if name in hosted.truncated else data)
            except OSError:
                self.close_connection = True

        def log_message(self, format: str, *args: object) -> None:
            """Tests look at what is stored."""

    serving = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    hosted.url = f"http://127.0.0.1:{serving.server_address[1]}"
    thread = threading.Thread(target=serving.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    yield hosted
    serving.shutdown()
    serving.server_close()
    thread.join()


def upload(application: Application, count: int) -> dict[str, bytes]:
    """Scan so many pictures; their files by the host's own id."""
    files = {f"pic-{number}.jpg": encode(picture(200, 160, seed=number), "JPEG") for number in range(count)}
    for name, data in files.items():
        application.scans.scan("default", Upload(data, context=HostContext(external_id=name)))
    return files


@pytest.fixture
def old(tmp_path: Path, database_url: str, runtime: Runtime) -> Iterator[Application]:
    made = light(tmp_path, database_url, runtime)
    made.database.migrate()
    yield made
    made.database.close()


def remade(folder: Path, url: str, runtime: Runtime, **changed: object) -> Application:
    return light(
        folder, url, runtime, newer=True, fetch_allowed_networks=("127.0.0.0/8",), fetch_seconds=1.0, **changed
    )


def versions(application: Application) -> dict[str, set[str]]:
    """By image, the versions of the detector that measured it."""
    with application.database.read() as session:
        rows = session.execute(
            sa.select(StoredImage.id, Measurement.findings).join(Measurement, Measurement.image_id == StoredImage.id)
        ).all()
    found: dict[str, set[str]] = {}
    for image, measured in rows:
        found.setdefault(image, set()).update(f["version"] for f in measured if f["detector"] == "nsfw")
    return found


@pytest.mark.parametrize(
    "using", [PlanSpec("all", source="kept"), PlanSpec("model", detectors=("nsfw",), source="kept")]
)
def test_images_of_a_folder_are_measured_by_the_newer_model(
    old: Application, tmp_path: Path, database_url: str, runtime: Runtime, using: PlanSpec
) -> None:
    (tmp_path / "hosted").mkdir()
    for name, data in upload(old, 3).items():
        (tmp_path / "hosted" / name).write_bytes(data)
    new = remade(tmp_path, database_url, runtime)
    source = (tmp_path / "hosted").as_uri() + "/{external_id}"
    plan = new.rescans.plan("default", PlanSpec(using.using, detectors=using.detectors, source=source), actor="test")
    assert plan.path == "images"

    run(new, plan.id)

    view = new.rescans.find("default", plan.id)
    assert (view.plan.state, view.progress.done, view.progress.failed) == ("done", 3, 0)
    assert list(versions(new).values()) == [{"1", "next"}] * 3
    new.database.close()


def test_images_that_were_measured_by_these_models_are_not_read_again(
    old: Application, tmp_path: Path, database_url: str, runtime: Runtime, server: Hosted
) -> None:
    server.files = upload(old, 2)
    new = remade(tmp_path, database_url, runtime)
    spec = PlanSpec("all", source=server.url + "/{external_id}")
    run(new, new.rescans.plan("default", spec, actor="test").id)
    server.files = {}

    plan = new.rescans.plan("default", spec, actor="test")
    run(new, plan.id)

    assert new.rescans.find("default", plan.id).progress.done == 2
    assert new.rescans.failures("default", plan.id) == []
    new.database.close()


def test_what_a_source_does_wrong_is_listed_and_tried_again(
    old: Application, tmp_path: Path, database_url: str, runtime: Runtime, server: Hosted
) -> None:
    files = upload(old, 7)
    server.files = dict(files)
    server.status = {"pic-1.jpg": 403}
    server.files.pop("pic-2.jpg")
    server.truncated, server.slow = {"pic-3.jpg"}, {"pic-4.jpg"}
    server.files["pic-5.jpg"] = encode(picture(200, 160, seed=99), "JPEG")
    new = remade(tmp_path, database_url, runtime)
    plan = new.rescans.plan("default", PlanSpec("all", source=server.url + "/{external_id}"), actor="test")

    run(new, plan.id)

    view = new.rescans.find("default", plan.id)
    assert (view.plan.state, view.progress.done, view.progress.waiting, view.progress.left) == ("running", 2, 5, 0)
    with new.database.read() as session:
        rows = session.execute(
            sa.select(Scan.external_id, RescanFailure.code).join(RescanFailure, RescanFailure.scan_id == Scan.id)
        )
        codes = dict(tuple(row) for row in rows)
    assert codes.pop("pic-5.jpg") == "changed"
    assert codes.pop("pic-4.jpg") == "fetch_timeout"
    assert codes == {"pic-1.jpg": "fetch_failed", "pic-2.jpg": "fetch_failed", "pic-3.jpg": "fetch_failed"}

    server.files, server.status, server.truncated, server.slow = {**files, "pic-5.jpg": b"x"}, {}, set(), set()
    for attempt in range(5):
        with new.database.write() as session:
            due = RescanFailure.next_at.is_not(None)
            session.execute(sa.update(RescanFailure).where(due).values(next_at=utc_now()))
        run(new, plan.id)
        left = {failure.attempts for failure in new.rescans.failures("default", plan.id)}
        assert left == {attempt + 2} or attempt == 4

    view = new.rescans.find("default", plan.id)
    (failure,) = new.rescans.failures("default", plan.id)
    assert (view.plan.state, view.progress.done, view.progress.failed, view.progress.waiting) == ("done", 6, 1, 0)
    assert (failure.code, failure.next_at) == ("changed", None)
    new.database.close()


def test_kept_images_are_a_source(tmp_path: Path, database_url: str, runtime: Runtime) -> None:
    keys = make(tmp_path, database_url).settings.image_keys
    old = light(tmp_path, database_url, runtime, keep="all", image_keys=keys)
    old.database.migrate()
    upload(old, 2)
    new = remade(tmp_path, database_url, runtime, keep="all", image_keys=keys)
    plan = new.rescans.plan("default", PlanSpec("all", source="kept"), actor="test")

    run(new, plan.id)

    assert new.rescans.find("default", plan.id).progress.done == 2
    assert list(versions(new).values()) == [{"1", "next"}] * 2
    for made in (old, new):
        made.database.close()


def test_an_external_id_does_not_lead_out_of_the_source(
    old: Application, tmp_path: Path, database_url: str, runtime: Runtime
) -> None:
    data = encode(picture(200, 160), "JPEG")
    (tmp_path / "secret.jpg").write_bytes(data)
    (tmp_path / "hosted").mkdir()
    old.scans.scan("default", Upload(data, context=HostContext(external_id="../secret.jpg")))
    new = remade(tmp_path, database_url, runtime)
    source = (tmp_path / "hosted").as_uri() + "/{external_id}"
    plan = new.rescans.plan("default", PlanSpec("all", source=source), actor="test")

    run(new, plan.id)

    (failure,) = new.rescans.failures("default", plan.id)
    assert (failure.code, failure.next_at) == ("no_path", None)
    new.database.close()


@pytest.mark.parametrize(
    "source", ["ftp://host/{external_id}", "https://host/pictures", "/etc/{x}", "https://h/{sha256}/{key}"]
)
def test_sources_that_cannot_be_are_refused(source: str) -> None:
    with pytest.raises(InvalidRequestError):
        PlanSpec("all", source=source)
