"""`palisade keys`: API keys, and secrets to configure."""

import base64
import secrets
from typing import Annotated

import typer
from rich.table import Table

from moderation.application import Application
from moderation.commands.console import err, out
from moderation.keys.service import SCOPES
from moderation.settings import settings
from moderation.tables import DEFAULT_TENANT

app = typer.Typer(help="API keys, and secrets to configure.", no_args_is_help=True)

Tenant = Annotated[str, typer.Option(help="The tenant that the key belongs to; made when it is new.")]


@app.command()
def create(
    name: Annotated[str, typer.Argument(help="What the key is for.")],
    scope: Annotated[list[str] | None, typer.Option(help=f"What it may do: {', '.join(SCOPES)}. Repeatable.")] = None,
    tenant: Tenant = DEFAULT_TENANT,
    days: Annotated[int | None, typer.Option(min=1, help="Days until it expires.")] = None,
) -> None:
    """Make an API key. Its secret is printed this once and stored nowhere."""
    key, secret = Application(settings()).keys.create(name, scope or ["scan", "read"], tenant=tenant, days=days)
    err.print(f"{key.id} of tenant {key.tenant_id} with {', '.join(key.scopes)}. The secret is shown this once:")
    out.print(secret, soft_wrap=True)


@app.command("list")
def list_keys(tenant: Tenant = DEFAULT_TENANT) -> None:
    """The keys of a tenant."""
    table = Table("id", "name", "scopes", "created", "expires", "revoked")
    for key in Application(settings()).keys.of_tenant(tenant):
        moments = (f"{at:%Y-%m-%d %H:%M}" if at else "" for at in (key.created_at, key.expires_at, key.revoked_at))
        table.add_row(key.id, key.name, ", ".join(key.scopes), *moments)
    out.print(table)


@app.command()
def revoke(key_id: Annotated[str, typer.Argument(help="The key's id.")], tenant: Tenant = DEFAULT_TENANT) -> None:
    """Revoke a key, at once."""
    Application(settings()).keys.revoke(key_id, tenant=tenant)
    out.print(f"{key_id} is revoked.")


@app.command("generate-secret")
def generate_secret(name: Annotated[str, typer.Argument(help="The key's id, such as the month.")] = "k1") -> None:
    """Make a 32-byte key for PALISADE_IMAGE_KEYS and its like. To rotate, put a new one before the old ones."""
    out.print(new_secret(name), soft_wrap=True)


def new_secret(name: str) -> str:
    """`id:base64` of 32 random bytes."""
    return f"{name}:{base64.b64encode(secrets.token_bytes(32)).decode()}"
