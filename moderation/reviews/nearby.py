"""Which waiting case a picture is nearly the same as: kept in memory, exact, following the database at every question."""

import threading
from collections import OrderedDict
from collections.abc import Iterable, Sequence

import numpy as np

from moderation.reviews.repository import NumberedHashes, ReviewRepository

RADIUS = 31
"""PDQ bits within which two images are one case, as banks and sweeps compare."""

MOST_TENANTS = 64
"""Whose hashes a process keeps; those of the tenant that was asked about the longest ago are read anew."""

SLACK = 5_000
"""Hashes of cases that wait no more may outnumber those that did at the last reading by so many, then all are read anew."""


class Hashes:
    """Packed 256-bit hashes and the case of each. Comparing is exact: all of them are looked at, half of each first."""

    def __init__(self) -> None:
        self.words = np.zeros((4, 1_024), np.uint64)
        self.owners: list[str] = []

    def add(self, rows: Iterable[NumberedHashes]) -> None:
        for row in rows:
            found = np.frombuffer(row.pdq, np.uint64).reshape(-1, 4)
            size = len(self.owners)
            while size + len(found) > self.words.shape[1]:
                self.words = np.concatenate([self.words, np.zeros_like(self.words)], axis=1)
            self.words[:, size : size + len(found)] = found.T
            self.owners += [row.case_id] * len(found)

    def within(self, orientations: bytes) -> dict[str, int]:
        """Cases with a hash within the radius of one of these, and the least distance in bits."""
        words, found = self.words[:, : len(self.owners)], dict[str, int]()
        for one in np.frombuffer(orientations, np.uint64).reshape(-1, 4):
            half = np.bitwise_count(words[0] ^ one[0]) + np.bitwise_count(words[1] ^ one[1])
            places = np.flatnonzero(half <= RADIUS)
            rest = np.bitwise_count(words[2:, places] ^ one[2:, None]).sum(axis=0, dtype=np.int64)
            for place, apart in zip(places.tolist(), (half[places] + rest).tolist(), strict=True):
                if apart <= RADIUS:
                    found[self.owners[place]] = min(apart, found.get(self.owners[place], apart))
        return found


class Followed(Hashes):
    """The hashes of one tenant's waiting cases, as far as `number`, None before any was read; also of some that wait no more, `over` where that is known.

    loaded: how many there were when all were read.
    """

    def __init__(self) -> None:
        super().__init__()
        self.number: int | None = None
        self.loaded = 0
        self.over: set[str] = set()

    @property
    def is_stale(self) -> bool:
        return len(self.owners) > 2 * self.loaded + SLACK

    def take(self, rows: Sequence[NumberedHashes], number: int) -> None:
        """What was added up to a number."""
        self.over -= {row.case_id for row in rows}
        self.add(rows)
        self.number = number
        self.loaded = self.loaded or len(self.owners)

    def within(self, orientations: bytes) -> dict[str, int]:
        return {case_id: apart for case_id, apart in super().within(orientations).items() if case_id not in self.over}


class Nearby:
    """Finds the waiting case that a picture belongs to.

    Every image that may be joined gets its tenant's next number, under a lock that is held until the transaction ends. So
    whoever holds that lock and has read as far as a number misses nothing by reading what is above it.
    """

    def __init__(self) -> None:
        self._kept: OrderedDict[str, Followed] = OrderedDict()
        self._turn = threading.Lock()

    def kept(self, tenant: str) -> int:
        """How many hashes of a tenant are in memory."""
        with self._turn:
            return len(self._kept[tenant].owners) if tenant in self._kept else 0

    def find(self, repository: ReviewRepository, last: int, orientations: bytes) -> tuple[str, int] | None:
        """The nearest case that waits within the radius, with its distance in bits; the oldest of equals.

        last: what `ReviewRepository.lock_tenant` gave, whose lock is held.
        """
        followed, own = self._follow(repository, last)
        found = followed.within(orientations)
        for case_id, apart in own.within(orientations).items():
            found[case_id] = min(apart, found.get(case_id, apart))
        waiting = repository.waiting_among(sorted(found)) if found else set()
        followed.over |= found.keys() - waiting
        return min(((case_id, found[case_id]) for case_id in waiting), key=lambda one: (one[1], one[0]), default=None)

    def _follow(self, repository: ReviewRepository, last: int) -> tuple[Followed, Hashes]:
        """What is kept of the tenant, up to date; and what this very transaction added, which may yet be rolled back."""
        with self._turn:
            followed = self._kept.get(repository.tenant)
            # a number that went back: the database fell over to a copy that had not got the last writes
            if followed is None or followed.is_stale or (followed.number or 0) > last:
                followed = Followed()
            self._kept[repository.tenant] = followed
            self._kept.move_to_end(repository.tenant)
            while len(self._kept) > MOST_TENANTS:
                self._kept.popitem(last=False)
        first_own = repository.first_own_number or last + 1
        own, settled = Hashes(), []
        for row in repository.waiting_hashes(above=followed.number):
            if row.number is None or row.number < first_own:
                settled.append(row)
            else:
                own.add([row])
        followed.take(settled, first_own - 1)
        return followed, own
