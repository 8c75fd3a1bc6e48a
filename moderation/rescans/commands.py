"""`palisade rescans`: plan re-scans, see beforehand what they would do, run and follow them."""

import json
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Annotated

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Column, Table

from moderation.application import Application
from moderation.commands.console import err, out
from moderation.policy import ACTIONS
from moderation.rescans.records import WITH, PlanSpec, PlanView, failure_as_dict
from moderation.settings import settings
from moderation.tables import DEFAULT_TENANT

app = typer.Typer(help="Re-scans of what is hosted.", no_args_is_help=True)

ACTOR = "command line"

SLICE = 1.0
"""Seconds after which a run looks whether it is to end."""

PlanId = Annotated[str, typer.Argument(help="The re-scan's id, as `palisade rescans list` shows it.")]
Tenant = Annotated[str, typer.Option(help="The tenant whose images these are.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]

Using = Annotated[str, typer.Argument(help=f"What is new: {', '.join(WITH)}.")]
Detectors = Annotated[
    list[str] | None, typer.Option("--detector", help="A detector that measures anew, for `head` and `model`.")
]
Since = Annotated[datetime | None, typer.Option(help="Only what was scanned since then, UTC.")]
Surface = Annotated[str, typer.Option(help="Only images of this surface.")]
Action = Annotated[str, typer.Option(help=f"Only images whose verdict is this: {', '.join(ACTIONS)}.")]
Sample = Annotated[float, typer.Option(help="Share of the images, drawn by chance, in (0, 1].")]
Policy = Annotated[
    str, typer.Option(help="Judge by the policy of this name. Default: the one that each was judged by.")
]
SinceEntry = Annotated[int, typer.Option(help="Number of the last bank entry that is not new.")]
Source = Annotated[
    str,
    typer.Option(
        help="Where images are: `kept`, or a URL with {external_id} or {sha256}. Default: PALISADE_RESCAN_SOURCE."
    ),
]


def spec_of(
    using: Using,
    *,
    detector: Detectors = None,
    since: Since = None,
    surface: Surface = "",
    action: Action = "",
    sample: Sample = 1.0,
    policy: Policy = "",
    since_entry: SinceEntry = 0,
    source: Source = "",
) -> PlanSpec:
    """What is judged again, and with what."""
    return PlanSpec(
        using,
        detectors=tuple(detector or ()),
        since=since.replace(tzinfo=UTC) if since else None,
        surface=surface,
        action=action,
        sample=sample,
        policy=policy,
        since_entry=since_entry,
        source=source,
    )


@app.command()
def plan(
    using: Using,
    *,
    detector: Detectors = None,
    since: Since = None,
    surface: Surface = "",
    action: Action = "",
    sample: Sample = 1.0,
    policy: Policy = "",
    since_entry: SinceEntry = 0,
    source: Source = "",
    rate: Annotated[float, typer.Option(help="Most images a second; 0 for no limit.")] = 0.0,
    hours: Annotated[str, typer.Option(help="Only in these hours of the day, UTC, such as `22-6`.")] = "",
    max_changed: Annotated[int, typer.Option(help="Stop before more verdicts than this change; 0 for no limit.")] = 0,
    cron: Annotated[str, typer.Option(help="Do it again and again: five fields, UTC, such as `0 3 * * 0`.")] = "",
    tenant: Tenant = DEFAULT_TENANT,
) -> None:
    """Plan a re-scan. Servers and `palisade rescans run` work on it from now on."""
    scope = {"detector": detector, "since": since, "surface": surface, "action": action, "sample": sample}
    spec = spec_of(using, **scope, policy=policy, since_entry=since_entry, source=source)  # type: ignore[arg-type]
    values = {**spec.as_dict(), "rate": rate, "hours": hours, "max_changed": max_changed, "cron": cron}
    made = _app().rescans.plan(tenant, PlanSpec.from_dict(values), actor=ACTOR)
    out.print(f"{made.id} is {made.state}: {made.total:,} images through {made.path}. {made.why}", markup=False)


@app.command("dry-run")
def dry_run(
    using: Using,
    *,
    detector: Detectors = None,
    since: Since = None,
    surface: Surface = "",
    action: Action = "",
    sample: Sample = 1.0,
    policy: Policy = "",
    since_entry: SinceEntry = 0,
    source: Source = "",
    tenant: Tenant = DEFAULT_TENANT,
) -> None:
    """Judge a sample, and print what the whole would cost and change, as JSON. Nothing is written."""
    scope = {"detector": detector, "since": since, "surface": surface, "action": action, "sample": sample}
    spec = spec_of(using, **scope, policy=policy, since_entry=since_entry, source=source)  # type: ignore[arg-type]
    print(json.dumps(_app().rescans.dry_run(tenant, spec).as_dict()))  # noqa: T201 - the command's result


@app.command()
def run(
    plan: Annotated[str, typer.Argument(help="Only this re-scan; without one, all that run, until none is left.")] = "",
    *,
    forever: Annotated[bool, typer.Option("--forever", help="Wait for more, and for schedules.")] = False,
    tenant: Tenant = DEFAULT_TENANT,
) -> None:
    """Work on re-scans in this process. Several may, on any number of machines; Ctrl-C ends after the page in work."""
    rescans, name = _app().rescans, f"{os.uname().nodename} {os.getpid()}"
    with until_interrupted() as stopped, _bar() as bar:
        task = bar.add_task("re-scan", total=None)
        while not stopped:
            worked = rescans.due() > 0
            worked = rescans.advance(name, seconds=SLICE, plan_id=plan) or worked
            if plan:
                view = rescans.find(tenant, plan)
                bar.update(task, completed=view.progress.total - view.progress.left, total=view.progress.total)
                if view.plan.state != "running":
                    break
            elif not worked and not forever and not rescans.has_work():
                break
            if not worked:
                time.sleep(0.5)
    if plan:
        _say(rescans.find(tenant, plan))


@app.command("list")
def list_plans(tenant: Tenant = DEFAULT_TENANT) -> None:
    """Re-scans, the newest first."""
    table = Table(Column("re-scan", min_width=33), "with", "state", "done", "changed", "failed", "left", "time left")
    for view in _app().rescans.plans(tenant):
        progress = view.progress
        left = "" if progress.seconds_left is None or not progress.left else f"{progress.seconds_left:,.0f} s"
        counts = (progress.done, progress.changed, progress.failed + progress.waiting, progress.left)
        table.add_row(view.plan.id, view.plan.spec["using"], view.plan.state, *(f"{n:,}" for n in counts), left)
    out.print(table)


@app.command()
def show(plan: PlanId, *, tenant: Tenant = DEFAULT_TENANT, as_json: AsJson = False) -> None:
    """One re-scan, and how far it is."""
    view = _app().rescans.find(tenant, plan)
    if as_json:
        print(json.dumps(view.as_dict()))  # noqa: T201 - the command's result
        return
    _say(view)
    out.print(f"  through {view.plan.path}: {view.plan.why}", markup=False)


@app.command()
def pause(plan: PlanId, tenant: Tenant = DEFAULT_TENANT) -> None:
    """Let workers stop after the page they are at."""
    out.print(f"{plan} is {_app().rescans.pause(tenant, plan, actor=ACTOR).state}.")


@app.command()
def resume(
    plan: PlanId,
    *,
    max_changed: Annotated[int | None, typer.Option(help="A new ceiling of changed verdicts; 0 for none.")] = None,
    tenant: Tenant = DEFAULT_TENANT,
) -> None:
    """Go on where it was paused or stopped."""
    out.print(f"{plan} is {_app().rescans.resume(tenant, plan, actor=ACTOR, max_changed=max_changed).state}.")


@app.command()
def cancel(plan: PlanId, tenant: Tenant = DEFAULT_TENANT) -> None:
    """End a re-scan for good. What was judged stays judged."""
    out.print(f"{plan} is {_app().rescans.cancel(tenant, plan, actor=ACTOR).state}.")


@app.command()
def failures(plan: PlanId, tenant: Tenant = DEFAULT_TENANT) -> None:
    """Images that could not be judged, a JSON line each; those that are tried again say when."""
    rescans, after = _app().rescans, ""
    while page := rescans.failures(tenant, plan, after=after, limit=1_000):
        for failure in page:
            print(json.dumps(failure_as_dict(failure)))  # noqa: T201 - the command's result
        after = page[-1].id


@contextmanager
def until_interrupted() -> Iterator[list[int]]:
    """A list that is empty until Ctrl-C, or the signal that services are stopped by."""
    signals: list[int] = []
    kinds = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(kind, lambda number, _: signals.append(number)) for kind in kinds]
    try:
        yield signals
    finally:
        for kind, handler in zip(kinds, before, strict=True):
            signal.signal(kind, handler)


def _bar() -> Progress:
    columns = (TextColumn("re-scanning"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    return Progress(*columns, console=err, transient=True, disable=not err.is_terminal)


def _say(view: PlanView) -> None:
    progress = view.progress
    out.print(
        f"{view.plan.id} is {view.plan.state}: {progress.done:,} of {progress.total:,} judged, {progress.changed:,} changed, "
        f"{progress.failed:,} failed, {progress.waiting:,} tried again later, {progress.gone:,} gone, {progress.left:,} left. "
        f"{view.note}",
        markup=False,
    )


def _app() -> Application:
    return Application(settings())
