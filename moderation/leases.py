"""What only one process may do at a time, kept in the database: whoever dies loses it by silence."""

import os
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from types import TracebackType

import sqlalchemy as sa
import structlog
from sqlalchemy.exc import IntegrityError

from moderation.database import Database, clock
from moderation.tables import Lease

log = structlog.get_logger(__name__)

LASTS = timedelta(seconds=60)


def new_holder() -> str:
    """A name for one holder of this process, for people and unlike any other."""
    return f"{socket.gethostname()[:30]}/{os.getpid()}/{uuid.uuid4().hex[:12]}"


def is_held(until: datetime | None, now: datetime, lasts: timedelta) -> bool:
    """Whether a lease of this length holds. One that ends far too late is of a clock that jumped back since: it is none."""
    return until is not None and now < until <= now + 2 * lasts


class Heartbeat:
    """Renews a lease from a thread while the block lasts.

    renew: takes how long to hold it further, False where it is lost. most: after that long no more signs are given, so that
    what hangs loses its lease.
    """

    def __init__(
        self, renew: Callable[[timedelta], bool], *, every: timedelta, lasts: timedelta, most: timedelta
    ) -> None:
        self.renew = renew
        self.every, self.lasts, self.most = every.total_seconds(), lasts, most.total_seconds()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="heartbeat", daemon=True)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join(timeout=30)

    def _beat(self) -> None:
        ends = time.monotonic() + self.most
        while not self._stop.wait(self.every) and time.monotonic() < ends:
            try:
                if not self.renew(self.lasts):
                    return
            except Exception:  # the next beat may get through; if none does, the lease ends, which is what it is for
                log.exception("lease could not be renewed")


class Leases:
    """Named leases. They go by the database's clock."""

    def __init__(self, database: Database) -> None:
        self.database = database

    @contextmanager
    def held(self, name: str, *, lasts: timedelta = LASTS) -> Iterator[bool]:
        """Whether this process has the lease for the block; False where another one has it."""
        holder = new_holder()
        if not self._take(name, holder, lasts):
            yield False
            return
        try:
            with Heartbeat(
                lambda until: self._renew(name, holder, until), every=lasts / 3, lasts=lasts, most=timedelta(days=1)
            ):
                yield True
        finally:
            with self.database.write() as session:
                session.execute(sa.delete(Lease).where(Lease.name == name, Lease.holder == holder))

    def _take(self, name: str, holder: str, lasts: timedelta) -> bool:
        with self.database.write() as session:
            now = clock(session)
            lease = session.get(Lease, name, with_for_update=True)
            if lease is None:
                try:
                    with session.begin_nested():
                        session.add(Lease(name=name, holder=holder, held_until=now + lasts))
                except IntegrityError:
                    return False  # another process took it at this moment
                return True
            if is_held(lease.held_until, now, lasts):
                return False
            lease.holder, lease.held_until = holder, now + lasts
        return True

    def _renew(self, name: str, holder: str, until: timedelta) -> bool:
        mine = sa.update(Lease).where(Lease.name == name, Lease.holder == holder)
        with self.database.write() as session:
            result = session.execute(mine.values(held_until=clock(session) + until))
        return int(getattr(result, "rowcount", 0)) == 1
