"""`palisade events`: what the host is told by webhook."""

import base64
import json
import secrets
import time
from typing import Annotated

import typer

from moderation.application import Application
from moderation.commands.console import out
from moderation.settings import settings
from moderation.tables import DEFAULT_TENANT, Event

app = typer.Typer(help="Events, which the host is told by webhook.", no_args_is_help=True)

Tenant = Annotated[str, typer.Option(help="The tenant whose events these are.")]


@app.command()
def tail(
    *,
    follow: Annotated[bool, typer.Option("--follow", help="Go on with new ones until interrupted.")] = False,
    kind: Annotated[str, typer.Option(help="Only of this kind, such as `takedown.copies`.")] = "",
    tenant: Tenant = DEFAULT_TENANT,
) -> None:
    """Events as JSON lines, the oldest first."""
    outbox, after = Application(settings()).outbox, ""
    while True:
        page = outbox.events(tenant, after=after, kind=kind, limit=500)
        for event in page:
            print(json.dumps(as_dict(event)), flush=True)  # noqa: T201 - the command's result
        after = page[-1].id if page else after
        if not page and not follow:
            return
        if not page:
            time.sleep(1)


@app.command()
def replay(
    event: Annotated[str, typer.Argument(help="An event's id; without one, all that were given up.")] = "",
    tenant: Tenant = DEFAULT_TENANT,
) -> None:
    """Deliver an event again, or all that were given up."""
    count = Application(settings()).outbox.replay(tenant, event_id=event)
    out.print(f"{count} events are delivered again.")


@app.command("generate-secret")
def generate_secret() -> None:
    """A new secret for PALISADE_WEBHOOK_SECRETS."""
    print("whsec_" + base64.b64encode(secrets.token_bytes(32)).decode())  # noqa: T201 - the command's result


def as_dict(event: Event) -> dict[str, object]:
    """An event as JSON values."""
    return {
        "id": event.id,
        "type": event.kind,
        "timestamp": event.created_at.isoformat(),
        "data": event.payload,
        "delivered_at": event.delivered_at.isoformat() if event.delivered_at else None,
        "attempts": event.attempts,
        "error": event.error,
    }
