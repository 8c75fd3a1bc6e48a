"""`palisade accounts`: who may use the dashboard."""

from typing import Annotated

import typer
from rich.table import Table

from moderation.accounts.records import state
from moderation.accounts.service import INVITATION_HOURS
from moderation.application import Application
from moderation.commands.console import err, out
from moderation.roles import Role
from moderation.settings import settings
from moderation.tables import DEFAULT_TENANT, Account

app = typer.Typer(help="Accounts of the dashboard.", no_args_is_help=True)

ACTOR = "command line"

ROLES = ", ".join(role.value for role in Role)

Name = Annotated[str, typer.Argument(help="The account's name, such as an e-mail address.")]
Roles = Annotated[list[str], typer.Option("--role", help=f"A role, once for each: {ROLES}.")]
Queues = Annotated[list[str] | None, typer.Option("--queue", help="A queue that it may work. Default: all.")]
Tenant = Annotated[str, typer.Option(help="The tenant that it is of.")]


@app.command()
def add(name: Name, role: Roles, queue: Queues = None, tenant: Tenant = DEFAULT_TENANT) -> None:
    """Make an account, and print its invitation: a link that works once."""
    account, token = _app().accounts.add(tenant, name, role, queues=queue or (), actor=ACTOR)
    _print_invitation(account, token)


@app.command("list")
def list_accounts(tenant: Tenant = DEFAULT_TENANT) -> None:
    """All accounts, with their roles and when they were last used."""
    table = Table("name", "state", "roles", "queues", "signed in")
    for account in _app().accounts.accounts(tenant):
        seen = f"{account.seen_at:%Y-%m-%d %H:%M}" if account.seen_at else ""
        queues = "all" if account.queues is None else ", ".join(account.queues)
        table.add_row(account.name, state(account), ", ".join(account.roles), queues, seen)
    out.print(table)


@app.command()
def roles(name: Name, role: Roles, queue: Queues = None, tenant: Tenant = DEFAULT_TENANT) -> None:
    """Set what an account may do; it is signed out."""
    accounts = _app().accounts
    account = accounts.change(tenant, accounts.named(tenant, name).id, role, queues=queue or (), actor=ACTOR)
    out.print(f"{account.name}: {', '.join(account.roles)}", markup=False)


@app.command()
def disable(name: Name, tenant: Tenant = DEFAULT_TENANT) -> None:
    """Take an account's access away, at once."""
    accounts = _app().accounts
    out.print(
        f"{accounts.disable(tenant, accounts.named(tenant, name).id, actor=ACTOR).name} is disabled.", markup=False
    )


@app.command()
def enable(name: Name, tenant: Tenant = DEFAULT_TENANT) -> None:
    """Let a disabled account in again."""
    accounts = _app().accounts
    out.print(f"{accounts.enable(tenant, accounts.named(tenant, name).id, actor=ACTOR).name} is enabled.", markup=False)


@app.command()
def reset(name: Name, tenant: Tenant = DEFAULT_TENANT) -> None:
    """For a lost password or authenticator: sign the account out, and print a new invitation."""
    accounts = _app().accounts
    _print_invitation(*accounts.reset(tenant, accounts.named(tenant, name).id, actor=ACTOR))


def _print_invitation(account: Account, token: str) -> None:
    err.print(f"Give this link to {account.name}. It works once, within {INVITATION_HOURS} hours:", markup=False)
    print(f"{settings().dashboard}/welcome/{token}")  # noqa: T201 - the command's result


def _app() -> Application:
    return Application(settings())
