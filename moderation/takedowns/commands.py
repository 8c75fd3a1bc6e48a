"""`palisade takedowns`: decide on notices, confirm removals, report."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from moderation.application import Application
from moderation.commands.console import out
from moderation.errors import InvalidRequestError
from moderation.settings import settings
from moderation.tables import DEFAULT_TENANT, utc_now
from moderation.takedowns.records import STATES
from moderation.takedowns.service import NoticeView

app = typer.Typer(help="Takedown notices.", no_args_is_help=True)

ACTOR = "command line"

Tenant = Annotated[str, typer.Option(help="The tenant whose notices these are.")]
NoticeId = Annotated[str, typer.Argument(help="The notice's id, as `palisade takedowns list` shows it.")]
Reason = Annotated[str, typer.Option(help="Why; who filed the notice reads it.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.command("list")
def list_notices(
    *,
    state: Annotated[list[str] | None, typer.Option(help=f"Only of these states: {', '.join(STATES)}.")] = None,
    tenant: Tenant = DEFAULT_TENANT,
) -> None:
    """Notices by age, and the hours that are left."""
    unknown = set(state or ()) - set(STATES)
    if unknown:
        raise InvalidRequestError(f"{min(unknown)!r} is not a state.", hint=f"States are {', '.join(STATES)}.")
    now = utc_now()
    table = Table("notice", "state", "filed", "hours left", "flags")
    for notice in _app().takedowns.notices(tenant, states=state or (), limit=1_000):
        runs = notice.due_at is not None and notice.ended_at is None
        left = f"{(notice.due_at - now).total_seconds() / 3600:.1f}" if runs and notice.due_at else ""
        table.add_row(notice.id, notice.state, f"{notice.created_at:%Y-%m-%d %H:%M}", left, ", ".join(notice.flags))
    out.print(table)


@app.command()
def show(notice: NoticeId, tenant: Tenant = DEFAULT_TENANT, as_json: AsJson = False) -> None:
    """One notice: what was filed, the copies that were found, every step."""
    view = _app().takedowns.find(tenant, notice)
    if as_json:
        print(json.dumps(as_dict(view)))  # noqa: T201 - the command's result
        return
    shown = as_dict(view)
    out.print(f"{notice}: {view.notice.state}, due {shown['due_at'] or 'never'}", markup=False)
    for name, value in (shown["filing"] or {"filing": "cannot be decrypted"}).items():
        out.print(f"  {name}: {value}", markup=False)
    for copy in shown["copies"]:
        out.print(f"copy {copy['sha256']}  {copy['stage']}  {copy['state']}", markup=False)
    for step in shown["steps"]:
        out.print(f"{step['at']}  {step['action']}  {step['actor']}  {step['note'] or ''}", markup=False)


@app.command()
def accept(notice: NoticeId, reason: Reason, tenant: Tenant = DEFAULT_TENANT) -> None:
    """The notice holds: list its images, search everything hosted for copies, tell the host."""
    copies = _app().takedown_desk.accept(tenant, notice, reason, actor=ACTOR)
    for copy in copies:
        apart = "" if copy.distance is None else f"  {copy.distance} bits apart"
        out.print(f"{copy.sha256}  {copy.stage}{apart}")
    out.print(f"{notice} is accepted; {len(copies)} hosted copies found.")


@app.command()
def reject(
    notice: NoticeId,
    reason: Reason,
    *,
    abusive: Annotated[bool, typer.Option("--abusive", help="It misuses the procedure.")] = False,
    tenant: Tenant = DEFAULT_TENANT,
) -> None:
    """The notice does not hold."""
    ended = _app().takedowns.reject(tenant, notice, reason, actor=ACTOR, abusive=abusive)
    out.print(f"{notice} is {ended.state}.")


@app.command("add-image")
def add_image(
    notice: NoticeId,
    image: Annotated[str, typer.Argument(help="An image file, or the SHA-256 of one that was scanned.")],
    tenant: Tenant = DEFAULT_TENANT,
) -> None:
    """Attach an image to a notice, by its hashes, where an address did not lead to it."""
    parts, path = _app(), Path(image)
    if path.exists():
        parts.takedowns.add_image(tenant, notice, path.name, path.read_bytes(), actor=ACTOR)
    else:
        parts.takedowns.add_hosted(tenant, notice, image, actor=ACTOR)
    out.print(f"Attached to {notice}.")


@app.command()
def confirm(
    notice: NoticeId,
    *,
    removed: Annotated[list[str] | None, typer.Option(help="SHA-256 of a copy that is gone.")] = None,
    every: Annotated[bool, typer.Option("--all", help="All identical and near copies are gone.")] = False,
    kept: Annotated[
        list[str] | None, typer.Option(help="`sha256:reason` of a similar copy that is another picture.")
    ] = None,
    tenant: Tenant = DEFAULT_TENANT,
) -> None:
    """Confirm that copies are removed. Once none is left open, the clock stops."""
    parts = _app()
    gone = list(removed or ())
    if every:
        copies = parts.takedowns.find(tenant, notice).copies
        gone += [image.sha256 for copy, image in copies if copy.state == "found" and copy.stage != "similar"]
    keep = {sha256: why for sha256, _, why in (text.partition(":") for text in kept or ())}
    ended = parts.takedown_desk.confirm(tenant, notice, removed=gone, kept=keep, actor=ACTOR)
    out.print(f"{notice} is {ended.state}.")


@app.command("decide-counter")
def decide_counter(
    notice: NoticeId,
    counter: Annotated[str, typer.Argument(help="The counter-notice's id.")],
    reason: Reason,
    *,
    upheld: Annotated[
        bool, typer.Option("--uphold/--dismiss", help="Whether it holds: then the takedown is taken back.")
    ],
    tenant: Tenant = DEFAULT_TENANT,
) -> None:
    """Decide on a counter-notice."""
    desk = _app().takedown_desk
    ended = desk.decide_counter(tenant, notice, counter, upheld=upheld, reason=reason, actor=ACTOR)
    out.print(f"{notice} is {ended.state}.")


@app.command()
def report(tenant: Tenant = DEFAULT_TENANT) -> None:
    """How the 48 hours were kept, as JSON."""
    print(json.dumps(_app().takedowns.report(tenant).as_dict()))  # noqa: T201 - the command's result


def as_dict(view: NoticeView) -> dict[str, Any]:
    """A notice as JSON values."""
    notice = view.notice
    return {
        "id": notice.id,
        "state": notice.state,
        "reasons": notice.reasons,
        "flags": notice.flags,
        "due_at": notice.due_at.isoformat() if notice.due_at else None,
        "filing": view.filing.as_dict() if view.filing else None,
        "images": [{"source": image.source, "sha256": image.sha256} for image in view.images],
        "copies": [
            {"sha256": image.sha256, "stage": copy.stage, "state": copy.state, "distance": copy.distance}
            for copy, image in view.copies
        ],
        "counter_notices": [{"id": counter.id, "state": counter.state} for counter in view.counters],
        "steps": [
            {"at": step.created_at.isoformat(), "action": step.action, "actor": step.actor, "note": step.note}
            for step in view.steps
        ],
    }


def _app() -> Application:
    return Application(settings())
