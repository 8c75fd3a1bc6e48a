"""What the tests of exchanges share."""

from collections.abc import Iterator
from typing import Any

import pytest

from moderation.exchanges.peers import Page, Peer, peer
from moderation.fetch import SafeClient
from moderation.settings import Settings
from tests.moderation.exchanges.servers import Server, serving


class Clock:
    """A clock that only sleeping moves. naps: how long each sleep was."""

    def __init__(self) -> None:
        self.now, self.naps = 1_800_000_000.0, list[float]()

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.naps.append(seconds)
        self.now += seconds


class Exchange:
    """A peer, the server that plays it, and the clock it waits by."""

    def __init__(self, player: Any, server: Server, **config: Any) -> None:
        self.player, self.server, self.clock = player, server, Clock()
        self.peer = self.connect(**config)

    def connect(self, *, allow: str = "127.0.0.1/32", secrets: dict[str, str] | None = None, **config: Any) -> Peer:
        client = SafeClient(Settings(_env_file=None, fetch_allowed_networks=allow))
        told = {"seconds": 5, **self.player.config(self.server.url), **config}
        keys = self.player.secrets if secrets is None else secrets
        kind = self.player.kind
        return peer(kind, told, client, keys, name=f"my-{kind}", clock=self.clock, sleep=self.clock.sleep)

    def read(self, checkpoint: str | None = None) -> list[Page]:
        return list(self.peer.pages(checkpoint))


@pytest.fixture
def exchange(request: pytest.FixtureRequest) -> Iterator[Exchange]:
    """The exchange of the test class's `player`."""
    player = request.cls.player()
    with serving(player) as server:
        yield Exchange(player, server)
