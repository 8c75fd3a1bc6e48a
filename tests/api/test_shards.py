"""Index processes: real servers that each hold a share, and what becomes of a scan when one is down."""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest
import uvicorn
from fastapi.testclient import TestClient

from api.app import create_app
from api.shard import shard_app
from moderation.application import Application
from moderation.banks.records import BankSpec, NewEntry, Signal
from moderation.banks.shards import parse_shard
from moderation.errors import InvalidRequestError, SettingsError
from tests.api.conftest import MakeApp
from tests.factories import encode, make_image, picture

SECRET = "a long random text of the tests"


@contextmanager
def index_process(application: Application, shard: tuple[int, int]) -> Iterator[str]:
    """An index process in a thread; gives its URL."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    config = uvicorn.Config(shard_app(application, shard), host="127.0.0.1", port=port, log_level="error", ws="none")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join()


def test_shares_answer_together_and_nothing_is_decided_without_one(
    make_application: MakeApp, database_url: str
) -> None:
    holder = make_application(database_url=database_url, bank_shard_secret=SECRET)
    with ExitStack() as stack:
        processes = [stack.enter_context(ExitStack()) for _ in range(3)]
        urls = [process.enter_context(index_process(holder, (n, 3))) for n, process in enumerate(processes)]
        application = make_application(
            database_url=database_url,
            require_key=False,
            bank_shards=",".join(urls),
            bank_shard_secret=SECRET,
            fetch_allowed_networks="127.0.0.0/8",
        )
        application.banks.create("default", BankSpec("ncii", action_hint="block"), actor="test")
        photos = [picture(400, 300, seed=seed) for seed in range(6)]
        for photo in photos:
            signals, _ = application.banks.signals_of(make_image(photo))
            pdq = [NewEntry(signal) for signal in signals if signal.kind == "pdq"]
            application.banks.add("default", "ncii", pdq, actor="test")

        with TestClient(create_app(application)) as client:
            for photo in photos:
                assert scan(client, encode(photo, "JPEG", quality=80))["verdict"]["action"] == "block"
            processes[1].close()
            down = scan(client, encode(picture(400, 300, seed=50), "JPEG"))

    assert down["verdict"]["action"] == "hold"
    (known,) = [finding for finding in down["findings"] if finding["label"] == "known"]
    assert (known["status"], "does not answer" in known["reason"]) == ("failed", True)


def scan(client: TestClient, data: bytes) -> dict:  # type: ignore[type-arg]
    return dict(client.post("/v1/scans", content=data, headers={"Content-Type": "image/jpeg"}).json())


def test_a_wrong_secret_and_unfit_questions_are_refused(make_application: MakeApp) -> None:
    client = TestClient(shard_app(make_application(bank_shard_secret=SECRET), (0, 1)))
    good = {"Authorization": f"Bearer {SECRET}"}
    question = {"tenant": "default", "kind": "pdq", "radius": 31, "hashes": ""}

    assert client.post("/search", json=question).status_code == 401
    assert client.post("/search", json=question, headers={"Authorization": "Bearer x"}).status_code == 401
    assert client.post("/search", json=question, headers=good).json() == {"ids": []}
    for change in ({"kind": "md5"}, {"radius": 32}, {"hashes": "%%"}, {"hashes": "AAAA"}, {"kind": None}):
        assert client.post("/search", json={**question, **change}, headers=good).status_code == 422
    assert client.post("/search", content=b"x" * 2_000_000, headers=good).status_code == 413


def test_without_a_secret_nothing_is_shared(make_application: MakeApp) -> None:
    with pytest.raises(SettingsError, match="BANK_SHARD_SECRET"):
        shard_app(make_application(), (0, 1))
    with pytest.raises(SettingsError, match="BANK_SHARD_SECRET"):
        _ = make_application(bank_shards="http://127.0.0.1:1", bank_shard_secret="short").matcher


@pytest.mark.parametrize("text", ["4/4", "x/2", "1", "-1/2", "0/0", "1/2/3"])
def test_what_is_no_share_is_refused(text: str) -> None:
    with pytest.raises(InvalidRequestError, match="not a share"):
        parse_shard(text)


def test_shares_partition_the_entries(make_application: MakeApp) -> None:
    from moderation.banks.indexes import BankIndexes

    application = make_application()
    application.banks.create("default", BankSpec("x"), actor="test")
    new = [NewEntry(Signal("pdq", bytes([n]) * 32)) for n in range(20)]
    application.banks.add("default", "x", new, actor="test")

    sizes = [BankIndexes(application.database, shard=(n, 3)).snapshot("default").size for n in range(3)]

    assert sum(sizes) == 20
    assert all(6 <= size <= 7 for size in sizes)
