"""Backup of an embedded database while it is in use, and restoring one into an empty place.

PostgreSQL has tools of its own (`pg_dump`, `pg_restore`, or a replica with archived logs): deploy/README.md.
People's keys and kept images are elsewhere and no part of this: a backup with both would undo a deletion.
"""

import sqlite3
import uuid
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from alembic.script import ScriptDirectory
from sqlalchemy import make_url

from moderation.database import migration_config
from moderation.errors import ModerationError


class BackupError(ModerationError):
    """A backup cannot be made or restored."""

    code = "backup_impossible"
    status = 409


def backup(url: str, target: Path) -> int:
    """Copy the database as it is at one moment into a new file that only its owner may read; gives its bytes.

    The file appears whole and checked, or not at all. Raises BackupError.
    """
    source = _file_of(url)
    if not source.is_file():
        raise BackupError(f"There is no database at {source}.", hint="Is PALISADE_DATABASE_URL right?")
    if target.exists():
        raise BackupError(f"{target} is there already.", hint="Name a new file: a backup does not replace another.")
    with _replacing(target) as part:
        _copy(source, part)
    return target.stat().st_size


def restore(url: str, source: Path) -> str:
    """Put a backup in the place of a database that is absent or has no table; gives the revision of its schema.

    Raises BackupError where there is a database, or where the file is no whole backup of this or an older version.
    """
    target = _file_of(url)
    revision = _checked(source)
    if target.exists() and _tables(target):
        raise BackupError(
            f"{target} holds a database.", hint="Stop every process, move it (and its -wal and -shm) away, and restore."
        )
    target.parent.mkdir(parents=True, exist_ok=True)
    with _replacing(target) as part:
        _copy(source, part)
    for rest in ("-wal", "-shm"):
        target.with_name(target.name + rest).unlink(missing_ok=True)
    return revision


def _file_of(url: str) -> Path:
    parsed = make_url(url)
    if parsed.get_backend_name() != "sqlite" or not parsed.database:
        raise BackupError(
            f"This backs up SQLite files, not {parsed.get_backend_name()}.",
            hint="For PostgreSQL use pg_dump and pg_restore, as in deploy/README.md.",
        )
    return Path(parsed.database)


@contextmanager
def _replacing(target: Path) -> Iterator[Path]:
    """A new file beside the target that becomes it when the block ends well."""
    part = target.with_name(f"{target.name}.{uuid.uuid4().hex}.part")
    try:
        part.touch(mode=0o600, exist_ok=False)
        yield part
        part.replace(target)
    except OSError as error:
        raise BackupError(
            f"{target} cannot be written: {error.strerror}.", hint="See the folder and free space."
        ) from None
    finally:
        part.unlink(missing_ok=True)


def _copy(source: Path, target: Path) -> None:
    """Copy with SQLite's backup interface; the copy is one file, and is read through once."""
    try:
        with _open(source) as old, closing(sqlite3.connect(target)) as new:
            # In one step: the write-ahead log lets writers go on meanwhile; in several, each write would start it anew.
            old.backup(new)
            new.execute("pragma journal_mode=delete")
            found = new.execute("pragma integrity_check").fetchone()[0]
    except sqlite3.Error as error:
        raise BackupError(
            f"{source} cannot be copied: {error}.", hint="See free space, and whether it is damaged."
        ) from None
    if found != "ok":
        raise BackupError(f"The copy of {source} is damaged: {found}.", hint="Take an older backup.")


def _checked(source: Path) -> str:
    """The revision of a backup's schema. Raises BackupError when it is none, or newer than this version."""
    if not source.is_file():
        raise BackupError(f"There is no file {source}.")
    try:
        with _open(source) as connection:
            row = connection.execute("select version_num from alembic_version").fetchone()
    except sqlite3.Error as error:
        raise BackupError(f"{source} is no backup of Palisade's database: {error}.") from None
    known = {script.revision for script in ScriptDirectory.from_config(migration_config()).walk_revisions()}
    if row is None or row[0] not in known:
        raise BackupError(
            f"The schema of {source} is at {row[0] if row else 'nothing'}, which this version does not know.",
            hint="Restore it with the version that made it, or a newer one.",
        )
    return str(row[0])


def _tables(path: Path) -> list[str]:
    try:
        with _open(path) as connection:
            return [name for (name,) in connection.execute("select name from sqlite_master where type = 'table'")]
    except sqlite3.Error as error:
        raise BackupError(f"{path} is there, and is no database: {error}.", hint="Move it away.") from None


@contextmanager
def _open(path: Path) -> Iterator[sqlite3.Connection]:
    """A connection that never makes a file and never writes one."""
    with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=30)) as connection:
        yield connection
