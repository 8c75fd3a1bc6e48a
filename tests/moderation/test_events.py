"""The outbox: every event gets through at least once, signed; what does not is tried again, and given up in the end."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest

from moderation import events
from moderation.database import Database
from moderation.errors import SettingsError
from moderation.events import BACKOFF, Outbox
from moderation.fetch import SafeClient
from moderation.settings import Settings
from moderation.tables import utc_now
from tests.hosts import Host, running_host

OLD = "whsec_" + "b2xkIHNlY3JldCBvbGQgc2VjcmV0IG9sZCBzZWNyZXQ="
NEW = "whsec_" + "bmV3IHNlY3JldCBuZXcgc2VjcmV0IG5ldyBzZWNyZXQ="


@pytest.fixture
def host() -> Iterator[Host]:
    with running_host(NEW) as host:
        yield host


def outbox(database: Database, host: Host, **changed: Any) -> Outbox:
    values = {
        "webhook_url": f"{host.url}/hook",
        "webhook_secrets": NEW,
        "fetch_allowed_networks": "127.0.0.0/8",
        **changed,
    }
    settings = Settings(_env_file=None, **values)
    return Outbox(database, SafeClient(settings), settings)


def tell(database: Database, count: int = 1) -> None:
    with database.write() as session:
        for number in range(count):
            events.add(session, "default", "test.told", {"number": number})


def test_events_arrive_signed_and_once(database: Database, host: Host) -> None:
    tell(database, 3)

    assert outbox(database, host).deliver() == 3
    assert outbox(database, host).deliver() == 0
    assert sorted(data["number"] for data in host.of("test.told")) == [0, 1, 2]
    assert host.received[0]["tenant"] == "default"
    assert host.refused == []


def test_what_is_rolled_back_is_never_told(database: Database, host: Host) -> None:
    with pytest.raises(RuntimeError), database.write() as session:
        events.add(session, "default", "test.told", {})
        raise RuntimeError

    assert outbox(database, host).deliver() == 0


def test_while_secrets_change_both_sign(database: Database, host: Host) -> None:
    tell(database)

    assert outbox(database, host, webhook_secrets=f"{OLD},{NEW}").deliver() == 1
    assert host.refused == []


def test_a_forged_signature_would_be_seen(database: Database, host: Host) -> None:
    tell(database)

    assert outbox(database, host, webhook_secrets=OLD).deliver() == 0
    assert host.refused == ["No matching signature found"]


def test_what_fails_is_tried_later_and_given_up_in_the_end(database: Database, host: Host) -> None:
    tell(database)
    box, now, host.status = outbox(database, host), utc_now(), 500

    assert box.deliver(now=now) == 0
    assert box.deliver(now=now + timedelta(seconds=1)) == 0, "not due yet"
    for _ in range(len(BACKOFF)):
        now += timedelta(days=1)
        box.deliver(now=now)
    (event,) = box.events("default")
    assert (event.attempts, event.next_at, event.delivered_at) == (len(BACKOFF) + 1, None, None)
    assert "status 500" in event.error

    host.status = 204
    assert box.replay("default") == 1
    assert box.deliver() == 1
    assert box.events("default")[0].error == ""


def test_a_process_that_dies_while_it_delivers_leaves_the_event_to_another(database: Database, host: Host) -> None:
    tell(database)
    now = utc_now()
    assert len(outbox(database, host)._lease(10, now)) == 1, "and then it died"

    assert outbox(database, host).deliver(now=now + timedelta(seconds=30)) == 0
    assert outbox(database, host).deliver(now=now + timedelta(seconds=61)) == 1


def test_without_an_address_events_wait(database: Database, host: Host) -> None:
    tell(database)

    assert outbox(database, host, webhook_url="").deliver() == 0
    assert outbox(database, host).deliver() == 1


def test_a_private_address_is_refused_unless_allowed(database: Database, host: Host) -> None:
    tell(database)

    box = outbox(database, host, fetch_allowed_networks="")
    assert box.deliver() == 0
    assert "127.0.0.1" in box.events("default")[0].error


@pytest.mark.parametrize("secrets", [None, "", "short", "whsec_x", "whsec_" + "%" * 44])
def test_unfit_secrets_are_a_settings_error(database: Database, host: Host, secrets: str | None) -> None:
    with pytest.raises(SettingsError, match="WEBHOOK_SECRETS"):
        outbox(database, host, webhook_secrets=secrets)
