"""Making and filling banks, looking signals up, and holding back entries that flood."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

import structlog
from sqlalchemy.orm import Session

from detectors.base import Finding
from detectors.image import Image
from detectors.signals import SignalsDetector
from moderation import audit, events
from moderation.banks.indexes import BankIndexes
from moderation.banks.matcher import Matcher, Near, Probe, matched_entries, probes_of
from moderation.banks.records import BankCount, BankSpec, LoadReport, NewEntry, Signal
from moderation.banks.repository import BankRepository
from moderation.batches import batched
from moderation.database import Database
from moderation.errors import ConflictError, InvalidRequestError, NotFoundError
from moderation.tables import Bank, BankEntry, BankMatch, new_id, utc_now

log = structlog.get_logger(__name__)

BATCH = 5_000
"""Entries of one transaction while a list is loaded."""

MOST_PROBLEMS = 100
"""Malformed rows that a report names; the rest are counted."""

FLOOD_FACTOR = 10
"""How far beyond an average day of its history an entry must be before it is quarantined."""

Row = NewEntry | InvalidRequestError
"""A row of a list: an entry, or why it is none."""


class BankService:
    def __init__(
        self, database: Database, indexes: BankIndexes, matcher: Matcher, signals: Callable[[], SignalsDetector]
    ) -> None:
        self.database = database
        self.indexes = indexes
        self.matcher = matcher
        self.signals = signals

    def create(self, tenant: str, spec: BankSpec, *, actor: str) -> Bank:
        """Raises ConflictError when the name is taken."""
        bank = Bank(id=new_id("bank"), tenant_id=tenant, created_at=utc_now(), **spec.as_dict())
        with self.database.write() as session:
            repository = BankRepository(session, tenant)
            if repository.bank(spec.name):
                raise ConflictError(f"There is a bank {spec.name!r} already.", hint="Take another name.")
            session.add(bank)
            audit.record(session, tenant, actor, "bank.created", bank.id, name=spec.name, negative=spec.negative)
        return bank

    def update(self, tenant: str, name: str, changes: dict[str, Any], *, actor: str) -> Bank:
        """Change a bank; None leaves a field as it is. Raises NotFoundError, InvalidRequestError, ConflictError."""
        changes = {field: value for field, value in changes.items() if value is not None}
        with self.database.write() as session:
            repository = BankRepository(session, tenant)
            bank = found(repository.bank(name), name)
            spec = replace(BankSpec.of(bank), **changes)
            if spec.name != name and repository.bank(spec.name):
                raise ConflictError(f"There is a bank {spec.name!r} already.", hint="Take another name.")
            for field, value in spec.as_dict().items():
                setattr(bank, field, value)
            changes.pop("note", None)
            audit.record(session, tenant, actor, "bank.changed", bank.id, **changes)
        return bank

    def delete(self, tenant: str, name: str, *, actor: str) -> int:
        """Delete a bank and its entries; gives how many those were. Raises NotFoundError."""
        with self.database.write() as session:
            repository = BankRepository(session, tenant)
            bank = found(repository.bank(name), name)
            if repository.followed(bank.id):
                raise ConflictError(
                    f"The bank {name!r} follows an exchange.", hint=f"`palisade exchanges remove {name}` first."
                )
            count = repository.delete_entries(BankEntry.bank_id == bank.id)
            session.delete(bank)
            audit.record(session, tenant, actor, "bank.deleted", bank.id, name=name, entries=count)
        self.indexes.changed(tenant)
        return count

    def find(self, tenant: str, name: str) -> BankCount:
        """Raises NotFoundError."""
        with self.database.read() as session:
            repository = BankRepository(session, tenant)
            return _counted(repository, found(repository.bank(name), name))

    def banks(self, tenant: str) -> list[BankCount]:
        """All banks by name."""
        with self.database.read() as session:
            repository = BankRepository(session, tenant)
            return [_counted(repository, bank) for bank in repository.banks()]

    def add(self, tenant: str, name: str, entries: Sequence[NewEntry], *, actor: str) -> int:
        """Add entries; gives how many were not there yet. Raises NotFoundError, InvalidRequestError."""
        if len(entries) > BATCH:
            raise InvalidRequestError(
                f"{len(entries):,} entries at once.", hint=f"Send at most {BATCH:,}, or load a list."
            )
        with self.database.write() as session:
            repository = BankRepository(session, tenant)
            repository.advance()
            bank = found(repository.bank(name), name)
            added = repository.add(bank.id, entries)
            audit.record(session, tenant, actor, "bank.entries_added", bank.id, entries=added)
        self.indexes.changed(tenant)
        return added

    def signals_of(self, image: Image) -> tuple[list[Signal], list[str]]:
        """What an image is listed by, SHA-256, MD5, and PDQ of each frame; and which of them it has none of.

        A picture too plain for PDQ is `unhashable`: it is listed by its digests alone.
        """
        (findings,) = self.signals().detect([image])
        probes = [probe for probe in probes_of(findings) if probe.orientation == 0 and probe.signal.kind != "phash"]
        signals = list(dict.fromkeys(probe.signal for probe in probes))
        return signals, [] if any(signal.kind == "pdq" for signal in signals) else ["pdq"]

    def load(
        self,
        tenant: str,
        name: str,
        rows: Iterable[tuple[int, Row]],
        *,
        actor: str,
        told: Callable[[int], None] = lambda _: None,
    ) -> LoadReport:
        """Add a list of any length, row by row: (line, entry or why it is none). Malformed rows are told, the rest is added.

        Each batch is a transaction of its own: a load that is interrupted may be run again. told: is given the rows read.
        """
        added = present = refused = 0
        problems: list[tuple[int, str]] = []
        for batch in batched(rows, BATCH):
            good = [row for _, row in batch if isinstance(row, NewEntry)]
            bad = [(line, row.message) for line, row in batch if isinstance(row, InvalidRequestError)]
            new = self.add(tenant, name, good, actor=actor) if good else 0
            added, present, refused = added + new, present + len(good) - new, refused + len(bad)
            problems += bad[: MOST_PROBLEMS - len(problems)]
            told(len(batch))
        return LoadReport(added, present, refused, tuple(problems))

    def entries(
        self, tenant: str, name: str, *, after: int = 0, limit: int = 100, state: str = ""
    ) -> Sequence[BankEntry]:
        """A page of a bank's entries by id. state: '' for all, or `quarantined`, `disabled`. Raises NotFoundError."""
        with self.database.read() as session:
            repository = BankRepository(session, tenant)
            return repository.page(found(repository.bank(name), name).id, after=after, limit=limit, state=state)

    def all_entries(self, tenant: str, name: str) -> Iterator[BankEntry]:
        """Every entry of a bank by id, page by page. Raises NotFoundError."""
        after = 0
        while page := self.entries(tenant, name, after=after, limit=BATCH):
            yield from page
            after = page[-1].id

    def remove(self, tenant: str, entry_id: int, *, actor: str) -> None:
        """Delete an entry. It does not match from now on. Raises NotFoundError."""
        with self.database.write() as session:
            repository = BankRepository(session, tenant)
            bank_id = entry_found(repository.entry(entry_id), entry_id).bank_id
            repository.delete_entries(BankEntry.id == entry_id)
            audit.record(session, tenant, actor, "bank.entry_removed", bank_id, entry=entry_id)
        self.indexes.changed(tenant)

    def disable(self, tenant: str, entry_id: int, until: datetime | None, *, actor: str, note: str = "") -> BankEntry:
        """Let an entry not match until a moment, None to enable it. Raises NotFoundError, InvalidRequestError."""
        if until is not None and until.tzinfo is None:
            raise InvalidRequestError(f"{until} has no time zone.", hint="Write it as 2030-01-31T00:00:00Z.")
        return self._change(tenant, entry_id, "disabled" if until else "enabled", actor, note, disabled_until=until)

    def release(self, tenant: str, entry_id: int, *, actor: str, note: str = "") -> BankEntry:
        """Let an entry match again that was quarantined for flooding. Raises NotFoundError."""
        return self._change(tenant, entry_id, "released", actor, note, quarantined_at=None)

    def _change(
        self, tenant: str, entry_id: int, verb: str, actor: str, note: str, **values: datetime | None
    ) -> BankEntry:
        with self.database.write() as session:
            entry = entry_found(BankRepository(session, tenant).entry(entry_id), entry_id)
            for name, value in values.items():
                setattr(entry, name, value)
            if note:
                entry.note = NewEntry(Signal(entry.kind, entry.value), note=note).note
            audit.record(session, tenant, actor, f"bank.entry_{verb}", entry.bank_id, entry=entry_id)
        return entry

    def search(self, tenant: str, probes: Sequence[Probe]) -> list[Near]:
        """Every entry near the probes, whatever its state: the nearest first."""
        return sorted(self.matcher.near(tenant, probes), key=lambda near: (near.distance, near.entry.id))

    def search_image(self, tenant: str, image: Image) -> list[Near]:
        """Every entry near an image."""
        (findings,) = self.signals().detect([image])
        return self.search(tenant, probes_of(findings))

    def matches(
        self, tenant: str, name: str, *, entry_id: int | None = None, after: str = "", limit: int = 100
    ) -> Sequence[BankMatch]:
        """Images that a bank, or one of its entries, matched: the newest first. Raises NotFoundError."""
        with self.database.read() as session:
            repository = BankRepository(session, tenant)
            bank = found(repository.bank(name), name)
            return repository.matches(bank.id, entry_id=entry_id, after=after, limit=limit)


