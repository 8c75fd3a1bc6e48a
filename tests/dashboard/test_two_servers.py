"""Two servers on one database behind a proxy that takes turns: nothing is kept in one of them, so no session has to stick."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import pytest
import sqlalchemy as sa

from moderation.application import Application
from moderation.commands.keys import new_secret
from moderation.reviews.records import ReviewRules
from moderation.settings import Settings
from moderation.tables import Decision, Reveal
from tests.accounts import PASSWORD, Someone, someone
from tests.dashboard.test_cases import keep_image
from tests.demo import served
from tests.moderation.reviews.conftest import scan_maker
from tests.proxy import Proxy, proxied


@dataclass
class Pair:
    """Two servers, each by its own address, the proxy before both, and their parts as this process has them."""

    servers: tuple[str, str]
    proxy: Proxy
    parts: Application

    def fill(self, name: str) -> str:
        """A case with a kept image; gives the image's SHA-256."""
        rules = ReviewRules.of(Settings(_env_file=None, review_second_share=0.0))  # type: ignore[call-arg]
        scan, _ = scan_maker(self.parts.database, rules)(name)
        return keep_image(self.parts, scan)


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    folder: Path = tmp_path_factory.mktemp("two")
    more = {f"PALISADE_{name}_KEYS": new_secret("two") for name in ("IMAGE", "ACCOUNT", "PEOPLE", "TAKEDOWN")}
    more |= {"PALISADE_REVIEW_SECOND_SHARE": "0", "PALISADE_REVIEW_UNDO_SECONDS": "60"}
    keys = {"image_keys": more["PALISADE_IMAGE_KEYS"], "account_keys": more["PALISADE_ACCOUNT_KEYS"]}
    with (
        served(folder, folder / "log-1", **more) as first,
        served(folder, folder / "log-2", **more) as second,
        proxied(first, second) as proxy,
    ):
        parts = Application(Settings(_env_file=None, data_dir=folder, **keys))  # type: ignore[call-arg]
        yield Pair((first, second), proxy, parts)
        parts.database.close()


class Visitor:
    """Somebody's browser, whose requests go wherever the proxy sends them."""

    def __init__(self, url: str) -> None:
        self.client = httpx2.Client(base_url=url, timeout=60)

    def get(self, path: str) -> httpx2.Response:
        return self.client.get(path)

    def field(self, path: str, name: str = "csrf") -> str:
        found = re.search(rf'name="{name}" value="([^"]*)"', self.get(path).text)
        assert found, path
        return found[1]

    def post(self, path: str, page: str = "/app/me", **fields: Any) -> httpx2.Response:
        return self.client.post(path, data={"csrf": self.field(page), **fields})

    def sign_in(self, parts: Application, who: Someone) -> None:
        assert self.post("/sign-in", "/sign-in", name=who.name, password=PASSWORD, next="/app").status_code == 303
        code = self.post("/sign-in/code", "/sign-in/code", code=who.code(parts), next="/app")
        assert (code.status_code, code.headers["location"]) == (303, "/app")


@pytest.fixture
def ada(pair: Pair, request: pytest.FixtureRequest) -> Iterator[tuple[Visitor, Someone]]:
    """A reviewer who signed in through the proxy."""
    who, visitor = someone(pair.parts, f"{request.node.name}@example.org", "reviewer"), Visitor(pair.proxy.url)
    visitor.sign_in(pair.parts, who)
    yield visitor, who
    visitor.client.close()


def test_a_case_is_claimed_on_one_and_decided_on_the_other(pair: Pair, ada: tuple[Visitor, Someone]) -> None:
    visitor, who = ada
    sha256 = pair.fill("through both")
    before = dict(pair.proxy.served)
    path = visitor.post("/app/queue/next").headers["location"]
    assert path.startswith("/app/cases/case_")
    assert visitor.post(f"{path}/reveal", sha256=sha256, how="whole").status_code == 303
    for _ in pair.servers:
        seen = visitor.get(f"{path}/image?sha256={sha256}&reveal=whole")
        assert (seen.status_code, seen.headers["content-type"]) == (200, "image/jpeg")
        assert visitor.get(f"{path}/alike").status_code == 200
    token = visitor.field(path, "token")
    fields = {"token": token, "outcome": "uphold", "clause": "nudity-1"}
    assert [visitor.post(f"{path}/decide", **fields).status_code for _ in pair.servers] == [303, 303], "sent to each"
    assert visitor.post(f"{path}/undo").headers["location"] == path

    assert all(pair.proxy.served[server] - before.get(server, 0) >= 5 for server in pair.servers)
    with pair.parts.database.read() as session:
        made = session.scalars(sa.select(Decision).where(Decision.reviewer == who.id)).all()
        looks = session.scalars(sa.select(Reveal.how).where(Reveal.reviewer == who.id)).all()
    assert [(one.outcome, one.state) for one in made] == [("uphold", "undone")]
    assert looks == ["whole"]


def test_what_one_holds_the_other_does_not_give_away(pair: Pair, ada: tuple[Visitor, Someone]) -> None:
    visitor, _ = ada
    pair.fill("held")
    first = visitor.post("/app/queue/next").headers["location"]
    ben = Visitor(pair.proxy.url)
    ben.sign_in(pair.parts, someone(pair.parts, "ben@example.org", "reviewer"))
    given = {ben.post("/app/queue/next").headers["location"] for _ in pair.servers}
    ben.client.close()

    assert first.startswith("/app/cases/")
    assert first not in given


def test_a_form_holds_on_both_and_a_forged_one_on_neither(pair: Pair, ada: tuple[Visitor, Someone]) -> None:
    visitor, _ = ada
    tokens = {visitor.field("/app/me") for _ in range(4)}
    assert len(tokens) == 1, "the token is of the session, not of a server"
    for _ in pair.servers:
        forged = visitor.client.post("/app/queue/stop", data={"csrf": "0" * 64})
        assert forged.status_code == 403


def test_signing_out_everywhere_holds_on_both_at_once(pair: Pair, ada: tuple[Visitor, Someone]) -> None:
    visitor, who = ada
    here, elsewhere = visitor.client.cookies["palisade-session"], who.sign_in(pair.parts)
    assert reached(pair, here) == reached(pair, elsewhere) == [200, 200]
    assert visitor.post("/app/me/sessions/others").status_code == 303
    assert (reached(pair, here), reached(pair, elsewhere)) == ([200, 200], [303, 303])
    assert visitor.post("/sign-out").status_code == 303
    assert reached(pair, here) == [303, 303], "on the server that did not hear of it too"


def reached(pair: Pair, token: str) -> list[int]:
    """What each server answers to whoever has a session's token."""
    cookies = {"Cookie": f"palisade-session={token}"}
    return [httpx2.get(f"{server}/app/queue", headers=cookies).status_code for server in pair.servers]
