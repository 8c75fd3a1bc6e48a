"""From a filed notice to the confirmed removal of the image and its copies."""

import hashlib
import hmac
import json
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

import structlog

from moderation import audit, events
from moderation.database import Database
from moderation.errors import ConflictError, InvalidRequestError, ModerationError, NotFoundError, StorageError
from moderation.fetch import SafeClient
from moderation.tables import AuditRecord, CounterNotice, Notice, NoticeCopy, NoticeImage, StoredImage, new_id, utc_now
from moderation.takedowns.desk import ImageDesk
from moderation.takedowns.records import MOST_UPLOADS, OPEN, Filing, Report
from moderation.takedowns.repository import NoticeRepository
from moderation.vault import Vault

log = structlog.get_logger(__name__)

PUBLIC = "public form"

NEVER = 1_000
"""`Notice.warned` before the first warning."""

WEEK = timedelta(days=7)


@dataclass(frozen=True)
class NoticeView:
    """A notice with what was filed, decrypted for those who may read it; None where it cannot be read."""

    notice: Notice
    filing: Filing | None
    images: Sequence[NoticeImage]
    copies: Sequence[tuple[NoticeCopy, StoredImage]]
    counters: Sequence[CounterNotice]
    steps: Sequence[AuditRecord]


class TakedownService:
    """Files notices, follows them, and lets people decide. `moderation.takedowns.acting` carries the decisions out.

    hours: from validity to the time by which the image has to be gone.
    """

    def __init__(
        self,
        database: Database,
        vault: Vault | None,
        desk: ImageDesk,
        client: SafeClient,
        *,
        hours: int,
        max_bytes: int,
    ) -> None:
        self.database = database
        self.vault = vault
        self.desk = desk
        self.client = client
        self.hours = hours
        self.max_bytes = max_bytes

    def file(
        self, tenant: str, filing: Filing, uploads: Sequence[tuple[str, bytes]] = (), *, actor: str = PUBLIC
    ) -> tuple[Notice, str]:
        """File a notice; gives it, and the token of the private link, which is shown this once.

        What is missing makes it `incomplete`, not refused. uploads: names and bytes of images; only their hashes are kept.
        Raises InvalidRequestError, MediaError, StorageError: then nothing is kept.
        """
        self.key()
        if len(uploads) > MOST_UPLOADS:
            raise InvalidRequestError(f"{len(uploads)} images.", hint=f"File at most {MOST_UPLOADS} in one notice.")
        notice_id, token = new_id("notice"), secrets.token_urlsafe(24)
        images = [self.desk.take(tenant, notice_id, data, "upload", name=name) for name, data in uploads]
        now = utc_now()
        notice = Notice(
            id=notice_id,
            tenant_id=tenant,
            created_at=now,
            state="incomplete",
            reasons=filing.missing(len(images)),
            flags=[],
            details=self._sealed(tenant, notice_id, filing.as_dict()),
            contact_digest=self._contact(tenant, filing.contact),
            token_digest=digest(token),
            warned=NEVER,
        )
        with self.database.write() as session:
            repository = NoticeRepository(session, tenant)
            repository.add(notice, *images)
            audit.record(session, tenant, actor, "takedown.filed", notice_id, images=len(images), urls=len(filing.urls))
            self._settle(repository, notice, filing, now)
        return notice, token

    def complete(
        self, tenant: str, token: str, changes: dict[str, Any], uploads: Sequence[tuple[str, bytes]] = ()
    ) -> Notice:
        """Add what was missing to an incomplete notice, by its private link. Raises NotFoundError, ConflictError, …"""
        notice = self.by_token(tenant, token)
        images = [self.desk.take(tenant, notice.id, data, "upload", name=name) for name, data in uploads]
        with self.database.write() as session:
            repository = NoticeRepository(session, tenant)
            notice = found(repository.notice(notice.id, lock=True), notice.id)
            must_be(notice, "incomplete")
            filing = replace(self.opened(notice), **{name: value for name, value in changes.items() if value})
            known = len(repository.images(notice.id)) + len(images)
            if known > MOST_UPLOADS:
                raise InvalidRequestError(f"{known} images.", hint=f"File at most {MOST_UPLOADS} in one notice.")
            notice.details = self._sealed(tenant, notice.id, filing.as_dict())
            notice.contact_digest = self._contact(tenant, filing.contact)
            notice.reasons = filing.missing(known)
            repository.add(*images)
            audit.record(session, tenant, PUBLIC, "takedown.completed", notice.id, images=len(images))
            self._settle(repository, notice, filing, utc_now())
        return notice

    def _settle(self, repository: NoticeRepository, notice: Notice, filing: Filing, now: datetime) -> None:
        """Valid, duplicate or still incomplete? The clock of a valid notice starts here."""
        if notice.reasons:
            return
        session, tenant = repository.session, notice.tenant_id
        before = [other for other in repository.of_contact(notice.contact_digest) if other.id != notice.id]
        notice.flags = _flags(before, now)
        first = self._first(repository, notice, filing, before)
        if first:
            notice.state, notice.duplicate_of = "duplicate", first
            audit.record(session, tenant, "palisade", "takedown.duplicate", notice.id, of=first)
            return
        notice.state, notice.valid_at, notice.due_at = "valid", now, now + timedelta(hours=self.hours)
        audit.record(session, tenant, "palisade", "takedown.valid", notice.id, due_at=notice.due_at.isoformat())
        told = {"notice": notice.id, "due_at": notice.due_at.isoformat(), "flags": notice.flags}
        events.add(session, tenant, "takedown.filed", told, now=now)

    def _first(
        self, repository: NoticeRepository, notice: Notice, filing: Filing, before: Sequence[Notice]
    ) -> str | None:
        """The same contact's notice about the same images that is under way, if there is one."""
        mine = [image.sha256 for image in repository.images(notice.id)]
        same_image = repository.with_image(mine) if mine else set()
        for other in before:
            if other.state not in (*OPEN, "removed"):
                continue
            theirs = set(self.opened(other).urls)
            covered = set(filing.urls) <= theirs and (not mine or other.id in same_image)
            if covered and (filing.urls or mine):
                return other.id
        return None

    def by_token(self, tenant: str, token: str) -> Notice:
        """The notice of a private link. Raises NotFoundError, the same for every wrong token."""
        with self.database.read() as session:
            notice = NoticeRepository(session, tenant).by_token(digest(token))
        if notice is None:
            raise NotFoundError("This link leads to no notice.", hint="Check that it was copied whole.")
        return notice

    def find(self, tenant: str, notice_id: str) -> NoticeView:
        """Raises NotFoundError."""
        with self.database.read() as session:
            repository = NoticeRepository(session, tenant)
            notice = found(repository.notice(notice_id), notice_id)
            images, copies = repository.images(notice_id), repository.copies(notice_id)
            counters = repository.counters(notice_id)
        return NoticeView(notice, self._readable(notice), images, copies, counters, self.steps(tenant, notice_id))

    def notices(
        self, tenant: str, *, states: Sequence[str] = (), after: str = "", limit: int = 100
    ) -> Sequence[Notice]:
        """Notices by age; the first due first where only those are asked for whose clock runs."""
        with self.database.read() as session:
            return NoticeRepository(session, tenant).page(states=states, after=after, limit=limit)

    def add_image(self, tenant: str, notice_id: str, name: str, data: bytes, *, actor: str) -> NoticeImage:
        """Attach the hashes of an image to a notice, where an address did not lead to one. Raises ConflictError, …"""
        image = self.desk.take(tenant, notice_id, data, "upload", name=name)
        return self._attach(tenant, notice_id, image, actor)

    def add_hosted(self, tenant: str, notice_id: str, sha256: str, *, actor: str) -> NoticeImage:
        """Attach a hosted image by its SHA-256: nobody has to open it. Raises NotFoundError, ConflictError."""
        with self.database.read() as session:
            image = hosted(NoticeRepository(session, tenant), notice_id, sha256)
        if image is None:
            raise NotFoundError(f"No image with SHA-256 {sha256!r} was scanned.", hint="Attach the file itself.")
        return self._attach(tenant, notice_id, image, actor)

    def _attach(self, tenant: str, notice_id: str, image: NoticeImage, actor: str) -> NoticeImage:
        with self.database.write() as session:
            repository = NoticeRepository(session, tenant)
            must_be(found(repository.notice(notice_id, lock=True), notice_id), "incomplete", *OPEN)
            repository.add(image)
            audit.record(session, tenant, actor, "takedown.image_added", notice_id, source=image.source)
        return image

    def reject(self, tenant: str, notice_id: str, reason: str, *, actor: str, abusive: bool = False) -> Notice:
        """A person finds that a notice does not hold, or misuses the procedure. Who filed it reads the reason.

        Raises NotFoundError, ConflictError, InvalidRequestError without a reason.
        """
        state = "abusive" if abusive else "rejected"
        return self._end(tenant, notice_id, state, need_reason(reason), actor, "incomplete", "valid", "duplicate")

    def withdraw(self, tenant: str, token: str) -> Notice:
        """Who filed a notice takes it back, by the private link, before it is decided. Raises NotFoundError, ConflictError."""
        notice = self.by_token(tenant, token)
        return self._end(tenant, notice.id, "withdrawn", "", PUBLIC, "incomplete", "valid", "duplicate")

    def _end(self, tenant: str, notice_id: str, state: str, reason: str, actor: str, *allowed: str) -> Notice:
        with self.database.write() as session:
            notice = found(NoticeRepository(session, tenant).notice(notice_id, lock=True), notice_id)
            must_be(notice, *allowed)
            notice.state, notice.decided_at, notice.ended_at = state, utc_now(), utc_now()
            note = {"reason": reason} if reason else {}
            audit.record(session, tenant, actor, f"takedown.{state}", notice_id, **note)
            events.add(session, tenant, f"takedown.{state}", {"notice": notice_id})
        return notice

    def counter(self, tenant: str, notice_id: str, filing: Filing, *, actor: str) -> CounterNotice:
        """What the uploader, or somebody else, says against a takedown. Raises ConflictError, InvalidRequestError, …"""
        missing = [code for code in filing.missing(1) if code != "represented_missing"]
        if missing:
            raise InvalidRequestError(
                f"The counter-notice is incomplete: {', '.join(missing)}.", hint="Add what is missing."
            )
        counter_id = new_id("counter")
        counter = CounterNotice(
            id=counter_id,
            tenant_id=tenant,
            created_at=utc_now(),
            notice_id=notice_id,
            details=self._sealed(tenant, counter_id, filing.as_dict()),
            state="open",
        )
        with self.database.write() as session:
            repository = NoticeRepository(session, tenant)
            notice = found(repository.notice(notice_id, lock=True), notice_id)
            must_be(notice, "accepted", "removed")
            repository.add(counter)
            notice.flags = sorted({*notice.flags, "countered"})
            audit.record(session, tenant, actor, "takedown.countered", notice_id, counter=counter_id)
            events.add(session, tenant, "takedown.countered", {"notice": notice_id, "counter": counter_id})
        return counter

    def steps(self, tenant: str, notice_id: str) -> Sequence[AuditRecord]:
        """What was done about a notice, the oldest first."""
        return audit.trail(self.database, tenant, notice_id)

    def report(self, tenant: str) -> Report:
        """How a tenant keeps the time."""
        now = utc_now()
        with self.database.read() as session:
            repository = NoticeRepository(session, tenant)
            hours = sorted((ended - valid).total_seconds() / 3600 for valid, ended in repository.removals())
            running = [notice.due_at for notice in repository.running() if notice.due_at]
            states = repository.counts()
        overdue = sum(due < now for due in running)
        return Report(states, hours, self.hours, overdue, running[0].isoformat() if running else None)

    def opened(self, notice: Notice) -> Filing:
        """What was filed. Raises StorageError."""
        plain = self.key().decrypt(notice.details, _context(notice.tenant_id, notice.id))
        return Filing.of(json.loads(plain))

    def key(self) -> Vault:
        """The vault. Raises StorageError where no key is set."""
        if self.vault is None:
            raise StorageError(
                "No key is set to protect what people file with.",
                hint="Set PALISADE_TAKEDOWN_KEYS; make one with `palisade keys generate-secret`.",
            )
        return self.vault

    def _readable(self, notice: Notice) -> Filing | None:
        try:
            return self.opened(notice)
        except ModerationError as error:
            log.error("notice cannot be read", notice=notice.id, reason=error.message)
            return None

    def _sealed(self, tenant: str, record: str, values: dict[str, Any]) -> bytes:
        return self.key().encrypt(json.dumps(values).encode(), _context(tenant, record))

    def _contact(self, tenant: str, contact: str) -> str:
        """Knows a contact again, and says it to nobody without the oldest key."""
        oldest = list(self.key().keys.values())[-1]
        return hmac.new(oldest, f"contact/{tenant}/{contact.strip().lower()}".encode(), hashlib.sha256).hexdigest()


