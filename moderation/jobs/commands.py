"""`palisade jobs`: what became of asynchronous scans."""

import json
from typing import Annotated, Any

import typer
from rich.table import Table

from moderation.application import Application
from moderation.commands.console import out
from moderation.errors import InvalidRequestError
from moderation.jobs.records import STATES
from moderation.settings import settings
from moderation.tables import DEFAULT_TENANT, Job

app = typer.Typer(help="Asynchronous scans.", no_args_is_help=True)

ACTOR = "command line"

Tenant = Annotated[str, typer.Option(help="The tenant whose jobs these are.")]
JobId = Annotated[str, typer.Argument(help="The job's id, as `palisade jobs list` shows it.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.command("list")
def list_jobs(
    *,
    state: Annotated[str, typer.Option(help=f"Only of this state: {', '.join(STATES)}.")] = "",
    batch: Annotated[str, typer.Option(help="Only of this batch.")] = "",
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="At most so many, the oldest first.")] = 100,
    as_json: AsJson = False,
    tenant: Tenant = DEFAULT_TENANT,
) -> None:
    """Jobs by age, and how many there are of each state."""
    if state and state not in STATES:
        raise InvalidRequestError(f"{state!r} is not a state.", hint=f"States are {', '.join(STATES)}.")
    jobs = Application(settings()).jobs
    found = jobs.jobs(tenant, state=state, batch=batch, limit=limit)
    if as_json:
        for job in found:
            print(json.dumps(as_dict(job)))  # noqa: T201 - the command's result
        return
    table = Table("job", "state", "lane", "made", "tries", "lost", "error")
    for job in found:
        made = f"{job.created_at:%Y-%m-%d %H:%M}"
        table.add_row(job.id, job.state, job.lane, made, str(job.attempts), str(job.losses), job.error)
    out.print(table)
    out.print(", ".join(f"{count} {name}" for name, count in sorted(jobs.counts(tenant).items())) or "There are none.")


@app.command()
def show(job: JobId, tenant: Tenant = DEFAULT_TENANT) -> None:
    """One job, as JSON."""
    found, scan = Application(settings()).jobs.find(tenant, job)
    shown = {**as_dict(found), "verdict": scan.verdict if scan else None}
    print(json.dumps(shown))  # noqa: T201 - the command's result


@app.command()
def release(job: JobId, tenant: Tenant = DEFAULT_TENANT) -> None:
    """Try a quarantined job again."""
    Application(settings()).jobs.release(tenant, job, actor=ACTOR)
    out.print(f"{job} is queued again.")


def as_dict(job: Job) -> dict[str, Any]:
    """A job as JSON values. What the host said of the image is in it, its address is not."""
    moments = ("created_at", "run_at", "held_until", "finished_at")
    plain = (
        "id",
        "batch_id",
        "line",
        "lane",
        "state",
        "size",
        "attempts",
        "losses",
        "holder",
        "scan_id",
        "code",
        "error",
    )
    told = {name: getattr(job, name) for name in plain}
    told |= {name: value.isoformat() if (value := getattr(job, name)) else None for name in moments}
    return {**told, "context": job.what["context"], "policy": job.policy}
