"""The `palisade` command whole: the domain's commands and the generator's, which may not import each other."""

from generator.commands import dataset, generate
from generator.contracts import Installation
from moderation.application import Application
from moderation.cli import app
from moderation.commands.console import errors_for_people
from moderation.people.protected import Protected, everybody
from moderation.settings import settings

app.add_typer(generate, name="generate")
app.add_typer(dataset, name="dataset")


def main() -> None:
    """Run the command; our own errors end it with a message, not a trace."""
    with errors_for_people():
        app(obj=installation)


def installation() -> Installation:
    """What this process's settings say; nothing is opened before it is asked for."""
    return Installation(settings().models, _protected)


def _protected() -> Protected:
    return everybody(Application(settings()))


if __name__ == "__main__":
    main()
