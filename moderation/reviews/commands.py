"""`palisade reviews`: look at the queue."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from datetime import datetime, timedelta
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from moderation.application import Application
from moderation.commands.console import out
from moderation.errors import InvalidRequestError
from moderation.reviews.priority import explained
from moderation.reviews.records import STATES, WAITING, CaseView
from moderation.roles import Person, Role
from moderation.settings import settings
from moderation.tables import DEFAULT_TENANT, ReviewCase, utc_now

app = typer.Typer(help="Cases that people decide.", no_args_is_help=True)

Tenant = Annotated[str, typer.Option(help="The tenant whose cases these are.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Days = Annotated[int, typer.Option(min=1, max=3_650, help="Of so many days until now.")]

OPERATOR = frozenset({Role.SENIOR, Role.AUDITOR})
"""Whoever runs commands on this machine reads the database anyhow."""


@app.command("list")
def list_cases(
    *,
    queue: Annotated[str, typer.Option(help="Only of this queue.")] = "",
    state: Annotated[
        list[str] | None, typer.Option(help=f"Only of these states: {', '.join(STATES)}. Default: those that wait.")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="At most so many.")] = 50,
    tenant: Tenant = DEFAULT_TENANT,
) -> None:
    """Cases in the order in which they are given out."""
    unknown = set(state or ()) - set(STATES)
    if unknown:
        raise InvalidRequestError(f"{min(unknown)!r} is not a state.", hint=f"States are {', '.join(STATES)}.")
    now = utc_now()
    table = Table("case", "queue", "severity", "state", "due", "holder")
    for case in _app().reviews.cases(_operator(tenant), queue=queue, states=state or WAITING, limit=limit):
        due = explained(case, now)[0].words if case.rank is not None else ""
        table.add_row(case.id, case.queue, str(case.severity), case.state, due, _holder(case, now))
    out.print(table)


@app.command()
def show(
    case: Annotated[str, typer.Argument(help="The case's id, as `palisade reviews list` shows it.")],
    tenant: Tenant = DEFAULT_TENANT,
    as_json: AsJson = False,
) -> None:
    """One case: why it stands where it stands, its images by their hashes, every decision."""
    shown = as_dict(_app().reviews.show(_operator(tenant), case))
    if as_json:
        print(json.dumps(shown))  # noqa: T201 - the command's result
        return
    out.print(
        f"{case}: {shown['state']}, {shown['queue']}, {shown['harm']}, severity {shown['severity']}", markup=False
    )
    for factor in shown["priority"]:
        out.print(f"  {factor['points']:+8.2f}  {factor['words']}", markup=False)
    for image in shown["images"]:
        out.print(f"image {image['sha256']}  {image['stage']}  {image['action']}  sent {image['times']} times")
    for made in shown["decisions"]:
        why = made["clause"] or made["reason"]
        out.print(f"{made['at']}  {made['reviewer']}  {made['outcome']}  {made['state']}  {why}", markup=False)


@app.command()
def stats(days: Days = 7, tenant: Tenant = DEFAULT_TENANT) -> None:
    """What waits, what was done, how well people agree and detectors do, as JSON."""
    now = utc_now()
    since, until = now - timedelta(days=days), now + timedelta(seconds=1)
    figures = _app().review_figures.figures(tenant, since, until, reader=_operator(tenant))
    print(json.dumps(figures.as_dict()))  # noqa: T201 - the command's result


@app.command()
def backtest(
    policy: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="A draft policy's file.")],
    days: Days = 30,
    tenant: Tenant = DEFAULT_TENANT,
) -> None:
    """Judge what was scanned under a draft: which verdicts would change, as JSON."""
    now = utc_now()
    draft = policy.read_text(encoding="utf-8", errors="replace")
    result = _app().backtests.run(tenant, draft, now - timedelta(days=days), now + timedelta(seconds=1))
    print(json.dumps(result.as_dict()))  # noqa: T201 - the command's result


@app.command()
def training(
    *,
    out_file: Annotated[
        Path | None,
        typer.Option("--out", dir_okay=False, help="Write a manifest for `train head` and `evaluate`: CSV."),
    ] = None,
    label: Annotated[str, typer.Option(help="Of the manifest: cases that this detector's label led to.")] = "",
    images: Annotated[
        Path | None,
        typer.Option(file_okay=False, help="Decrypt the kept images into this folder, and name their files."),
    ] = None,
    generated: Annotated[
        bool, typer.Option("--generated", help="Write the labels `generated` and `real`, as `evaluate` takes them.")
    ] = False,
    tenant: Tenant = DEFAULT_TENANT,
) -> None:
    """Decisions that may train detectors, one JSON line each, or as a manifest: only what the host let be used."""
    service = _app().review_training
    if out_file is None:
        if label or images or generated:
            raise InvalidRequestError("No manifest is asked for.", hint="Name its file with --out.")
        for lesson in service.lessons(tenant):
            print(json.dumps(lesson.as_dict()))  # noqa: T201 - the command's result
        return
    if not label:
        raise InvalidRequestError("The manifest is of no label.", hint="Name one with --label, such as nsfw.")
    written = service.write(tenant, label, out_file, images=images, generated=generated)
    kept = f"; {written.not_kept} more are not kept" if images else ""
    out.print(
        f"{out_file}: {written.shown} images that show it, {written.others} others{kept}.",
        markup=False,
        highlight=False,
    )


def as_dict(view: CaseView) -> Mapping[str, Any]:
    """A case as JSON values."""
    case = view.case
    return {
        "id": case.id,
        "kind": case.kind,
        "queue": case.queue,
        "harm": case.harm,
        "severity": case.severity,
        "state": case.state,
        "due_at": case.due_at.isoformat(),
        "outcome": case.outcome,
        "effect": case.effect,
        "priority": [asdict(factor) for factor in explained(case, utc_now())],
        "images": [
            {"sha256": image.sha256, "stage": image.stage, "action": image.action, "times": image.times}
            for image in view.images
        ],
        "decisions": [
            {
                "at": made.created_at.isoformat(),
                "reviewer": made.reviewer,
                "outcome": made.outcome,
                "clause": made.clause,
                "reason": made.reason,
                "state": made.state,
            }
            for made in view.decisions
        ],
    }


def _holder(case: ReviewCase, now: datetime) -> str:
    held = case.lease_until is not None and case.lease_until > now
    return (case.holder or "") if held else ""


def _operator(tenant: str) -> Person:
    return Person("command line", tenant, "The operator", OPERATOR)


def _app() -> Application:
    return Application(settings())
