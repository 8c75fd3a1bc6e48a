"""What the host is told: a transactional outbox, delivered as signed webhooks after the Standard Webhooks scheme."""

import base64
import binascii
import json
import random
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
import structlog
from sqlalchemy.orm import Session
from standardwebhooks import Webhook

from moderation import tracing
from moderation.database import Database
from moderation.errors import FetchError, SettingsError
from moderation.fetch import SafeClient
from moderation.settings import Settings
from moderation.tables import Event, new_id, utc_now

log = structlog.get_logger(__name__)

JITTER = random.Random()
"""Of its own: whoever seeds the process's random numbers does not line processes up."""

LEASE = timedelta(seconds=60)
"""How long a process keeps an event to itself while it delivers it."""

BACKOFF = (5, 30, 120, 600, 1_800, 3_600, 7_200, 14_400, 28_800, 43_200)
"""Seconds until the next attempt, each with jitter; after the last one the event is given up: about 27 hours in all."""

LONGEST_WAIT = timedelta(days=1)
"""Longer than an event ever waits for its next attempt: what is to wait longer was written by a clock that jumped."""

ANSWER_BYTES = 65_536


def add(session: Session, tenant: str, kind: str, payload: dict[str, Any], *, now: datetime | None = None) -> Event:
    """Tell the host of something, once this transaction commits. kind: such as `takedown.accepted`."""
    now = now or utc_now()
    event = Event(
        id=new_id("evt"),
        tenant_id=tenant,
        created_at=now,
        kind=kind,
        payload=payload,
        next_at=now,
        attempts=0,
        error="",
        traceparent=tracing.traceparent(),
    )
    session.add(event)
    return event


@dataclass(frozen=True)
class Backlog:
    """How the host is told. url: whether there is where to. waiting: events to deliver, failing: of them tried in vain.

    given_up: after the last attempt, until they are replayed. oldest: when the oldest one that waits happened.
    """

    url: bool
    waiting: int
    failing: int
    given_up: int
    delivered: int
    oldest: datetime | None


