"""Backup and restore rehearsed on both databases: what was there is there again, and who was deleted stays forgotten."""

import shutil
import subprocess
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from moderation.backup import backup, restore
from moderation.database import Database
from moderation.people.gallery import Galleries
from moderation.people.service import PeopleService
from moderation.tables.base import Base
from tests.conftest import required
from tests.moderation.people.conftest import applicant, photo

Rehearse = Callable[[], str]


def counts(database: Database) -> dict[str, int]:
    """Rows of every table."""
    with database.read() as session:
        return {
            table.name: session.scalar(sa.select(sa.func.count()).select_from(table)) or 0
            for table in Base.metadata.sorted_tables
        }


@pytest.fixture
def rehearse(database_url: str, tmp_path: Path) -> Iterator[tuple[Rehearse, Rehearse]]:
    """Two steps, as deploy/README.md has them: make a backup; restore it into an empty database and give its URL."""
    file = tmp_path / "palisade.backup"
    if database_url.startswith("sqlite"):
        elsewhere = f"sqlite:///{tmp_path / 'restored' / 'palisade.db'}"
        yield lambda: str(backup(database_url, file)), lambda: restore(elsewhere, file) and elsewhere
        return
    if not (shutil.which("pg_dump") and shutil.which("pg_restore")):
        message = "pg_dump and pg_restore are not installed"
        if required("SERVICES"):
            pytest.fail(message)
        pytest.skip(message)
    url = sa.make_url(database_url)
    other = url.set(database=f"test_{uuid.uuid4().hex}")
    server = sa.create_engine(url, isolation_level="AUTOCOMMIT")

    def dump() -> str:
        run("pg_dump", "--format=custom", f"--file={file}", f"--dbname={plain(url)}")
        return str(file)

    def load() -> str:
        with server.connect() as connection:
            connection.execute(sa.text(f"create database {other.database}"))
        run("pg_restore", "--exit-on-error", "--no-owner", f"--dbname={plain(other)}", str(file))
        return other.render_as_string(hide_password=False)

    yield dump, load
    with server.connect() as connection:
        connection.execute(sa.text(f"drop database if exists {other.database} with (force)"))
    server.dispose()


def plain(url: sa.URL) -> str:
    return url.set(drivername="postgresql").render_as_string(hide_password=False)


def run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True)


def test_a_restore_brings_everything_back_but_who_was_deleted(
    service: PeopleService, database: Database, crops: list, rehearse: tuple[Rehearse, Rehearse]
) -> None:
    make, load = rehearse
    kept, deleted = (
        service.enrol("default", applicant(), [photo(face) for face in faces[:2]], actor="key_1").person.id
        for faces in crops[:2]
    )
    before = counts(database)
    make()
    service.delete("default", deleted, actor="key_1")

    restored = Database(load())
    restored.migrate()

    assert counts(restored) == before
    assert before["face_templates"] == 4, "the rows of whoever was deleted came back with the backup"
    galleries = Galleries(restored, service.keys, service.desk.likeness.runtime.identity("sface"))
    service.desk.likeness.attach(galleries)
    after = PeopleService(restored, service.keys, galleries, service.desk)
    assert after.find("default", kept).name == "C. Person"
    forgotten = after.find("default", deleted)
    assert (forgotten.name, forgotten.consent) == (None, None)
    assert "was destroyed" in forgotten.problem
    assert list(galleries.unreadable("default")) == [deleted]
    matched = [
        finding.evidence.get("person")
        for face in (crops[0][4], crops[1][4])
        for finding in after.resembled("default", photo(face), actor="key_1")
        if finding.status == "ok"
    ]
    assert matched == [kept], "the one is protected again, the other cannot be: the key is gone"
    after.delete("default", deleted, actor="key_1")
    assert counts(restored)["face_templates"] == 2
    restored.close()