def hosted_image(notice_id: str, stored: StoredImage, findings: Sequence[Mapping[str, Any]]) -> NoticeImage:
    """The row of an image that is hosted: from what was found when it was scanned, so that nobody opens it again."""
    evidence = [(f["label"], f["evidence"]) for f in findings if f["detector"] == "signals" and f["status"] == "ok"]
    hashable = [found for label, found in evidence if label == "pdq" and found["hashable"]]
    return NoticeImage(
        id=new_id("nimg"),
        tenant_id=stored.tenant_id,
        created_at=utc_now(),
        notice_id=notice_id,
        source="hash",
        sha256=stored.sha256,
        md5=next((found["hash"] for label, found in evidence if label == "md5"), ""),
        pdq=b"".join(bytes.fromhex(found["hash"]) for found in hashable),
        orientations=b"".join(bytes.fromhex(text) for found in hashable for text in found["orientations"]),
        embedding=stored.embedding,
        embedding_model=stored.embedding_model,
    )


def hosted(repository: NoticeRepository, notice_id: str, sha256: str) -> NoticeImage | None:
    """The row of the hosted image of a SHA-256, None where none was scanned."""
    stored = repository.stored(sha256)
    return hosted_image(notice_id, stored, repository.findings(stored.id)) if stored else None


def digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


def found(notice: Notice | None, notice_id: str) -> Notice:
    """Raises NotFoundError."""
    if notice is None:
        raise NotFoundError(f"There is no notice {notice_id[:60]!r}.", hint="See `palisade takedowns list`.")
    return notice


def must_be(notice: Notice, *states: str) -> None:
    """Raises ConflictError when a notice is in none of these states."""
    if notice.state not in states:
        raise ConflictError(
            f"The notice is {notice.state}; this can be done while it is {' or '.join(states)}.",
            hint="See what was done with `palisade takedowns show`.",
        )


def need_reason(reason: str) -> str:
    """Raises InvalidRequestError without one: nobody is refused without being told why."""
    if not reason.strip() or len(reason) > 2_000:
        raise InvalidRequestError("The decision has no reason, or one of more than 2,000 characters.", hint="Say why.")
    return reason.strip()


def _flags(before: Sequence[Notice], now: datetime) -> list[str]:
    recent = sum(now - other.created_at < WEEK for other in before)
    flags = {
        "many_notices": recent >= 10,
        "rejected_before": any(other.state in ("rejected", "abusive") for other in before),
    }
    return sorted(name for name, is_set in flags.items() if is_set)


def _context(tenant: str, record: str) -> bytes:
    return f"takedown/{tenant}/{record}".encode()