class Outbox:
    """Delivers events. Several processes may: each event is leased by one at a time.

    At least once, in no certain order: the receiver knows a repeated event by its `webhook-id`, and orders by `timestamp`.
    Without a URL events are kept for `palisade events`, and are delivered once there is one.
    """

    def __init__(self, database: Database, client: SafeClient, settings: Settings) -> None:
        self.database = database
        self.client = client
        self.url = settings.webhook_url
        self.signers = signers(settings)

    def deliver(self, *, limit: int = 50, now: datetime | None = None) -> int:
        """Deliver what is due; gives how many events got through."""
        if not self.url:
            return 0
        now = now or utc_now()
        return sum(self._deliver(event, now) for event in self._lease(limit, now))

    def _lease(self, limit: int, now: datetime) -> Sequence[Event]:
        may = sa.or_(Event.next_at <= now, Event.next_at > now + LONGEST_WAIT)
        due = sa.select(Event).where(may).order_by(Event.next_at).limit(limit)
        with self.database.write() as session:
            events = session.scalars(due.with_for_update(skip_locked=True)).all()
            for event in events:
                event.next_at = now + LEASE
                event.attempts += 1
        return events

    def _deliver(self, event: Event, now: datetime) -> bool:
        with tracing.span("webhook", parent=event.traceparent, event=event.id, kind=event.kind) as span:
            error = self._send(event)
            span.note(attempt=event.attempts, delivered=not error)
        with self.database.write() as session:
            kept = session.get(Event, event.id)
            if kept is None:
                return False
            kept.error = error
            if not error:
                kept.next_at, kept.delivered_at = None, now
            elif event.attempts > len(BACKOFF):
                kept.next_at = None
                log.error("event given up", event_id=event.id, kind=event.kind, error=error)
            else:
                kept.next_at = now + timedelta(seconds=BACKOFF[event.attempts - 1] * JITTER.uniform(0.8, 1.2))
        return not error

    def _send(self, event: Event) -> str:
        """'' when the host took it, else why not."""
        body = body_of(event)
        try:
            reply = self.client.request(
                "POST",
                self.url,
                max_bytes=ANSWER_BYTES,
                headers=self._headers(event.id, body),
                content=body.encode(),
            )
        except FetchError as error:
            return error.message
        return "" if 200 <= reply.status < 300 else f"the host answered with status {reply.status}"

    def _headers(self, event_id: str, body: str) -> dict[str, str]:
        moment = utc_now()
        trace = tracing.traceparent()
        return {
            **({"traceparent": trace} if trace else {}),
            "content-type": "application/json",
            "webhook-id": event_id,
            "webhook-timestamp": str(int(moment.timestamp())),
            "webhook-signature": " ".join(signer.sign(event_id, moment, body) for signer in self.signers),
        }

    def events(self, tenant: str, *, after: str = "", kind: str = "", limit: int = 100) -> Sequence[Event]:
        """A tenant's events, the oldest first."""
        query = sa.select(Event).where(Event.tenant_id == tenant, Event.id > after)
        if kind:
            query = query.where(Event.kind == kind)
        with self.database.read() as session:
            return session.scalars(query.order_by(Event.id).limit(limit)).all()

    def backlog(self, tenant: str) -> Backlog:
        """How many of a tenant's events wait, fail, were given up and got through."""
        waits, delivered = Event.next_at.is_not(None), Event.delivered_at.is_not(None)
        counts = (
            sa.func.count().filter(waits),
            sa.func.count().filter(waits, Event.error != ""),
            sa.func.count().filter(sa.not_(waits), sa.not_(delivered)),
            sa.func.count().filter(delivered),
            sa.func.min(sa.case((waits, Event.created_at))),
        )
        with self.database.read() as session:
            waiting, failing, given_up, through, oldest = session.execute(
                sa.select(*counts).where(Event.tenant_id == tenant)
            ).one()
        return Backlog(bool(self.url), waiting, failing, given_up, through, oldest)

    def replay(self, tenant: str, *, event_id: str = "") -> int:
        """Deliver given-up events again, or one event; gives how many."""
        again = sa.update(Event).where(Event.tenant_id == tenant, Event.next_at.is_(None))
        again = again.where(Event.id == event_id) if event_id else again.where(Event.delivered_at.is_(None))
        with self.database.write() as session:
            result = session.execute(again.values(next_at=utc_now(), attempts=0, delivered_at=None))
        return int(result.rowcount)  # type: ignore[attr-defined]


def waiting(session: Session) -> tuple[int, datetime | None, int]:
    """Of every tenant: events that wait, when the oldest of them was made, and how many were given up."""
    pending = sa.select(sa.func.count(), sa.func.min(Event.created_at)).where(Event.next_at.is_not(None))
    count, oldest = session.execute(pending).one()
    lost = sa.select(sa.func.count()).where(Event.next_at.is_(None), Event.delivered_at.is_(None))
    return count, oldest, session.scalar(lost) or 0


def body_of(event: Event) -> str:
    """What is sent: `type`, `timestamp`, `tenant` and `data`."""
    said = {
        "type": event.kind,
        "timestamp": event.created_at.isoformat(),
        "tenant": event.tenant_id,
        "data": event.payload,
    }
    return json.dumps(said, separators=(",", ":"), sort_keys=True)


def signers(settings: Settings) -> list[Webhook]:
    """What signs: each secret, so that the receiver may change over in its own time. Raises SettingsError."""
    text = settings.webhook_secrets.get_secret_value() if settings.webhook_secrets else ""
    secrets = [part.strip() for part in text.split(",") if part.strip()]
    if settings.webhook_url and not secrets:
        raise SettingsError(
            "PALISADE_WEBHOOK_URL is set, and PALISADE_WEBHOOK_SECRETS is not.",
            hint="Make one with `palisade events generate-secret`, and give it to the receiver.",
        )
    if any(not _is_secret(part) for part in secrets):
        raise SettingsError(
            "PALISADE_WEBHOOK_SECRETS holds something that is not a secret.",
            hint="Each is `whsec_` and the base64 of at least 24 bytes; see `palisade events generate-secret`.",
        )
    return [Webhook(part) for part in secrets]


def _is_secret(text: str) -> bool:
    try:
        return text.startswith("whsec_") and len(base64.b64decode(text.removeprefix("whsec_"), validate=True)) >= 24
    except binascii.Error:
        return False
