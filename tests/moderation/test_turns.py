"""Who scans when: uploads first."""

import threading
import time

import pytest

from moderation import turns
from moderation.errors import RateLimitError
from moderation.turns import Turns


def test_bulk_work_stands_back_between_its_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turns, "COURTESY_SECONDS", 30.0)
    gives, order = Turns(concurrency=2, waiting=0), []
    started, come = threading.Event(), threading.Event()

    def bulk() -> None:
        with gives.bulk() as pause:
            started.set()
            come.wait(5)
            pause()
            order.append("bulk")

    thread = threading.Thread(target=bulk)
    thread.start()
    assert started.wait(5)
    with gives.upload():
        come.set()
        time.sleep(0.2)
        order.append("upload")
    thread.join(5)

    assert order == ["upload", "bulk"]


def test_an_upload_takes_the_only_turn_at_the_next_pause() -> None:
    gives = Turns(concurrency=1, waiting=1)
    began, done = threading.Event(), threading.Event()

    def upload() -> None:
        with gives.upload():
            began.set()
        done.set()

    with gives.bulk() as pause:
        thread = threading.Thread(target=upload)
        thread.start()
        assert not began.wait(0.1), "a step is not broken off"
        pause()
        assert done.wait(5)
    thread.join(5)


def test_a_busy_server_still_does_some_bulk_work_where_there_is_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turns, "COURTESY_SECONDS", 0.05)
    gives = Turns(concurrency=2, waiting=0)

    with gives.upload(), gives.bulk() as pause:
        pause()


def test_bulk_work_gives_up_where_there_is_never_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turns, "COURTESY_SECONDS", 0.05)
    monkeypatch.setattr(turns, "PATIENCE_SECONDS", 0.1)
    gives = Turns(concurrency=1, waiting=1)

    with gives.upload(), pytest.raises(RateLimitError), gives.bulk():
        pytest.fail("it has no turn")

    with gives.bulk() as pause:
        pause()
    assert gives.places == 2


def test_bulk_work_never_has_all_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turns, "COURTESY_SECONDS", 0.05)
    monkeypatch.setattr(turns, "PATIENCE_SECONDS", 0.1)
    gives = Turns(concurrency=2, waiting=0)

    with gives.bulk(), pytest.raises(RateLimitError), gives.bulk():
        pytest.fail("it is the last turn")
