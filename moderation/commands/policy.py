"""`palisade policy`: check policies, and see how one comes to its verdict."""

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from moderation import media
from moderation.application import Application
from moderation.commands.console import COLOURS, out, say_error
from moderation.errors import InvalidRequestError, ModerationError
from moderation.media import MediaLimits
from moderation.policy import Explanation, explain
from moderation.scanner import image_facts
from moderation.settings import settings

app = typer.Typer(help="The host's rules.", no_args_is_help=True)

MARKS = {True: "✓", False: "✗", None: "?"}


@app.command("list")
def list_policies() -> None:
    """The policies there are: shipped ones, and those of PALISADE_POLICIES_DIR."""
    library = Application(settings()).policies
    table = Table("name", "version", "rules", "keeps", "what it is for")
    for name in library.names():
        policy = library.get(name)
        table.add_row(
            name, str(policy.version), str(len(policy.rules)), policy.keep, " ".join(policy.description.split())
        )
    out.print(table)


@app.command()
def check(
    policies: Annotated[
        list[str] | None, typer.Argument(help="Names or files; all known ones when none is given.")
    ] = None,
) -> None:
    """Load policies and hold their examples against them. Exit code 1 when one cannot be shipped."""
    library = Application(settings()).policies
    failed = False
    for name in policies or library.names():
        try:
            policy = library.read(name)
        except ModerationError as error:
            failed = True
            say_error(error)
        else:
            out.print(f"{policy.name} version {policy.version}: {len(policy.rules)} rules, all examples hold.")
    if failed:
        raise typer.Exit(1)


@app.command("explain")
def explain_verdict(
    image: Annotated[Path, typer.Argument(help="An image file.")],
    policy: Annotated[str, typer.Option(help="A policy's name or file. Default: PALISADE_POLICY.")] = "",
    surface: Annotated[str, typer.Option(help="Where the image would be shown.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Scan an image and say, rule by rule and condition by condition, how the policy comes to its verdict."""
    application = Application(settings())
    rules = application.policies.read(policy) if policy else application.policies.get("")
    context = {"surface": surface} if surface else {}
    try:
        data = image.read_bytes()
    except OSError as error:
        raise InvalidRequestError(f"{image} cannot be read: {error.strerror}.") from error
    opened = media.open(data, MediaLimits.of(application.settings), name=image.name)
    measured = application.scanner.measure(opened, rules, context)
    explanation = explain(rules, measured.findings, context, image_facts(opened))
    if as_json:
        print(json.dumps(explanation.as_dict()))  # noqa: T201 - the command's result
    else:
        show(explanation)


def show(explanation: Explanation) -> None:
    """Every rule with its conditions and the values they read."""
    for rule in explanation.rules:
        style = COLOURS[rule.action] if rule.outcome == "fired" else "dim"
        out.print(Text.assemble((rule.rule, f"bold {style}"), f"  {rule.outcome}", (f"  ({rule.action})", "dim")))
        for condition in rule.conditions:
            values = ", ".join(f"{name} = {value}" for name, value in condition.members.items())
            line = f"  {MARKS[condition.value]} {' '.join(condition.text.split())}"
            out.print(
                Text.assemble(line, (f"   [{values}]" if values else "", "dim"), (f"  {condition.why}", "yellow"))
            )
    action = explanation.verdict.action
    out.print(Text.assemble("\nverdict: ", (action, f"bold {COLOURS[action]}")))
