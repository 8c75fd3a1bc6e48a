"""The database: one engine, two kinds of transaction, and the schema's migrations."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import alembic.command
import alembic.config
import sqlalchemy as sa
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Engine, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError, OperationalError
from sqlalchemy.orm import Session, sessionmaker

from moderation.errors import ModerationError, SettingsError

WRITE_SECONDS = 30
"""How long a writer waits for its turn on SQLite."""

MIGRATIONS = Path(__file__).with_name("migrations")


class SchemaError(ModerationError):
    """The database's schema is not the one that this version of Palisade works with."""

    code = "schema_outdated"
    status = 503


class DatabaseError(ModerationError):
    """The database does not answer."""

    code = "database_unavailable"
    status = 503


class Database:
    """Sessions on SQLite (embedded) or PostgreSQL (production).

    A transaction is short: nothing is measured, fetched or awaited inside one. `read` never blocks a writer;
    `write` takes SQLite's write lock at once, so that it waits for its turn rather than fail half-way.
    """

    def __init__(self, url: str, *, pool: int = 10) -> None:
        self.engine = make_engine(url, pool=pool)
        self._sessions = sessionmaker(self.engine, expire_on_commit=False)
        self._turn = threading.Lock() if self.engine.dialect.name == "sqlite" else None

    @contextmanager
    def read(self) -> Iterator[Session]:
        """A session whose work is thrown away at the end."""
        with self._sessions() as session:
            yield session

    @contextmanager
    def write(self) -> Iterator[Session]:
        """A session that commits at the end, or rolls back when the block raises."""
        with self._writers_turn(), self._sessions() as session:
            session.connection(execution_options={"palisade_write": True})
            yield session
            session.commit()

    @contextmanager
    def _writers_turn(self) -> Iterator[None]:
        """On SQLite the writers of a process queue here, without a connection: SQLite's own waiting polls, and is unfair."""
        if self._turn is None:
            yield
            return
        if not self._turn.acquire(timeout=WRITE_SECONDS):
            raise DatabaseError(
                f"Others wrote for more than {WRITE_SECONDS} seconds.", hint="Try again; or move to PostgreSQL."
            )
        try:
            yield
        finally:
            self._turn.release()

    def migrate(self) -> None:
        """Bring the schema forward to the newest version. One that a newer version of Palisade made is left as it is."""
        with self.engine.begin() as connection:
            if (MigrationContext.configure(connection).get_current_revision() or "") > newest_revision():
                return
            config = migration_config()
            config.attributes["connection"] = connection
            alembic.command.upgrade(config, "head")

    def check_schema(self) -> None:
        """Raises SchemaError when the schema is older than this version, DatabaseError when the database does not answer.

        A newer one is fine: while a release rolls out, old processes go on under its schema, which only adds to theirs.
        """
        head = newest_revision()
        try:
            with self.engine.connect() as connection:
                current = MigrationContext.configure(connection).get_current_revision()
        except OperationalError as error:
            raise DatabaseError(
                f"The database {self.engine.url.render_as_string()} does not answer: {type(error.orig).__name__}.",
                hint="Is it running, and is PALISADE_DATABASE_URL right?",
            ) from error
        if (current or "") < head:
            raise SchemaError(
                f"The database's schema is at {current or 'nothing'}, this version needs {head}.",
                hint="Run `palisade db upgrade`.",
            )

    def close(self) -> None:
        self.engine.dispose()


def clock(session: Session) -> datetime:
    """The database's clock, the same for all processes; on SQLite, this machine's."""
    if session.get_bind().dialect.name == "sqlite":
        return datetime.now(UTC)
    moment: datetime = session.execute(sa.select(sa.func.clock_timestamp())).scalar_one()
    return moment


def newest_revision() -> str:
    """The schema's revision that this version was written for. Revisions are numbers of four digits, so they sort."""
    return ScriptDirectory.from_config(migration_config()).get_current_head() or ""


def migration_config() -> alembic.config.Config:
    """Alembic's configuration for our migrations, without a file."""
    config = alembic.config.Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    return config


def make_engine(url: str, *, pool: int = 10) -> Engine:
    """An engine for a SQLAlchemy URL. Raises SettingsError when it is none, or of another database."""
    try:
        kind = make_url(url).get_backend_name()
    except ArgumentError:
        raise SettingsError(
            "PALISADE_DATABASE_URL is not a database URL.",
            hint="Write `sqlite:///path` or `postgresql+psycopg://user:password@host/name`.",
        ) from None
    if kind == "postgresql":
        return create_engine(make_url(url).set(drivername="postgresql+psycopg"), pool_size=pool, pool_pre_ping=True)
    if kind != "sqlite":
        raise SettingsError(f"PALISADE_DATABASE_URL names {kind}.", hint="SQLite and PostgreSQL are supported.")
    database = make_url(url).database
    if database:
        Path(database).parent.mkdir(parents=True, exist_ok=True)
    return _sqlite_engine(url)


def _sqlite_engine(url: str) -> Engine:
    engine = create_engine(url, connect_args={"timeout": 30, "check_same_thread": False})

    @event.listens_for(engine, "connect")
    def configure(connection: Any, _record: Any) -> None:
        # We begin transactions ourselves: the driver's own deferred BEGIN fails when a reader turns writer.
        connection.isolation_level = None
        for pragma in ("journal_mode=WAL", "synchronous=NORMAL", "foreign_keys=ON", "busy_timeout=30000"):
            connection.execute(f"PRAGMA {pragma}").close()

    @event.listens_for(engine, "begin")
    def begin(connection: Any) -> None:
        writes = connection.get_execution_options().get("palisade_write", False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    return engine
