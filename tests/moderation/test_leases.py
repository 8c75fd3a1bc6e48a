"""Leases: one process at a time, and nobody for ever."""

import threading
from datetime import timedelta

from moderation.chores import Chores
from moderation.database import Database
from moderation.leases import Leases


def test_one_has_it_at_a_time(database: Database) -> None:
    leases = Leases(database)

    with leases.held("x") as first, leases.held("x") as second, leases.held("y") as other:
        assert (first, second, other) == (True, False, True)

    with leases.held("x") as again:
        assert again


def test_silence_ends_it_and_signs_of_life_do_not(database: Database) -> None:
    leases, short = Leases(database), timedelta(seconds=0.6)

    with leases.held("x", lasts=short) as mine:
        threading.Event().wait(1.2)
        with leases.held("x") as theirs:
            assert (mine, theirs) == (True, False)
    assert leases._take("x", "a process that dies", short)
    threading.Event().wait(0.8)
    with leases.held("x") as after:
        assert after


def test_a_chore_is_never_done_twice_at_once(database: Database) -> None:
    begun, go_on = threading.Event(), threading.Event()
    runs: list[int] = []

    def chore() -> int:
        runs.append(1)
        begun.set()
        go_on.wait(10)
        return 1

    first, second = (Chores({"c": chore}, Leases(database)) for _ in range(2))
    done: list[int] = []
    thread = threading.Thread(target=lambda: done.append(first.run_alone("c")))
    thread.start()
    assert begun.wait(10)

    assert second.run_alone("c") == 0
    go_on.set()
    thread.join()

    assert (done, len(runs)) == ([1], 1)
