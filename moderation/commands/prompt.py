"""`palisade prompt`: check what a prompt asks an image generator for."""

import json
import sys
from typing import Annotated

import typer

from detectors.prompts import check_prompt
from moderation.application import Application
from moderation.commands.console import out
from moderation.settings import settings

app = typer.Typer(help="Prompts for image generators.", no_args_is_help=True)

EXIT_REFUSED = 12


@app.callback()
def prompts() -> None:
    """Prompts for image generators."""


@app.command()
def check(
    prompt: Annotated[str, typer.Argument(help="The prompt; `-` reads it from standard input.")],
    negative: Annotated[str, typer.Option(help="What the generator is told to avoid.")] = "",
    tenant: Annotated[
        str, typer.Option(help="Hold it against the names of this tenant's enrolled people too; needs the database.")
    ] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Check a prompt. Exit code 0 when it may run, 12 when it is refused. Nothing of it is kept."""
    text = sys.stdin.buffer.read().decode("utf-8", "replace") if prompt == "-" else prompt
    verdict = Application(settings()).prompts.check(tenant, text, negative) if tenant else check_prompt(text, negative)
    if as_json:
        answer = {"allowed": verdict.allowed, "rule": verdict.rule, "reason": verdict.reason}
        print(json.dumps(answer))  # noqa: T201 - the command's result
    else:
        out.print("allowed" if verdict.allowed else f"refused by {verdict.rule}: {verdict.reason}", soft_wrap=True)
    if not verdict.allowed:
        raise typer.Exit(EXIT_REFUSED)
