"""Looks a whole page of images up in lists: what `KnownDetector.look_up` finds of each, in a few queries for all."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import sqlalchemy as sa

from detectors.base import Finding
from detectors.known import KnownDetector, KnownMatch
from moderation.banks.index import distances
from moderation.banks.matcher import DIGESTS, Matcher, Near, Probe, best_of_banks, closest, probes_of
from moderation.banks.records import PDQ_RADIUS, PHASH_RADIUS
from moderation.banks.repository import BankRepository
from moderation.rescans.probes import Page
from moderation.tables import Bank, BankEntry, utc_now

RADII = {"pdq": PDQ_RADIUS, "phash": 2 * PHASH_RADIUS}
"""Bits within which an entry of any bank may lie."""

MOST_VALUES = 500
"""Digests of one query."""

Entry = tuple[BankEntry, Bank]

Signals = Callable[[int], Sequence[Finding]]


class PageLookup:
    """Answers as the scanner's `known` detector does, for many images at once."""

    def __init__(self, matcher: Matcher, known: KnownDetector) -> None:
        self.matcher = matcher
        self.known = KnownDetector(known.runtime)
        self._answer = _Answer()
        self.known.attach(self._answer)

    def look_up(self, tenant: str, page: Page, signals: Signals) -> list[list[Finding]]:
        """The findings of `known` of each image of the page. signals: the findings of `signals` of an image, by its number."""
        with self.matcher.database.read() as session:
            banks = BankRepository(session, tenant).banks()
        images = range(len(page.sha256s))
        if not banks:
            nothing = self._findings(None)
            return [nothing for _ in images]
        near = self._near(tenant, page, signals)
        none: list[Finding] = []
        return [self._findings(self._matches(page, near[i], i)) if i in near else none for i in images]

    def _findings(self, matches: list[KnownMatch] | None) -> list[Finding]:
        self._answer.matches_now = matches
        return self.known.look_up([], "")

    @staticmethod
    def _matches(page: Page, near: Sequence[Near], image: int) -> list[KnownMatch]:
        return best_of_banks(near, image=page.sha256s[image].hex(), now=utc_now())

    def _near(self, tenant: str, page: Page, signals: Signals) -> Mapping[int, list[Near]]:
        """Entries near each image, by its number in the page."""
        near: dict[int, list[Near]] = {}
        probes: dict[int, list[Probe]] = {}
        for entry, bank in self._candidates(tenant, page):
            for image in owners(page, entry):
                if image not in probes:
                    probes[image] = probes_of(signals(image))
                of_kind = [probe for probe in probes[image] if probe.signal.kind == entry.kind]
                found = closest(entry, bank, of_kind) if of_kind else None
                if found:
                    near.setdefault(image, []).append(found)
        return near

    def _candidates(self, tenant: str, page: Page) -> Sequence[Entry]:
        """Entries that may be near some image of the page."""
        ids: set[int] = set()
        for kind, radius in RADII.items():
            hashes, _ = page.hashes(kind)
            if len(hashes):
                ids |= set(self.matcher.search.near(tenant, kind, hashes, radius))
        with self.matcher.database.read() as session:
            repository = BankRepository(session, tenant)
            exact = [entry for kind in DIGESTS for entry in _exact(repository, kind, page)]
            ordered = sorted(ids)
            parts = [ordered[at : at + MOST_VALUES] for at in range(0, len(ordered), MOST_VALUES)]
            return [*exact, *(entry for part in parts for entry in repository.entries(part))]


class _Answer:
    """A `KnownSource` that gives the matches it was told."""

    def __init__(self) -> None:
        self.matches_now: list[KnownMatch] | None = None

    def matches(self, _tenant: str, _signals: Sequence[Finding]) -> list[KnownMatch] | None:
        return self.matches_now


def _exact(repository: BankRepository, kind: str, page: Page) -> list[Entry]:
    values = sorted({value for value in page.digests(kind) if value})
    query = sa.select(BankEntry, Bank).join(Bank, Bank.id == BankEntry.bank_id)
    query = query.where(BankEntry.tenant_id == repository.tenant, BankEntry.kind == kind)
    found: list[Entry] = []
    for at in range(0, len(values), MOST_VALUES):
        part = query.where(BankEntry.value.in_(values[at : at + MOST_VALUES])).order_by(BankEntry.id)
        found += [(entry, bank) for entry, bank in repository.session.execute(part)]
    return found


def owners(page: Page, entry: BankEntry) -> list[int]:
    """Images of the page that an entry may be near."""
    if entry.kind in DIGESTS:
        return [image for image, value in enumerate(page.digests(entry.kind)) if value == entry.value]
    hashes, of = page.hashes(entry.kind)
    if len(entry.value) != hashes.shape[1]:
        return []
    apart = distances(hashes, np.frombuffer(entry.value, np.uint8)[None])
    return [int(image) for image in np.unique(of[apart <= RADII[entry.kind]])]
