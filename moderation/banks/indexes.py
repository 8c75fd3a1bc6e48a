"""Each tenant's index of perceptual hashes: followed in the database, rebuilt off the request path, swapped whole."""

import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np
import structlog

from detectors.signals import SIZES
from moderation.banks.index import SEGMENT, TAIL, ChunkSegment, FlatSegment, Hashes, HashIndex, Hits, Ids
from moderation.banks.repository import BankRepository
from moderation.database import Database

log = structlog.get_logger(__name__)

JITTER = random.Random()
"""Of its own: whoever seeds the process's random numbers does not line processes up."""

REFRESH_SECONDS = 1.5
"""How long a process goes without asking whether entries were added; jittered, so that processes do not ask together."""

PAGE = 50_000
"""Hashes that are read from the database at once."""

PERCEPTUAL = ("pdq", "phash")


@dataclass(frozen=True, eq=False)
class KindIndex:
    """The index of one kind: hashes up to the id `sealed` are sorted into segments, those up to `last` are in the tail."""

    kind: str
    index: HashIndex
    sealed: int = 0
    last: int = 0
    tail: Hashes = field(default_factory=lambda: np.zeros((0, 0), np.uint8))
    tail_ids: Ids = field(default_factory=lambda: np.zeros(0, np.int64))

    @property
    def full_tail(self) -> bool:
        return len(self.tail_ids) > TAIL


@dataclass(frozen=True, eq=False)
class Snapshot:
    """A tenant's indexes as of one moment. removed: entries ever removed when segments were last built from nothing."""

    kinds: dict[str, KindIndex]
    sequence: int
    removed: int
    read_removed: int
    asked: float

    def search(self, kind: str, queries: Hashes, radius: int) -> Hits:
        return self.kinds[kind].index.search(queries, radius)

    @property
    def size(self) -> int:
        return sum(len(kind.index) for kind in self.kinds.values())


