"""Banks that follow exchanges, on both databases: what is listed matches, what is withdrawn stops to."""

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from detectors.signals import SignalsDetector
from moderation.banks.matcher import Probe
from moderation.banks.records import BankSpec, NewEntry, Signal
from moderation.banks.service import BankService
from moderation.database import Database
from moderation.errors import ConflictError, ExchangeError, InvalidRequestError, NotFoundError, SettingsError
from moderation.exchanges.service import ExchangeService, Synced, parse_secrets
from moderation.fetch import SafeClient
from moderation.settings import Settings
from tests.moderation.banks.conftest import make_service
from tests.moderation.exchanges.servers import Answer, Ncmec, Server, StopNcii, ThreatExchange, serving

HASHES = [f"{number:x}" * 64 for number in range(1, 10)]

Make = Callable[..., ExchangeService]


@pytest.fixture
def banks(database: Database, runtime: Any) -> BankService:
    return make_service(database, SignalsDetector(runtime))


@pytest.fixture
def make(database: Database, banks: BankService) -> Make:
    """A service that has the credentials of the exchange `list`."""

    def make(secrets: dict[str, str] | None = None) -> ExchangeService:
        client = SafeClient(Settings(_env_file=None, fetch_allowed_networks="127.0.0.1/32"))
        text = json.dumps({"list": secrets or {}})
        return ExchangeService(database, banks.indexes, lambda: client, SecretStr(text))

    return make


@pytest.fixture(params=[StopNcii, Ncmec, ThreatExchange])
def player(request: pytest.FixtureRequest) -> Any:
    return request.param()


@pytest.fixture
def server(player: Any) -> Iterator[Server]:
    with serving(player) as server:
        yield server


def follow(service: ExchangeService, player: Any, server: Server) -> None:
    config = {"seconds": 5, "patience": 0, **player.config(server.url)}
    service.add("default", BankSpec("list", category="intimate"), player.kind, config, every_seconds=0, actor="test")


def listed(banks: BankService, *hashes: str) -> list[bool]:
    return [bool(banks.search("default", [Probe(Signal.parse("pdq", value))])) for value in hashes]


def later(player: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two minutes later: NCMEC tells changes by their time, and only those that are some seconds old."""
    if isinstance(player, Ncmec):
        now = time.time() + 120
        monkeypatch.setattr(time, "time", lambda: now)


def test_what_is_listed_matches_and_what_is_withdrawn_stops_to(
    make: Make, banks: BankService, player: Any, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = make(player.secrets)
    for value in HASHES[:5]:
        player.put(value)
    follow(service, player, server)

    done = service.sync("default", "list")
    assert (done.added, done.withdrawn) == (5, 0)
    assert listed(banks, *HASHES[:6]) == [True] * 5 + [False]

    later(player, monkeypatch)
    player.withdraw(HASHES[1])
    player.put(HASHES[6])
    done = service.sync("default", "list")

    assert (done.added, done.withdrawn) == (1, 1)
    assert listed(banks, *HASHES[:3], HASHES[6]) == [True, False, True, True]
    assert service.find("default", "list").error == ""


def test_a_peer_that_dies_half_way_loses_nothing(make: Make, banks: BankService, player: Any, server: Server) -> None:
    service = make(player.secrets)
    for value in HASHES[:6]:
        player.put(value)
    follow(service, player, server)
    pages: list[Synced] = []

    def die_after_the_first(so_far: Synced) -> None:
        pages.append(so_far)
        if so_far.added >= 2:
            server.fail(1, Answer(500))

    with pytest.raises(ExchangeError):
        service.sync("default", "list", told=die_after_the_first)
    kept = sum(listed(banks, *HASHES[:6]))
    assert 2 <= kept < 6
    assert service.find("default", "list").error

    done = service.sync("default", "list")
    assert done.added == 6 - kept
    assert listed(banks, *HASHES[:6]) == [True] * 6
    assert service.find("default", "list").error == ""


def test_a_hash_that_another_bank_holds_stays_there(
    make: Make, banks: BankService, player: Any, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = make(player.secrets)
    player.put(HASHES[0])
    follow(service, player, server)
    service.sync("default", "list")
    banks.create("default", BankSpec("own"), actor="test")
    banks.add("default", "own", [NewEntry(Signal.parse("pdq", HASHES[0]))], actor="test")

    later(player, monkeypatch)
    player.withdraw(HASHES[0])
    service.sync("default", "list")

    (left,) = banks.search("default", [Probe(Signal.parse("pdq", HASHES[0]))])
    assert left.bank.name == "own"


def test_a_file_is_followed_and_what_left_it_is_withdrawn(make: Make, banks: BankService, tmp_path: Path) -> None:
    service, path = make(), tmp_path / "list.csv"
    rows = "type,value,id\n" + "".join(f"pdq,{value},{n}\n" for n, value in enumerate(HASHES[:4]))
    path.write_text(rows)
    service.add("default", BankSpec("list"), "file", {"path": str(path)}, every_seconds=60, actor="test")
    assert service.sync_due() == 1
    assert service.sync_due() == 0, "not due again"

    path.with_suffix(".new").write_text("type,value,id\n" + f"pdq,{HASHES[0]},0\npdq,{HASHES[5]},9\n")
    path.with_suffix(".new").replace(path)
    done = service.sync("default", "list")

    assert (done.added, done.withdrawn) == (1, 3)
    assert listed(banks, *HASHES[:6]) == [True, False, False, False, False, True]


def test_one_process_at_a_time(make: Make, tmp_path: Path) -> None:
    service, path = make(), tmp_path / "list.csv"
    path.write_text("type,value\n" + f"pdq,{HASHES[0]}\n")
    service.add("default", BankSpec("list"), "file", {"path": str(path)}, every_seconds=0, actor="test")

    def another(_: Synced) -> None:
        with pytest.raises(ConflictError, match="being synchronised"):
            make().sync("default", "list")

    service.sync("default", "list", told=another)
    service.sync("default", "list")


def test_a_followed_bank_is_not_deleted_under_its_exchange(make: Make, banks: BankService, tmp_path: Path) -> None:
    service, path = make(), tmp_path / "list.csv"
    path.write_text("type,value\n" + f"pdq,{HASHES[0]}\n")
    service.add("default", BankSpec("list"), "file", {"path": str(path)}, every_seconds=0, actor="test")
    service.sync("default", "list")

    with pytest.raises(ConflictError, match="follows an exchange"):
        banks.delete("default", "list", actor="test")
    service.remove("default", "list", actor="test")
    assert banks.delete("default", "list", actor="test") == 1


def test_what_is_unfit_is_refused(make: Make, banks: BankService, tmp_path: Path) -> None:
    service = make()
    spec = BankSpec("list")
    for kind, config, every in (("carrier pigeon", {}, 0), ("file", {"pith": "x"}, 0), ("file", {"path": "/x"}, 5)):
        with pytest.raises(InvalidRequestError):
            service.add("default", spec, kind, config, every_seconds=every, actor="test")
    banks.create("default", spec, actor="test")
    with pytest.raises(ConflictError):
        service.add("default", spec, "file", {"path": "/x.csv"}, every_seconds=0, actor="test")
    with pytest.raises(NotFoundError):
        service.sync("default", "list")


@pytest.mark.parametrize("text", ["not json", "[]", '{"ncmec": "password"}'])
def test_unfit_credentials_are_a_settings_error_that_shows_none(text: str) -> None:
    with pytest.raises(SettingsError) as caught:
        parse_secrets(SecretStr(text))

    assert "password" not in caught.value.message
