"""Banks that follow exchanges: page by page, each with its checkpoint in one transaction."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import structlog
from pydantic import SecretStr

from moderation import audit
from moderation.banks.indexes import BankIndexes
from moderation.banks.records import BankSpec, NewEntry, Signal
from moderation.banks.repository import BankRepository
from moderation.batches import batched
from moderation.database import Database
from moderation.errors import ConflictError, ExchangeError, InvalidRequestError, NotFoundError, SettingsError
from moderation.exchanges.peers import Change, Page, Peer, peer
from moderation.exchanges.repository import ExchangeRepository, due
from moderation.fetch import SafeClient
from moderation.tables import Bank, BankEntry, Exchange, new_id, utc_now

log = structlog.get_logger(__name__)

LEASE = timedelta(minutes=15)
"""How long a process keeps an exchange to itself between two pages."""

CHUNK = 500
"""Records whose held entries are read at once."""


@dataclass(frozen=True)
class Synced:
    """What a run changed. ignored: records of kinds that are not taken; malformed: those that could not be used."""

    pages: int = 0
    added: int = 0
    withdrawn: int = 0
    ignored: int = 0
    malformed: int = 0

    def plus(self, page: Page, added: int, withdrawn: int) -> "Synced":
        return Synced(
            self.pages + 1,
            self.added + added,
            self.withdrawn + withdrawn,
            self.ignored + page.ignored,
            self.malformed + len(page.malformed),
        )


class ExchangeService:
    """secrets: `PALISADE_EXCHANGE_SECRETS`, the credentials of each exchange by its name."""

    def __init__(
        self, database: Database, indexes: BankIndexes, client: Callable[[], SafeClient], secrets: SecretStr | None
    ) -> None:
        self.database = database
        self.indexes = indexes
        self.client = client
        self.secrets = parse_secrets(secrets)

    def add(
        self, tenant: str, spec: BankSpec, kind: str, config: Mapping[str, Any], *, every_seconds: int, actor: str
    ) -> Exchange:
        """Follow an exchange with a bank of its own, which has its name. Raises InvalidRequestError, ConflictError."""
        if every_seconds and not 60 <= every_seconds <= 31_536_000:
            raise InvalidRequestError(
                f"every {every_seconds} s.", hint="Synchronise once a minute to once a year; 0: by hand."
            )
        self._peer(spec.name, kind, config)
        bank = Bank(id=new_id("bank"), tenant_id=tenant, created_at=utc_now(), **spec.as_dict())
        exchange = Exchange(
            id=new_id("exch"),
            tenant_id=tenant,
            created_at=utc_now(),
            name=spec.name,
            kind=kind,
            config=dict(config),
            bank_id=bank.id,
            listing=1,
            relisting=False,
            every_seconds=every_seconds,
            error="",
        )
        with self.database.write() as session:
            if BankRepository(session, tenant).bank(spec.name):
                raise ConflictError(
                    f"There is a bank {spec.name!r} already.", hint="An exchange fills a bank of its own."
                )
            session.add(bank)
            session.flush()
            session.add(exchange)
            audit.record(session, tenant, actor, "exchange.added", exchange.id, name=spec.name, kind=kind)
        return exchange

    def exchanges(self, tenant: str) -> Sequence[Exchange]:
        """All exchanges by name."""
        with self.database.read() as session:
            return ExchangeRepository(session, tenant).exchanges()

    def find(self, tenant: str, name: str) -> Exchange:
        """Raises NotFoundError."""
        with self.database.read() as session:
            return found(ExchangeRepository(session, tenant).exchange(name), name)

    def remove(self, tenant: str, name: str, *, actor: str) -> None:
        """Follow an exchange no longer. Its bank and entries stay: delete the bank too where they must go."""
        with self.database.write() as session:
            exchange = found(ExchangeRepository(session, tenant).exchange(name), name)
            session.delete(exchange)
            audit.record(session, tenant, actor, "exchange.removed", exchange.id, name=name)

    def sync(
        self, tenant: str, name: str, *, actor: str = "palisade", told: Callable[[Synced], None] = lambda _: None
    ) -> Synced:
        """Take over what changed at the peer, withdrawals too. told: is given what was done after each page.

        A peer that fails half-way loses nothing: what came before counts, and the next run goes on from there. Raises
        NotFoundError, ConflictError when another process is at it, ExchangeError.
        """
        exchange = self._lease(tenant, name)
        done = Synced()
        try:
            reader = self._peer(exchange.name, exchange.kind, exchange.config)
            for page in reader.pages(exchange.checkpoint):
                added, withdrawn = self._apply(tenant, exchange.id, page)
                done = done.plus(page, added, withdrawn)
                told(done)
            self._end(tenant, exchange.id, "")
        except BaseException as error:
            self._end(tenant, exchange.id, getattr(error, "message", type(error).__name__))
            raise
        finally:
            self.indexes.changed(tenant)
        with self.database.write() as session:
            audit.record(session, tenant, actor, "exchange.synced", exchange.id, **vars(done))
        return done

    def sync_due(self) -> int:
        """Synchronise what is due, of every tenant; gives how many. One that fails is logged, and tried again when due."""
        with self.database.read() as session:
            waiting = due(session, utc_now())
        for tenant, name in waiting:
            try:
                self.sync(tenant, name)
            except (ExchangeError, ConflictError, InvalidRequestError) as error:
                log.warning("exchange not synchronised", tenant=tenant, exchange=name, reason=error.message)
        return len(waiting)

    def _peer(self, name: str, kind: str, config: Mapping[str, Any]) -> Peer:
        return peer(kind, config, self.client(), self.secrets.get(name), name=name)

    def _lease(self, tenant: str, name: str) -> Exchange:
        now = utc_now()
        with self.database.write() as session:
            exchange = found(ExchangeRepository(session, tenant).exchange(name, lock=True), name)
            if exchange.leased_until and exchange.leased_until > now:
                raise ConflictError(
                    f"The exchange {name!r} is being synchronised.",
                    hint=f"Wait, at most until {exchange.leased_until}.",
                )
            exchange.leased_until = now + LEASE
        return exchange

    def _end(self, tenant: str, exchange_id: str, error: str) -> None:
        with self.database.write() as session:
            exchange = ExchangeRepository(session, tenant).by_id(exchange_id)
            if exchange is not None:
                exchange.leased_until, exchange.error, exchange.synced_at = None, error, utc_now()

    def _apply(self, tenant: str, exchange_id: str, page: Page) -> tuple[int, int]:
        """One page with its checkpoint; gives the entries that were added and withdrawn."""
        with self.database.write() as session:
            banks = BankRepository(session, tenant)
            banks.advance()
            exchange = ExchangeRepository(session, tenant).by_id(exchange_id)
            if exchange is None:
                raise NotFoundError("The exchange was removed while it was synchronised.", hint="Add it again.")
            if page.restarted:
                exchange.listing += 1
                exchange.relisting = True
            held = page.entries()
            withdrawn = sum(_drop(banks, exchange.bank_id, held, chunk) for chunk in batched(held, CHUNK))
            new = [_entry(change) for changes in held.values() for change in changes]
            added = sum(banks.add(exchange.bank_id, part, run=exchange.listing) for part in batched(new, 5_000))
            if page.done and exchange.relisting:
                stale = (BankEntry.bank_id == exchange.bank_id) & (BankEntry.run < exchange.listing)
                withdrawn += banks.delete_entries(stale)
                exchange.relisting = False
            exchange.checkpoint = page.checkpoint
            exchange.leased_until = utc_now() + LEASE
        return added, withdrawn


def _drop(banks: BankRepository, bank_id: str, held: Mapping[str, Sequence[Change]], records: Sequence[str]) -> int:
    """Delete what is held of these records and is not among what they hold now; gives how much."""
    now = {(record, change.kind, change.value) for record in records for change in held[record]}
    rows = banks.of_records(bank_id, records)
    doomed = [row.id for row in rows if (row.external_id, row.kind, row.value.hex()) not in now]
    return banks.delete_entries(BankEntry.id.in_(doomed)) if doomed else 0


def _entry(change: Change) -> NewEntry:
    note = "; ".join(part for part in (change.note, ", ".join(change.labels)) if part)[:2_000]
    return NewEntry(Signal.parse(change.kind, change.value), change.entry, note)


def parse_secrets(secrets: SecretStr | None) -> dict[str, dict[str, str]]:
    """Credentials by exchange, from JSON. Raises SettingsError, never showing one."""
    text = secrets.get_secret_value() if secrets else "{}"
    try:
        values = json.loads(text)
    except ValueError:
        values = None
    if not isinstance(values, dict) or not all(isinstance(fields, dict) for fields in values.values()):
        raise SettingsError(
            "PALISADE_EXCHANGE_SECRETS is not JSON of credentials by exchange.",
            hint='Write {"ncmec": {"username": "…", "password": "…"}}; see docs/exchanges.md.',
        )
    return values


def found(exchange: Exchange | None, name: str) -> Exchange:
    """Raises NotFoundError."""
    if exchange is None:
        raise NotFoundError(f"There is no exchange {name[:100]!r}.", hint="See `palisade exchanges list`.")
    return exchange
