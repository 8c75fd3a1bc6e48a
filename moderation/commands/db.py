"""`palisade db`: the database's schema."""

import typer

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
