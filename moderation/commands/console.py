"""How commands talk to people: results on standard output, progress and errors on standard error."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.text import Text

from moderation.errors import ModerationError

out = Console()
err = Console(stderr=True)

COLOURS = {"allow": "green", "label": "cyan", "restrict": "yellow", "hold": "dark_orange", "block": "red"}


def say_error(error: ModerationError) -> None:
    """The error and its mend, for a person."""
    err.print(Text.assemble((f"{error.error_code}: ", "bold red"), error.message))
    if error.hint:
        err.print(Text.assemble(("  → ", "dim"), error.hint))


@contextmanager
def errors_for_people() -> Iterator[None]:
    """Turns our errors into a message and exit code 1; anything else is a defect and keeps its trace."""
    try:
        yield
    except ModerationError as error:
        say_error(error)
        sys.exit(1)
