"""The schema: migrations from nothing and from every release, on both databases."""

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory

from moderation.database import Database, DatabaseError, SchemaError, migration_config
from moderation.errors import SettingsError
from moderation.tables import Base


def test_migrations_make_the_tables_that_the_code_has(empty_database: Database) -> None:
    empty_database.migrate()

    with empty_database.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, Base.metadata) == []


def test_a_database_without_a_schema_is_refused_with_the_command_to_run(empty_database: Database) -> None:
    with pytest.raises(SchemaError, match="is at nothing") as refusal:
        empty_database.check_schema()

    assert "palisade db upgrade" in refusal.value.hint


def test_migrating_twice_changes_nothing(empty_database: Database) -> None:
    empty_database.migrate()
    empty_database.migrate()

    empty_database.check_schema()


def test_the_first_tenant_is_there(empty_database: Database) -> None:
    empty_database.migrate()

    with empty_database.read() as session:
        assert session.execute(sa.text("select id from tenants")).scalars().all() == ["default"]


def test_there_is_one_line_of_migrations() -> None:
    script = ScriptDirectory.from_config(migration_config())

    assert len(script.get_heads()) == 1
    assert len(script.get_bases()) == 1


def test_every_table_belongs_to_a_tenant() -> None:
    without = {table.name for table in Base.metadata.tables.values() if "tenant_id" not in table.columns}

    assert without == {"tenants", "leases", "policies_seen"}


@pytest.mark.parametrize("url", ["mysql://host/name", "not a url"])
def test_other_databases_are_refused(url: str) -> None:
    with pytest.raises(SettingsError):
        Database(url)


def test_a_failed_block_leaves_nothing(database: Database) -> None:
    with pytest.raises(RuntimeError), database.write() as session:
        session.execute(sa.text("insert into tenants (id, name, created_at) values ('t', 't', '2026-01-01')"))
        raise RuntimeError

    with database.read() as session:
        assert session.execute(sa.text("select count(*) from tenants")).scalar_one() == 1


def test_a_database_that_does_not_answer_is_said_to_and_shows_no_password() -> None:
    database = Database("postgresql+psycopg://user:hunter2@127.0.0.1:1/name")

    with pytest.raises(DatabaseError, match="does not answer") as refusal:
        database.check_schema()

    assert refusal.value.http_status == 503
    assert "hunter2" not in refusal.value.message


def test_a_schema_of_a_newer_version_is_fine_and_left_alone(database: Database) -> None:
    with database.engine.begin() as connection:
        connection.execute(sa.text("update alembic_version set version_num = '9999'"))

    database.check_schema()
    database.migrate()

    with database.engine.connect() as connection:
        assert connection.scalar(sa.text("select version_num from alembic_version")) == "9999"


def test_revisions_are_numbers_that_sort() -> None:
    scripts = list(ScriptDirectory.from_config(migration_config()).walk_revisions())

    assert all(script.revision.isdigit() and len(script.revision) == 4 for script in scripts)
    assert all((script.down_revision or "") < script.revision for script in scripts)
