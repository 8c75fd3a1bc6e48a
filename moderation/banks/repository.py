"""SQL of banks, their entries and what matched."""

from collections.abc import Iterable, Sequence
from datetime import date, timedelta

import numpy as np
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from detectors.signals import SIZES
from moderation.banks.index import Hashes, Ids
from moderation.banks.records import NewEntry, Signal
from moderation.tables import Bank, BankEntry, BankEntryDay, BankMatch, BankState, Exchange, utc_now

HISTORY = timedelta(days=30)


class BankRepository:
    """Reads and writes the banks of one tenant within one transaction."""

    def __init__(self, session: Session, tenant: str) -> None:
        self.session = session
        self.tenant = tenant
        self.insert = postgresql.insert if session.get_bind().dialect.name == "postgresql" else sqlite.insert

    def bank(self, name: str) -> Bank | None:
        return self.session.scalar(sa.select(Bank).where(Bank.tenant_id == self.tenant, Bank.name == name))

    def banks(self) -> Sequence[Bank]:
        return self.session.scalars(sa.select(Bank).where(Bank.tenant_id == self.tenant).order_by(Bank.name)).all()

    def followed(self, bank_id: str) -> bool:
        """Whether the bank follows an exchange."""
        return self.session.scalar(sa.select(Exchange.id).where(Exchange.bank_id == bank_id).limit(1)) is not None

    def counts(self, bank_id: str) -> dict[str, int]:
        query = sa.select(BankEntry.kind, sa.func.count()).where(BankEntry.bank_id == bank_id).group_by(BankEntry.kind)
        return {row[0]: row[1] for row in self.session.execute(query.order_by(BankEntry.kind))}

    def quarantined(self, bank_id: str) -> int:
        query = sa.select(sa.func.count()).where(BankEntry.bank_id == bank_id, BankEntry.quarantined_at.is_not(None))
        return self.session.scalar(query) or 0

    def state(self) -> tuple[int, int]:
        """The sequence of changes, and how many entries were ever removed."""
        row = self.session.execute(
            sa.select(BankState.sequence, BankState.removed).where(BankState.tenant_id == self.tenant)
        ).first()
        return (row.sequence, row.removed) if row else (0, 0)

    def advance(self, *, removed: int = 0) -> None:
        """Tell every process that entries changed. Locks out other writers of the tenant until the transaction ends.

        Call it before adding: so ids grow in the order of commits, and whoever follows by id misses none.
        """
        self.session.execute(
            self.insert(BankState)
            .values(tenant_id=self.tenant, sequence=1, removed=removed)
            .on_conflict_do_update(
                index_elements=["tenant_id"],
                set_={"sequence": BankState.sequence + 1, "removed": BankState.removed + removed},
            )
        )

    def add(self, bank_id: str, entries: Sequence[NewEntry], *, run: int = 0) -> int:
        """Add entries that are not there yet; gives how many those were. A repeated one keeps its note, and takes `run`."""
        if not entries:
            return 0
        counts_rows = not run and self.session.get_bind().dialect.name == "sqlite"
        before = 0 if counts_rows else self._highest()
        now = utc_now()
        rows = [
            {
                "tenant_id": self.tenant,
                "created_at": now,
                "bank_id": bank_id,
                "kind": entry.signal.kind,
                "value": entry.signal.value,
                "external_id": entry.external_id,
                "note": entry.note,
                "run": run,
            }
            for entry in entries
        ]
        statement = self.insert(BankEntry.__table__)  # type: ignore[arg-type]
        unique = ["tenant_id", "kind", "value", "bank_id", "external_id"]
        if run:
            statement = statement.on_conflict_do_update(index_elements=unique, set_={"run": run})
        else:
            statement = statement.on_conflict_do_nothing(index_elements=unique)
        result = self.session.connection().execute(statement, rows)
        if counts_rows:
            return result.rowcount
        # PostgreSQL's driver does not say, and changed rows would count too: new ones are those with new numbers.
        query = sa.select(sa.func.count()).where(
            BankEntry.tenant_id == self.tenant, BankEntry.bank_id == bank_id, BankEntry.id > before
        )
        return self.session.scalar(query) or 0

    def _highest(self) -> int:
        return self.session.scalar(sa.select(sa.func.max(BankEntry.id))) or 0

    def entry(self, entry_id: int) -> BankEntry | None:
        return self.session.scalar(
            sa.select(BankEntry).where(BankEntry.tenant_id == self.tenant, BankEntry.id == entry_id)
        )

    def entries(self, ids: Iterable[int]) -> Sequence[tuple[BankEntry, Bank]]:
        """Those of these entries that are there, with their banks."""
        query = sa.select(BankEntry, Bank).join(Bank, Bank.id == BankEntry.bank_id)
        query = query.where(BankEntry.tenant_id == self.tenant, BankEntry.id.in_(list(ids)))
        return [(entry, bank) for entry, bank in self.session.execute(query)]

    def exact(self, signals: Sequence[Signal]) -> Sequence[tuple[BankEntry, Bank]]:
        """The entries that hold exactly these signals, with their banks."""
        wanted = sa.or_(*[sa.and_(BankEntry.kind == s.kind, BankEntry.value == s.value) for s in signals])
        query = sa.select(BankEntry, Bank).join(Bank, Bank.id == BankEntry.bank_id)
        query = query.where(BankEntry.tenant_id == self.tenant, wanted).order_by(BankEntry.id)
        return [(entry, bank) for entry, bank in self.session.execute(query)]

    def of_records(self, bank_id: str, records: Sequence[str]) -> Sequence[BankEntry]:
        """A bank's entries that came from these records of a list."""
        query = sa.select(BankEntry).where(BankEntry.bank_id == bank_id, BankEntry.external_id.in_(records))
        return self.session.scalars(query.where(BankEntry.tenant_id == self.tenant)).all()

    def page(self, bank_id: str, *, after: int = 0, limit: int, state: str = "") -> Sequence[BankEntry]:
        """A bank's entries by id."""
        query = sa.select(BankEntry).where(
            BankEntry.tenant_id == self.tenant, BankEntry.bank_id == bank_id, BankEntry.id > after
        )
        if state == "quarantined":
            query = query.where(BankEntry.quarantined_at.is_not(None))
        elif state == "disabled":
            query = query.where(BankEntry.disabled_until > utc_now())
        return self.session.scalars(query.order_by(BankEntry.id).limit(limit)).all()

    def hashes(self, kind: str, *, after: int, limit: int) -> tuple[Ids, Hashes]:
        """Ids (n) and hashes (n, bytes) of a kind, by id: what indexes are made of."""
        query = sa.select(BankEntry.id, BankEntry.value).where(
            BankEntry.tenant_id == self.tenant, BankEntry.kind == kind, BankEntry.id > after
        )
        rows = self.session.execute(query.order_by(BankEntry.id).limit(limit)).all()
        ids = np.fromiter((row[0] for row in rows), np.int64, len(rows))
        return ids, np.frombuffer(b"".join(row[1] for row in rows), np.uint8).reshape(-1, SIZES[kind])

    def delete_entries(self, condition: sa.ColumnElement[bool]) -> int:
        """Delete the tenant's entries of a condition, and their history; gives how many. Tells every process."""
        doomed = sa.select(BankEntry.id).where(BankEntry.tenant_id == self.tenant, condition)
        self.session.execute(sa.delete(BankEntryDay).where(BankEntryDay.entry_id.in_(doomed)))
        result = self.session.execute(sa.delete(BankEntry).where(BankEntry.tenant_id == self.tenant, condition))
        count: int = result.rowcount  # type: ignore[attr-defined]
        if count:
            self.advance(removed=count)
        return count

    def note_match(self, match: BankMatch) -> bool:
        """Keep that an entry matched an image; gives whether it had not before."""
        known = self.session.scalar(
            sa.select(BankMatch).where(BankMatch.entry_id == match.entry_id, BankMatch.image_id == match.image_id)
        )
        if known is None:
            self.session.add(match)
            self.session.flush()
            return True
        known.times += 1
        known.scan_id, known.last_at, known.unapplied = match.scan_id, match.last_at, match.unapplied
        return False

    def count_day(self, entry_id: int, day: date) -> tuple[int, float]:
        """Count a new image for an entry; gives today's images, and those of an average day of its history."""
        self.session.execute(
            self.insert(BankEntryDay)
            .values(tenant_id=self.tenant, entry_id=entry_id, day=day, images=1)
            .on_conflict_do_update(index_elements=["entry_id", "day"], set_={"images": BankEntryDay.images + 1})
        )
        query = sa.select(BankEntryDay.day, BankEntryDay.images).where(
            BankEntryDay.entry_id == entry_id, BankEntryDay.day > day - HISTORY
        )
        by_day = {row.day: row.images for row in self.session.execute(query)}
        today = by_day.pop(day)
        return today, sum(by_day.values()) / (HISTORY.days - 1)

    def matches(self, bank_id: str, *, entry_id: int | None, after: str, limit: int) -> Sequence[BankMatch]:
        """What a bank, or one entry, matched: the newest first."""
        query = sa.select(BankMatch).where(BankMatch.tenant_id == self.tenant, BankMatch.bank_id == bank_id)
        if entry_id is not None:
            query = query.where(BankMatch.entry_id == entry_id)
        if after:
            query = query.where(BankMatch.id < after)
        return self.session.scalars(query.order_by(BankMatch.id.desc()).limit(limit)).all()
