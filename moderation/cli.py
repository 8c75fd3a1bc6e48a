"""The `palisade` command."""

import typer

from moderation.commands import db, keys, models, policy, prompt
from moderation.commands.console import errors_for_people
from moderation.commands.scan import scan
from moderation.commands.serve import serve
from moderation.people import commands as people

app = typer.Typer(
    help="Palisade: content moderation for image hosts.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
app.command()(scan)
app.command()(serve)
for name, group in (
    ("models", models),
    ("policy", policy),
    ("prompt", prompt),
    ("keys", keys),
    ("people", people),
    ("db", db),
):
    app.add_typer(group.app, name=name)


def main() -> None:
    """Run the command; our own errors end it with a message, not a trace."""
    with errors_for_people():
        app()
