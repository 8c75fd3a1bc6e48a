"""`palisade exchanges`: banks that follow NCMEC, StopNCII, ThreatExchange or a list file."""

import json
from typing import Annotated

import typer
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from detectors.known import ACTIONS, CATEGORIES
from moderation.application import Application
from moderation.banks.records import BankSpec
from moderation.commands.console import err, out
from moderation.errors import InvalidRequestError
from moderation.exchanges.peers import CONFIGS
from moderation.settings import settings
from moderation.tables import DEFAULT_TENANT

app = typer.Typer(help="Signal exchanges that banks follow.", no_args_is_help=True)

ACTOR = "command line"

Tenant = Annotated[str, typer.Option(help="The tenant whose exchanges these are.")]
Name = Annotated[str, typer.Argument(help="The exchange's name, which is its bank's too.")]


@app.command()
def add(
    name: Name,
    kind: Annotated[str, typer.Argument(help=f"{', '.join(CONFIGS)}.")],
    *,
    config: Annotated[
        str, typer.Option(help="What the peer is told, as JSON; see docs/exchanges.md. No credentials.")
    ] = "{}",
    category: Annotated[str, typer.Option(help=f"What it lists: {', '.join(CATEGORIES)}.")] = "other",
    action: Annotated[str, typer.Option(help=f"What policies are suggested: {', '.join(ACTIONS)}.")] = "hold",
    every: Annotated[int, typer.Option(help="Seconds between two synchronisations; 0: by hand only.")] = 0,
    tenant: Tenant = DEFAULT_TENANT,
) -> None:
    """Follow an exchange with a bank of its own. Credentials come from PALISADE_EXCHANGE_SECRETS, under the name."""
    try:
        told = json.loads(config)
    except ValueError as error:
        raise InvalidRequestError(f"--config is not JSON: {error}.", hint='Write {"url": "https://…"}.') from None
    if not isinstance(told, dict):
        raise InvalidRequestError("--config is not a JSON object.", hint='Write {"url": "https://…"}.')
    spec = BankSpec(name, origin=kind, category=category, action_hint=action)
    _app().exchanges.add(tenant, spec, kind, told, every_seconds=every, actor=ACTOR)
    out.print(f"Bank {name} follows {kind}. Fill it with `palisade exchanges sync {name}`.", markup=False)


@app.command("list")
def list_exchanges(tenant: Tenant = DEFAULT_TENANT) -> None:
    """All exchanges, and how the last run of each ended."""
    table = Table("exchange", "kind", "every", "last run", "ended with")
    for exchange in _app().exchanges.exchanges(tenant):
        table.add_row(
            exchange.name,
            exchange.kind,
            f"{exchange.every_seconds} s" if exchange.every_seconds else "by hand",
            f"{exchange.synced_at:%Y-%m-%d %H:%M}" if exchange.synced_at else "never",
            exchange.error or ("" if exchange.synced_at is None else "everything taken over"),
        )
    out.print(table)


@app.command()
def sync(name: Name, tenant: Tenant = DEFAULT_TENANT) -> None:
    """Take over what changed, withdrawals too. Interrupted or failed, it goes on from where it was."""
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=err, transient=True) as bar:
        task = bar.add_task(name, total=None)
        done = _app().exchanges.sync(
            tenant,
            name,
            actor=ACTOR,
            told=lambda so_far: bar.update(task, description=f"{so_far.pages} pages, {so_far.added:,} added"),
        )
    said = f"{done.added:,} entries added, {done.withdrawn:,} withdrawn, {done.malformed:,} malformed, {done.ignored:,} of other kinds."
    out.print(said)


@app.command()
def remove(name: Name, tenant: Tenant = DEFAULT_TENANT) -> None:
    """Follow an exchange no longer. Its bank and entries stay; see `palisade banks delete`."""
    _app().exchanges.remove(tenant, name, actor=ACTOR)
    out.print(f"{name} is followed no longer; its bank stays.", markup=False)


def _app() -> Application:
    return Application(settings())
