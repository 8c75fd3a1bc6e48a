"""SQL of takedown notices."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from moderation.tables import CounterNotice, Measurement, Notice, NoticeCopy, NoticeImage, Scan, StoredImage
from moderation.takedowns.records import OPEN

Hosted = tuple[str, str, bytes | None, bytes | None, str | None]
"""Of a hosted image: id, SHA-256, PDQ of its frames, embedding, and the model that made it."""


class NoticeRepository:
    """Reads and writes the notices of one tenant within one transaction."""

    def __init__(self, session: Session, tenant: str) -> None:
        self.session = session
        self.tenant = tenant

    def notice(self, notice_id: str, *, lock: bool = False) -> Notice | None:
        query = sa.select(Notice).where(Notice.tenant_id == self.tenant, Notice.id == notice_id)
        return self.session.scalar(query.with_for_update() if lock else query)

    def by_token(self, digest: str) -> Notice | None:
        return self.session.scalar(
            sa.select(Notice).where(Notice.tenant_id == self.tenant, Notice.token_digest == digest)
        )

    def page(self, *, states: Sequence[str], after: str, limit: int) -> Sequence[Notice]:
        """Notices, the first due first where the clock runs, else the oldest first."""
        query = sa.select(Notice).where(Notice.tenant_id == self.tenant)
        if states:
            query = query.where(Notice.state.in_(states))
        if not states or not set(states) <= set(OPEN):
            query = query.where(Notice.id > after)
            return self.session.scalars(query.order_by(Notice.id).limit(limit)).all()
        last = self.notice(after) if after else None
        if last is not None:
            place = sa.tuple_(Notice.due_at, Notice.id)
            query = query.where(place > sa.tuple_(sa.literal(last.due_at, Notice.due_at.type), sa.literal(last.id)))
        return self.session.scalars(query.order_by(Notice.due_at, Notice.id).limit(limit)).all()

    def add(self, *rows: Notice | NoticeImage | NoticeCopy | CounterNotice) -> None:
        for row in rows:
            self.session.add(row)
            self.session.flush()

    def images(self, notice_id: str) -> Sequence[NoticeImage]:
        query = sa.select(NoticeImage).where(NoticeImage.tenant_id == self.tenant, NoticeImage.notice_id == notice_id)
        return self.session.scalars(query.order_by(NoticeImage.id)).all()

    def of_contact(self, digest: str) -> Sequence[Notice]:
        """Everything that a contact filed, the oldest first."""
        query = sa.select(Notice).where(Notice.tenant_id == self.tenant, Notice.contact_digest == digest)
        return self.session.scalars(query.order_by(Notice.id)).all()

    def with_image(self, sha256s: Sequence[str]) -> set[str]:
        """Ids of notices about one of these files."""
        query = sa.select(NoticeImage.notice_id).where(
            NoticeImage.tenant_id == self.tenant, NoticeImage.sha256.in_(sha256s)
        )
        return set(self.session.scalars(query))

    def copies(self, notice_id: str) -> Sequence[tuple[NoticeCopy, StoredImage]]:
        """Hosted copies that were found, the surest first."""
        query = sa.select(NoticeCopy, StoredImage).join(StoredImage, StoredImage.id == NoticeCopy.image_id)
        query = query.where(NoticeCopy.tenant_id == self.tenant, NoticeCopy.notice_id == notice_id)
        rank = sa.case({"identical": 0, "near": 1}, value=NoticeCopy.stage, else_=2)
        rows = self.session.execute(query.order_by(rank, NoticeCopy.distance, NoticeCopy.id))
        return [(copy, image) for copy, image in rows]

    def external_ids(self, image_id: str) -> list[str]:
        """The host's own ids of an image."""
        query = sa.select(Scan.external_id).where(
            Scan.tenant_id == self.tenant, Scan.image_id == image_id, Scan.external_id != ""
        )
        return list(self.session.scalars(query.distinct().order_by(Scan.external_id).limit(100)))

    def image_of_external_id(self, external_id: str) -> str | None:
        """SHA-256 of the image that the host last scanned under its own id."""
        query = sa.select(StoredImage.sha256).join(Scan, Scan.image_id == StoredImage.id)
        query = query.where(Scan.tenant_id == self.tenant, Scan.external_id == external_id)
        return self.session.scalar(query.order_by(Scan.id.desc()).limit(1))

    def stored(self, sha256: str) -> StoredImage | None:
        return self.session.scalar(
            sa.select(StoredImage).where(StoredImage.tenant_id == self.tenant, StoredImage.sha256 == sha256)
        )

    def findings(self, image_id: str) -> Sequence[Mapping[str, Any]]:
        """What was last measured of an image."""
        query = sa.select(Measurement.findings).where(
            Measurement.tenant_id == self.tenant, Measurement.image_id == image_id
        )
        return self.session.scalar(query.order_by(Measurement.id.desc()).limit(1)) or []

    def hosted(self, after: str, limit: int) -> Sequence[Hosted]:
        """Hosted images by id, behind one."""
        columns = (
            StoredImage.id,
            StoredImage.sha256,
            StoredImage.pdq,
            StoredImage.embedding,
            StoredImage.embedding_model,
        )
        query = sa.select(*columns).where(StoredImage.tenant_id == self.tenant, StoredImage.id > after)
        return [(*row,) for row in self.session.execute(query.order_by(StoredImage.id).limit(limit))]

    def counters(self, notice_id: str) -> Sequence[CounterNotice]:
        query = sa.select(CounterNotice).where(
            CounterNotice.tenant_id == self.tenant, CounterNotice.notice_id == notice_id
        )
        return self.session.scalars(query.order_by(CounterNotice.id)).all()

    def counts(self) -> dict[str, int]:
        query = sa.select(Notice.state, sa.func.count()).where(Notice.tenant_id == self.tenant).group_by(Notice.state)
        return {row[0]: row[1] for row in self.session.execute(query.order_by(Notice.state))}

    def removals(self) -> Iterator[tuple[datetime, datetime]]:
        """When each removed notice became valid, and when its removal was confirmed."""
        query = sa.select(Notice.valid_at, Notice.ended_at).where(
            Notice.tenant_id == self.tenant,
            Notice.state.in_(("removed", "reversed")),
        )
        for valid, ended in self.session.execute(query):
            if valid and ended:
                yield valid, ended

    def running(self) -> Sequence[Notice]:
        """Notices whose clock runs, the first due first."""
        query = sa.select(Notice).where(Notice.tenant_id == self.tenant, Notice.state.in_(("valid", "accepted")))
        return self.session.scalars(query.order_by(Notice.due_at)).all()


def to_warn(session: Session, before: datetime) -> Sequence[Notice]:
    """Notices of every tenant whose clock runs and that are due before a moment: for the clock, which is the operator's."""
    query = sa.select(Notice).where(Notice.state.in_(("valid", "accepted")), Notice.due_at <= before)
    return session.scalars(query.order_by(Notice.due_at).with_for_update(skip_locked=True)).all()


def running_clocks(session: Session) -> tuple[int, datetime | None]:
    """How many notices' clocks run, of every tenant, and when the first is due."""
    query = sa.select(sa.func.count(), sa.func.min(Notice.due_at)).where(Notice.state.in_(("valid", "accepted")))
    count, due = session.execute(query).one()
    return count, due


def unswept(session: Session) -> Sequence[tuple[str, str]]:
    """Tenant and id of accepted notices whose sweep was not finished."""
    query = sa.select(Notice.tenant_id, Notice.id).where(Notice.state == "accepted", Notice.swept_at.is_(None))
    return [(row[0], row[1]) for row in session.execute(query.order_by(Notice.id))]
