"""Carries an accepted notice out: its hashes into a bank, a sweep for copies, the host told, the clock watched."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import structlog
from sqlalchemy.orm import Session

from moderation import audit, events
from moderation.banks.indexes import BankIndexes
from moderation.banks.records import BankSpec, NewEntry, Signal
from moderation.banks.repository import BankRepository
from moderation.database import Database
from moderation.errors import ConflictError, InvalidRequestError, ModerationError
from moderation.tables import Bank, BankEntry, Notice, NoticeCopy, NoticeImage, new_id, utc_now
from moderation.takedowns.records import Copy
from moderation.takedowns.repository import NoticeRepository, to_warn, unswept
from moderation.takedowns.service import TakedownService, found, hosted, must_be, need_reason
from moderation.takedowns.sweep import Wanted, copies, surest, unit

log = structlog.get_logger(__name__)

BANK = BankSpec(
    "takedowns",
    origin="takedown notices",
    category="intimate",
    action_hint="block",
    flood_limit=0,  # a person decided on each: that it is uploaded again and again is no doubt about it
    note="Images that people had removed. Filled by accepted notices; do not add by hand.",
)

PAGE = 20_000
"""Hosted images that a sweep compares at once."""

MOST_TOLD = 1_000
"""Copies that one event names; `palisade takedowns show` names all."""

WARNINGS = (24, 12, 4, 0)
"""Hours left at which the host is warned, once each; 0: the time is over."""


class TakedownDesk:
    """What happens once a person has accepted a notice."""

    def __init__(self, service: TakedownService, indexes: BankIndexes) -> None:
        self.service = service
        self.database: Database = service.database
        self.indexes = indexes

    def accept(self, tenant: str, notice_id: str, reason: str, *, actor: str) -> list[Copy]:
        """A person finds that a notice holds: list its images, search for copies, tell the host.

        Addresses that were not hashed yet are looked up by the host's own ids, then fetched through the SSRF-safe client.
        Raises ConflictError when no image is known by its hashes then: attach one, and accept again.
        """
        need_reason(reason)
        self._take_urls(tenant, notice_id, actor)
        with self.database.write() as session:
            repository = NoticeRepository(session, tenant)
            notice = found(repository.notice(notice_id, lock=True), notice_id)
            must_be(notice, "valid")
            images = repository.images(notice_id)
            if not images:
                raise ConflictError(
                    "None of the notice's addresses led to an image.",
                    hint="Attach the image, or the SHA-256 of the hosted one, and accept again.",
                )
            added = _list_images(session, tenant, notice_id, images)
            notice.state, notice.decided_at = "accepted", utc_now()
            audit.record(session, tenant, actor, "takedown.accepted", notice_id, reason=reason, bank_entries=added)
            events.add(session, tenant, "takedown.accepted", {"notice": notice_id, "due_at": _iso(notice.due_at)})
        self.indexes.changed(tenant)
        return self.sweep(tenant, notice_id)

    def _take_urls(self, tenant: str, notice_id: str, actor: str) -> None:
        view = self.service.find(tenant, notice_id)
        must_be(view.notice, "valid")
        done = {step.note.get("number") for step in view.steps if step.action == "takedown.url_taken"}
        for number, url in enumerate(view.filing.urls if view.filing else ()):
            if number in done:
                continue
            try:
                image, how = self._image_at(tenant, notice_id, url)
            except ModerationError as error:
                # The address itself stays out of the trail: it may be all that is left to find the image by.
                with self.database.write() as session:
                    note = {"number": number, "code": error.error_code}
                    audit.record(session, tenant, actor, "takedown.address_failed", notice_id, **note)
                continue
            with self.database.write() as session:
                NoticeRepository(session, tenant).add(image)
                audit.record(session, tenant, actor, "takedown.url_taken", notice_id, number=number, how=how)

    def _image_at(self, tenant: str, notice_id: str, url: str) -> tuple[NoticeImage, str]:
        with self.database.read() as session:
            repository = NoticeRepository(session, tenant)
            ids = (url, url.rstrip("/").rsplit("/", 1)[-1].split("?")[0])
            sha256 = next((known for known in map(repository.image_of_external_id, ids) if known), None)
            image = hosted(repository, notice_id, sha256) if sha256 else None
        if image is not None:
            return image, "external_id"
        data = self.service.client.fetch(url, max_bytes=self.service.max_bytes).data
        return self.service.desk.take(tenant, notice_id, data, "url"), "fetched"

    def sweep(self, tenant: str, notice_id: str) -> list[Copy]:
        """Search all that is hosted for copies, and tell the host of them. Safe to repeat: nothing is told twice."""
        with self.database.read() as session:
            wanted = _wanted(NoticeRepository(session, tenant).images(notice_id))
        found_copies: list[Copy] = []
        after = ""
        while page := self._page(tenant, after):
            found_copies += copies(wanted, page)
            after = page[-1][0]
        found_copies = surest(found_copies)
        with self.database.write() as session:
            repository = NoticeRepository(session, tenant)
            notice = found(repository.notice(notice_id, lock=True), notice_id)
            known = {image.id for _, image in repository.copies(notice_id)}
            new = [copy for copy in found_copies if copy.image_id not in known]
            repository.add(*(_row(tenant, notice_id, copy) for copy in new))
            if notice.swept_at is None or new:
                by_stage = {stage: sum(c.stage == stage for c in new) for stage in ("identical", "near", "similar")}
                audit.record(session, tenant, "palisade", "takedown.swept", notice_id, **by_stage)
                events.add(session, tenant, "takedown.copies", _told(repository, notice, new))
            notice.swept_at = utc_now()
        return found_copies

    def _page(self, tenant: str, after: str) -> Sequence[Any]:
        with self.database.read() as session:
            return NoticeRepository(session, tenant).hosted(after, PAGE)

    def confirm(
        self, tenant: str, notice_id: str, *, removed: Sequence[str], kept: Mapping[str, str], actor: str
    ) -> Notice:
        """The host says what became of the copies. removed: their SHA-256s; kept: SHA-256 → why it is another picture.

        Copies that are the same or nearly so can only be removed. Once none is left open the notice is `removed`: the clock
        stops. Raises InvalidRequestError, ConflictError.
        """
        now = utc_now()
        with self.database.write() as session:
            repository = NoticeRepository(session, tenant)
            notice = found(repository.notice(notice_id, lock=True), notice_id)
            must_be(notice, "accepted")
            rows = {image.sha256: copy for copy, image in repository.copies(notice_id)}
            _check_confirmation(rows, removed, kept)
            for sha256 in (*removed, *kept):
                rows[sha256].state = "kept" if sha256 in kept else "removed"
                rows[sha256].confirmed_at = now
            audit.record(
                session,
                tenant,
                actor,
                "takedown.confirmed",
                notice_id,
                removed=len(removed),
                kept=sorted(kept.values()),
            )
            if notice.swept_at and all(copy.state != "found" for copy in rows.values()):
                notice.state, notice.ended_at = "removed", now
                hours = round((now - (notice.valid_at or now)).total_seconds() / 3600, 2)
                audit.record(session, tenant, "palisade", "takedown.removed", notice_id, hours=hours)
                events.add(session, tenant, "takedown.removed", {"notice": notice_id, "hours": hours})
        return notice

    def decide_counter(
        self, tenant: str, notice_id: str, counter_id: str, *, upheld: bool, reason: str, actor: str
    ) -> Notice:
        """A person decides on a counter-notice. Upheld, the hashes leave the bank at once and the host is told to restore."""
        need_reason(reason)
        with self.database.write() as session:
            repository = NoticeRepository(session, tenant)
            notice = found(repository.notice(notice_id, lock=True), notice_id)
            must_be(notice, "accepted", "removed")
            counter = next(
                (c for c in repository.counters(notice_id) if c.id == counter_id and c.state == "open"), None
            )
            if counter is None:
                raise ConflictError(f"There is no open counter-notice {counter_id[:60]!r}.", hint="See the notice.")
            counter.state, counter.decided_at = "upheld" if upheld else "dismissed", utc_now()
            audit.record(session, tenant, actor, f"takedown.counter_{counter.state}", notice_id, reason=reason)
            if upheld:
                _unlist(session, tenant, notice_id)
                notice.state, notice.ended_at = "reversed", notice.ended_at or utc_now()
                told = [image.sha256 for _, image in repository.copies(notice_id)][:MOST_TOLD]
                events.add(session, tenant, "takedown.reversed", {"notice": notice_id, "restore": told})
        self.indexes.changed(tenant)
        return notice

    def watch(self, now: datetime | None = None) -> int:
        """Warn of notices whose time runs out, of every tenant; gives how many warnings were made."""
        now, warned = now or utc_now(), 0
        with self.database.write() as session:
            for notice in to_warn(session, now + timedelta(hours=WARNINGS[0])):
                left = ((notice.due_at or now) - now).total_seconds() / 3600
                reached = min(hours for hours in WARNINGS if left <= hours)
                if reached >= notice.warned:
                    continue
                notice.warned = reached
                kind = "takedown.due" if reached else "takedown.overdue"
                audit.record(session, notice.tenant_id, "palisade", kind, notice.id, hours_left=round(left, 2))
                told = {"notice": notice.id, "state": notice.state, "hours_left": round(left, 2)}
                events.add(session, notice.tenant_id, kind, {**told, "due_at": _iso(notice.due_at)}, now=now)
                warned += 1
        return warned

    def sweep_unfinished(self) -> int:
        """Sweep for accepted notices whose sweep did not finish, of every tenant; gives how many."""
        with self.database.read() as session:
            waiting = unswept(session)
        for tenant, notice_id in waiting:
            self.sweep(tenant, notice_id)
        return len(waiting)


def _list_images(session: Session, tenant: str, notice_id: str, images: Sequence[NoticeImage]) -> int:
    """Put the images into the bank of takedowns, making it when it is not there; gives how many entries that were."""
    repository = BankRepository(session, tenant)
    repository.advance()
    bank = repository.bank(BANK.name)
    if bank is None:
        bank = Bank(id=new_id("bank"), tenant_id=tenant, created_at=utc_now(), **BANK.as_dict())
        session.add(bank)
        session.flush()
    entries = [NewEntry(signal, external_id=notice_id) for image in images for signal in signals_of(image)]
    return repository.add(bank.id, list(dict.fromkeys(entries)))


def _unlist(session: Session, tenant: str, notice_id: str) -> None:
    repository = BankRepository(session, tenant)
    bank = repository.bank(BANK.name)
    if bank is not None:
        repository.delete_entries((BankEntry.bank_id == bank.id) & (BankEntry.external_id == notice_id))


def signals_of(image: NoticeImage) -> list[Signal]:
    """What an image of a notice is listed by."""
    signals = [Signal.parse("sha256", image.sha256)]
    if image.md5:
        signals.append(Signal.parse("md5", image.md5))
    return signals + [Signal("pdq", image.pdq[at : at + 32]) for at in range(0, len(image.pdq), 32)]


def _wanted(images: Sequence[NoticeImage]) -> Wanted:
    hashes = np.frombuffer(b"".join(image.orientations for image in images), np.uint8).reshape(-1, 32)
    embedded = [image for image in images if image.embedding]
    model = next((image.embedding_model or "" for image in embedded), "")
    vectors = [unit(image.embedding or b"") for image in embedded if image.embedding_model == model]
    embeddings = np.concatenate(vectors) if vectors else np.zeros((0, 512), np.float32)
    return Wanted(frozenset(image.sha256 for image in images), hashes, embeddings, model)


def _row(tenant: str, notice_id: str, copy: Copy) -> NoticeCopy:
    return NoticeCopy(
        id=new_id("copy"),
        tenant_id=tenant,
        created_at=utc_now(),
        notice_id=notice_id,
        image_id=copy.image_id,
        stage=copy.stage,
        distance=copy.distance,
        similarity=copy.similarity,
        state="found",
    )


def _told(repository: NoticeRepository, notice: Notice, new: Sequence[Copy]) -> dict[str, Any]:
    """What the host is told of copies: remove what is the same or nearly so, look at what is similar."""
    named = [
        {
            "sha256": copy.sha256,
            "external_ids": repository.external_ids(copy.image_id),
            "stage": copy.stage,
            "distance": copy.distance,
            "similarity": copy.similarity,
        }
        for copy in new[:MOST_TOLD]
    ]
    return {
        "notice": notice.id,
        "due_at": _iso(notice.due_at),
        "remove": [copy for copy in named if copy["stage"] != "similar"],
        "look_at": [copy for copy in named if copy["stage"] == "similar"],
        "more": max(0, len(new) - MOST_TOLD),
    }


def _check_confirmation(rows: Mapping[str, NoticeCopy], removed: Sequence[str], kept: Mapping[str, str]) -> None:
    unknown = [sha256 for sha256 in (*removed, *kept) if sha256 not in rows]
    if unknown:
        raise InvalidRequestError(
            f"{unknown[0][:64]!r} is none of the notice's {len(rows)} copies.",
            hint="Send the SHA-256s that the event named.",
        )
    for sha256, why in kept.items():
        if sha256 in removed or rows[sha256].stage != "similar" or not why.strip():
            raise InvalidRequestError(
                f"{sha256} cannot be kept.",
                hint="Only `similar` copies can be, each with a reason; the others are the same image.",
            )


def _iso(moment: datetime | None) -> str | None:
    return moment.isoformat() if moment else None
