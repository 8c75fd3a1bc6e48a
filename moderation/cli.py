"""The `palisade` command."""

import typer

from moderation.accounts import commands as accounts
from moderation.banks import commands as banks
from moderation.commands import db, events, keys, models, policy, prompt, train
from moderation.commands.chores import chores
from moderation.commands.console import errors_for_people
from moderation.commands.demo import demo
from moderation.commands.evaluate import evaluate
from moderation.commands.scan import scan
from moderation.commands.serve import serve
from moderation.commands.worker import beat, worker
from moderation.exchanges import commands as exchanges
from moderation.jobs import commands as jobs
from moderation.people import commands as people
from moderation.rescans import commands as rescans
from moderation.rescans.import_command import import_images
from moderation.reviews import commands as reviews
from moderation.takedowns import commands as takedowns

app = typer.Typer(
    help="Palisade: content moderation for image hosts.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
app.command()(scan)
app.command()(serve)
app.command()(evaluate)
app.command()(chores)
app.command()(demo)
app.command("import")(import_images)
app.command()(worker)
app.command()(beat)
for name, group in (
    ("models", models),
    ("policy", policy),
    ("prompt", prompt),
    ("keys", keys),
    ("accounts", accounts),
    ("people", people),
    ("banks", banks),
    ("exchanges", exchanges),
    ("takedowns", takedowns),
    ("reviews", reviews),
    ("rescans", rescans),
    ("jobs", jobs),
    ("events", events),
    ("db", db),
    ("train", train),
):
    app.add_typer(group.app, name=name)


def main() -> None:
    """Run the command; our own errors end it with a message, not a trace."""
    with errors_for_people():
        app()
