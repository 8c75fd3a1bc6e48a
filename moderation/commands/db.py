"""`palisade db`: the database's schema."""

from pathlib import Path
from typing import Annotated

import typer

from moderation import backup as backups
from moderation.application import Application
from moderation.commands.console import out
from moderation.settings import settings

app = typer.Typer(help="The database's schema.", no_args_is_help=True)


@app.command()
def upgrade() -> None:
    """Bring the schema forward to what this version needs. Safe to run again."""
    database = Application(settings()).database
    database.migrate()
    out.print(f"The schema of {database.engine.url.render_as_string()} is current.")


@app.command()
def check() -> None:
    """Whether the schema is what this version needs. Exit code 1 when not."""
    Application(settings()).database.check_schema()
    out.print("The schema is current.")


@app.command()
def backup(file: Annotated[Path, typer.Argument(help="The file to make; it must not be there yet.")]) -> None:
    """Back up an embedded (SQLite) database while it is in use. People's keys and kept images are no part of it."""
    size = backups.backup(settings().database, file)
    out.print(f"{file} holds the database as of now: {size:,} bytes, checked.", soft_wrap=True)


@app.command()
def restore(file: Annotated[Path, typer.Argument(help="A file that `palisade db backup` made.")]) -> None:
    """Restore a backup where there is no embedded (SQLite) database. Then bring its schema forward with `palisade db upgrade`."""
    revision = backups.restore(settings().database, file)
    out.print(f"{file} is restored; its schema is at {revision}. Run `palisade db upgrade`.", soft_wrap=True)
