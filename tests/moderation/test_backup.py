"""Backing up an embedded database in use, and restoring it: whole, checked, never over another."""

import sqlite3
import stat
import threading
from contextlib import closing
from pathlib import Path

import pytest
import sqlalchemy as sa

from moderation import events
from moderation.backup import BackupError, backup, restore
from moderation.database import Database
from moderation.tables import Event


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'live' / 'palisade.db'}"


@pytest.fixture
def live(url: str) -> Database:
    database = Database(url)
    database.migrate()
    tell(database, 3)
    yield database
    database.close()


def tell(database: Database, count: int) -> None:
    with database.write() as session:
        for number in range(count):
            events.add(session, "default", "test.told", {"number": number})


def count(url: str) -> int:
    database = Database(url)
    with database.read() as session:
        found = session.scalar(sa.select(sa.func.count()).select_from(Event))
    database.close()
    return found or 0


def test_what_is_restored_is_what_was_there(live: Database, url: str, tmp_path: Path) -> None:
    file, elsewhere = tmp_path / "a.backup", f"sqlite:///{tmp_path / 'new' / 'palisade.db'}"

    size = backup(url, file)
    tell(live, 5)
    revision = restore(elsewhere, file)

    assert size == file.stat().st_size > 0
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert (count(elsewhere), count(url)) == (3, 8)
    restored = Database(elsewhere)
    restored.check_schema()
    tell(restored, 1)
    restored.close()
    assert revision
    assert [path.name for path in tmp_path.iterdir() if ".part" in path.name] == []


def test_a_backup_while_others_write_is_of_one_moment(live: Database, url: str, tmp_path: Path) -> None:
    stop = threading.Event()

    def write() -> None:
        while not stop.is_set():
            tell(live, 2)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for number in range(5):
            backup(url, tmp_path / f"{number}.backup")
    finally:
        stop.set()
        writer.join()

    counts = [count(f"sqlite:///{tmp_path / f'{number}.backup'}") for number in range(5)]
    assert counts == sorted(counts)
    assert all(found % 2 == 1 for found in counts), "three at first, then two at a time: half of a pair is never seen"


def test_a_backup_does_not_replace_a_file(live: Database, url: str, tmp_path: Path) -> None:
    file = tmp_path / "a.backup"
    file.write_text("precious")

    with pytest.raises(BackupError, match=r"a\.backup is there already"):
        backup(url, file)
    assert file.read_text() == "precious"


def test_there_is_nothing_to_back_up(url: str, tmp_path: Path) -> None:
    with pytest.raises(BackupError, match="There is no database at"):
        backup(url, tmp_path / "a.backup")
    assert list(tmp_path.iterdir()) == []


def test_a_database_is_never_restored_over(live: Database, url: str, tmp_path: Path) -> None:
    backup(url, tmp_path / "a.backup")

    with pytest.raises(BackupError, match="holds a database"):
        restore(url, tmp_path / "a.backup")
    assert count(url) == 3


def test_damaged_backups_are_refused(live: Database, url: str, tmp_path: Path) -> None:
    file, target = tmp_path / "a.backup", tmp_path / "new.db"
    backup(url, file)
    whole = file.read_bytes()

    for damaged in (
        b"",
        b"not a database at all",
        whole[: len(whole) // 2],
        whole[:8192] + b"\xff" * 40_000 + whole[48_192:],
    ):
        file.write_bytes(damaged)
        with pytest.raises(BackupError):
            restore(f"sqlite:///{target}", file)
        assert not target.exists()
    with pytest.raises(BackupError, match="There is no file"):
        restore(f"sqlite:///{target}", tmp_path / "absent")


def test_a_backup_of_a_newer_version_is_refused(live: Database, url: str, tmp_path: Path) -> None:
    backup(url, tmp_path / "a.backup")
    with closing(sqlite3.connect(tmp_path / "a.backup")) as connection:
        connection.execute("update alembic_version set version_num = '9999'")
        connection.commit()

    with pytest.raises(BackupError, match="9999, which this version does not know") as refusal:
        restore(f"sqlite:///{tmp_path / 'new.db'}", tmp_path / "a.backup")
    assert "newer" in refusal.value.hint


def test_a_folder_that_is_not_there_is_said(live: Database, url: str, tmp_path: Path) -> None:
    with pytest.raises(BackupError, match="cannot be written: No such file"):
        backup(url, tmp_path / "absent" / "a.backup")


def test_postgresql_has_tools_of_its_own(tmp_path: Path) -> None:
    for act in (backup, restore):
        with pytest.raises(BackupError, match="not postgresql") as refusal:
            act("postgresql+psycopg://u:secret@h/d", tmp_path / "a.backup")
        assert "pg_dump" in refusal.value.hint
        assert "secret" not in str(refusal.value)