def note_matches(session: Session, tenant: str, image_id: str, scan_id: str, findings: Sequence[Finding]) -> None:
    """Keep what an image matched, and quarantine entries that flood: far more images in a day than their history has.

    In the transaction of the scan. An entry of a grave bank is told to the host at once, since it stops to match.
    """
    repository, now = BankRepository(session, tenant), utc_now()
    matched = matched_entries(findings)
    for entry, bank in repository.entries(sorted(matched)):
        finding = matched[entry.id]
        match = BankMatch(
            id=new_id("match"),
            tenant_id=tenant,
            created_at=now,
            entry_id=entry.id,
            bank_id=bank.id,
            image_id=image_id,
            scan_id=scan_id,
            kind=entry.kind,
            distance=finding.evidence["distance"],
            unapplied=finding.evidence.get("why", ""),
            times=1,
            last_at=now,
        )
        if repository.note_match(match):
            _hold_back_a_flood(repository, entry, bank, now)


def _hold_back_a_flood(repository: BankRepository, entry: BankEntry, bank: Bank, now: datetime) -> None:
    session, tenant = repository.session, repository.tenant
    today, usual = repository.count_day(entry.id, now.date())
    if not bank.flood_limit or entry.quarantined_at or today <= max(bank.flood_limit, FLOOD_FACTOR * usual):
        return
    entry.quarantined_at = now
    told = {"bank": bank.name, "entry": entry.id, "images_today": today, "usual": round(usual, 1)}
    log.warning("bank entry quarantined", tenant=tenant, **told)
    audit.record(session, tenant, "palisade", "bank.entry_quarantined", bank.id, **told)
    events.add(session, tenant, "bank.entry_quarantined", told)


def found(bank: Bank | None, name: str) -> Bank:
    """Raises NotFoundError."""
    if bank is None:
        raise NotFoundError(f"There is no bank {name[:100]!r}.", hint="See `palisade banks list`.")
    return bank


def entry_found(entry: BankEntry | None, entry_id: int) -> BankEntry:
    """Raises NotFoundError."""
    if entry is None:
        raise NotFoundError(f"There is no entry {entry_id}.", hint="Search for the hash to find its number.")
    return entry


def _counted(repository: BankRepository, bank: Bank) -> BankCount:
    return BankCount(bank, repository.counts(bank.id), repository.quarantined(bank.id))