class BankIndexes:
    """Indexes of every tenant that was asked for. Safe to share between threads.

    Additions are seen within `REFRESH_SECONDS` and its jitter; a deletion is noticed when a hit is looked up in the
    database, so that it counts at once everywhere, and the dead hashes are dropped by a rebuild. Rebuilds run in a thread
    of their own while the old snapshot serves.

    shard: which share of the entries this process holds, as (number, of how many).
    """

    def __init__(
        self, database: Database, *, shard: tuple[int, int] = (0, 1), clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.database = database
        self.shard = shard
        self.clock = clock
        self._snapshots: dict[str, Snapshot] = {}
        self._locks: dict[str, threading.Lock] = {}
        self._making = threading.Lock()
        self._rebuilding: dict[str, threading.Thread] = {}

    def snapshot(self, tenant: str) -> Snapshot:
        """The indexes as they are now. The first call reads everything."""
        known = self._snapshots.get(tenant)
        if known and self.clock() < known.asked:
            return known
        with self._lock(tenant):
            known = self._snapshots.get(tenant)
            if known is None or self.clock() >= known.asked:
                known = self._snapshots[tenant] = self._follow(tenant, known)
        return known

    def changed(self, tenant: str) -> None:
        """Ask again the next time: this process added entries."""
        with self._lock(tenant):
            if tenant in self._snapshots:
                self._snapshots[tenant] = replace(self._snapshots[tenant], asked=-1.0)

    def settle(self, tenant: str) -> None:
        """Wait for a rebuild that is under way, if there is one."""
        thread = self._rebuilding.get(tenant)
        if thread:
            thread.join()

    def _lock(self, tenant: str) -> threading.Lock:
        with self._making:
            return self._locks.setdefault(tenant, threading.Lock())

    def _again(self) -> float:
        return self.clock() + REFRESH_SECONDS * JITTER.uniform(0.7, 1.3)

    def _follow(self, tenant: str, known: Snapshot | None) -> Snapshot:
        """The next snapshot: the one before, and what was added since."""
        with self.database.read() as session:
            sequence, removed = BankRepository(session, tenant).state()
        if known is None:
            kinds = {kind: self._build(tenant, kind) for kind in PERCEPTUAL}
            return Snapshot(kinds, sequence, removed, removed, self._again())
        if known.sequence == sequence:
            return replace(known, asked=self._again())
        if any(kind.full_tail for kind in known.kinds.values()) and self._is_rebuilding(tenant):
            return replace(known, asked=self._again())
        kinds, complete = {}, True
        for kind, old in known.kinds.items():
            kinds[kind] = self._extend(tenant, old)
            complete = complete and kinds[kind].last - old.last < PAGE
        grown = Snapshot(kinds, sequence if complete else known.sequence, removed, known.read_removed, self._again())
        if any(kind.full_tail for kind in kinds.values()) or removed - known.read_removed > 1_000 + grown.size // 10:
            self._rebuild_aside(tenant)
        return grown

    def _extend(self, tenant: str, old: KindIndex) -> KindIndex:
        """The index with one page more, in its tail."""
        ids, hashes = self._read(tenant, old.kind, old.last, PAGE)
        if not len(ids):
            return old
        last = int(ids[-1])
        ids, hashes = self._of_shard(ids, hashes)
        tail_ids = np.concatenate([old.tail_ids, ids])
        tail = np.concatenate([old.tail, hashes]) if len(old.tail_ids) else hashes
        index = replace(old.index, tail=FlatSegment(tail, tail_ids) if len(tail_ids) else None)
        return replace(old, index=index, last=last, tail=tail, tail_ids=tail_ids)

    def _is_rebuilding(self, tenant: str) -> bool:
        running = self._rebuilding.get(tenant)
        return running is not None and running.is_alive()

    def _rebuild_aside(self, tenant: str) -> None:
        if self._is_rebuilding(tenant):
            return
        thread = threading.Thread(target=self._rebuild, args=(tenant,), name=f"bank index {tenant}", daemon=True)
        self._rebuilding[tenant] = thread
        thread.start()

    def _rebuild(self, tenant: str) -> None:
        """Sort the tails into segments; from nothing where a tenth of the hashes is dead."""
        old = self._snapshots[tenant]
        try:
            with self.database.read() as session:
                _, removed = BankRepository(session, tenant).state()
            anew = removed - old.read_removed > 1_000 + old.size // 10
            kinds = {kind: self._build(tenant, kind, None if anew else index) for kind, index in old.kinds.items()}
        except Exception:  # the old snapshot serves on, and the next change tries again
            log.exception("bank index was not rebuilt", tenant=tenant)
            return
        with self._lock(tenant):
            self._snapshots[tenant] = replace(
                self._snapshots[tenant],
                kinds=kinds,
                sequence=-1,
                read_removed=removed if anew else old.read_removed,
                asked=-1.0,
            )

    def _build(self, tenant: str, kind: str, old: KindIndex | None = None) -> KindIndex:
        """The index of everything in the database; full segments of `old` are taken over."""
        kept = tuple(part for part in old.index.segments if len(part) == SEGMENT) if old else ()
        sealed = after = old.sealed if old else 0
        parts: list[ChunkSegment | FlatSegment] = list(kept)
        while True:
            ids, hashes, after = self._segment(tenant, kind, after)
            if len(ids):
                parts.append(ChunkSegment(hashes, ids) if SIZES[kind] == 32 else FlatSegment(hashes, ids))
            if len(ids) < SEGMENT:
                break
            sealed = after
        return KindIndex(kind, HashIndex(SIZES[kind], tuple(parts)), sealed, after)

    def _segment(self, tenant: str, kind: str, after: int) -> tuple[Ids, Hashes, int]:
        """Up to a segment's hashes behind an id, and the id of the last one that was read."""
        found_ids, found = [], []
        count = 0
        while count < SEGMENT:
            ids, hashes = self._read(tenant, kind, after, min(PAGE, SEGMENT - count))
            if not len(ids):
                break
            after = int(ids[-1])
            ids, hashes = self._of_shard(ids, hashes)
            found_ids.append(ids)
            found.append(hashes)
            count += len(ids)
        if not found:
            return np.zeros(0, np.int64), np.zeros((0, SIZES[kind]), np.uint8), after
        return np.concatenate(found_ids), np.concatenate(found), after

    def _read(self, tenant: str, kind: str, after: int, limit: int) -> tuple[Ids, Hashes]:
        with self.database.read() as session:
            return BankRepository(session, tenant).hashes(kind, after=after, limit=limit)

    def _of_shard(self, ids: Ids, hashes: Hashes) -> tuple[Ids, Hashes]:
        number, shards = self.shard
        if shards == 1:
            return ids, hashes
        mine = ids % shards == number
        return ids[mine], hashes[mine]
