"""SQL of cases, decisions, appeals and reveals."""

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import NamedTuple

import sqlalchemy as sa
from sqlalchemy.orm import Session

from moderation.reviews.priority import rank_of
from moderation.reviews.records import WAITING
from moderation.tables import (
    Appeal,
    Base,
    CaseExclusion,
    CaseImage,
    Decision,
    Reveal,
    ReviewCase,
    ReviewerState,
    Scan,
    StoredImage,
    Tenant,
)

FIRST_OWN = "first number of a case's image"


class NumberedHashes(NamedTuple):
    """Packed PDQ hashes of an image of a waiting case. number: None for one of before there were numbers."""

    number: int | None
    case_id: str
    pdq: bytes


class ReviewRepository:
    """Reads and writes the cases of one tenant within one transaction."""

    def __init__(self, session: Session, tenant: str) -> None:
        self.session = session
        self.tenant = tenant

    def lock_tenant(self) -> int:
        """One at a time from here on, on PostgreSQL; on SQLite every write is. Gives the last `CaseImage.number`.

        Take it before the lock of a case, as everybody does.
        """
        query = sa.select(Tenant.case_images).where(Tenant.id == self.tenant)
        return self.session.scalar(query.with_for_update(key_share=True)) or 0

    def add(self, *rows: Base) -> None:
        for row in rows:
            self.session.add(row)
            self.session.flush()

    def case(self, case_id: str, *, lock: bool = False) -> ReviewCase | None:
        query = sa.select(ReviewCase).where(ReviewCase.tenant_id == self.tenant, ReviewCase.id == case_id)
        return self.session.scalar(query.with_for_update() if lock else query)

    def next(
        self, person: str, queues: Collection[str] | None, tiers: Sequence[str], now: datetime
    ) -> ReviewCase | None:
        """The first case that a person may be given, locked; cases that others are claiming are passed over."""
        excluded = sa.exists().where(
            CaseExclusion.case_id == ReviewCase.id,
            CaseExclusion.reviewer == person,
            sa.or_(CaseExclusion.until.is_(None), CaseExclusion.until > now),
        )
        query = sa.select(ReviewCase).where(
            ReviewCase.tenant_id == self.tenant,
            ReviewCase.rank.is_not(None),
            sa.or_(ReviewCase.lease_until.is_(None), ReviewCase.lease_until <= now),
            sa.or_(ReviewCase.assigned_to.is_(None), ReviewCase.assigned_to == person),
            ReviewCase.tier.in_(tiers),
            ~excluded,
        )
        if queues is not None:
            query = query.where(ReviewCase.queue.in_(sorted(queues)))
        query = query.order_by(ReviewCase.rank, ReviewCase.id).limit(1)
        return self.session.scalar(query.with_for_update(skip_locked=True))

    def held_by(self, person: str, now: datetime, *, lock: bool = True) -> Sequence[ReviewCase]:
        """Cases that a person holds, locked unless they are only read."""
        query = sa.select(ReviewCase).where(
            ReviewCase.tenant_id == self.tenant, ReviewCase.holder == person, ReviewCase.lease_until > now
        )
        query = query.order_by(ReviewCase.claimed_at)
        return self.session.scalars(query.with_for_update() if lock else query).all()

    def page(
        self,
        *,
        queues: Collection[str] | None,
        states: Sequence[str],
        tiers: Sequence[str],
        gravest: bool,
        after: str,
        limit: int,
    ) -> Sequence[ReviewCase]:
        """Cases behind one: in the order of their queue where only those that wait are asked for, else the oldest first."""
        query = sa.select(ReviewCase).where(ReviewCase.tenant_id == self.tenant)
        if queues is not None:
            query = query.where(ReviewCase.queue.in_(sorted(queues)))
        if states:
            query = query.where(ReviewCase.state.in_(states))
        query = query.where(ReviewCase.tier.in_(tiers))
        if not gravest:
            query = query.where(sa.not_(sa.and_(ReviewCase.tier == "senior", ReviewCase.severity == 5)))
        if not states or not set(states) <= set(WAITING):
            query = query.where(ReviewCase.id > after)
            return self.session.scalars(query.order_by(ReviewCase.id).limit(limit)).all()
        last = self.case(after) if after else None
        if last is not None:  # it may have been decided meanwhile: its place is still known
            place = sa.tuple_(ReviewCase.rank, ReviewCase.id)
            query = query.where(place > sa.tuple_(sa.literal(rank_of(last)), sa.literal(last.id)))
        query = query.where(ReviewCase.rank.is_not(None))
        return self.session.scalars(query.order_by(ReviewCase.rank, ReviewCase.id).limit(limit)).all()

    def queues(self) -> set[str]:
        """Queues that hold or held a case."""
        return set(
            self.session.scalars(sa.select(ReviewCase.queue).where(ReviewCase.tenant_id == self.tenant).distinct())
        )

    def waiting_by_queue(
        self, queues: frozenset[str] | None, tiers: Sequence[str], *, gravest: bool
    ) -> Sequence[tuple[str, int, datetime, datetime]]:
        """Of each queue in which something waits: how much, since when, and when the next is due."""
        query = sa.select(
            ReviewCase.queue, sa.func.count(), sa.func.min(ReviewCase.created_at), sa.func.min(ReviewCase.due_at)
        ).where(ReviewCase.tenant_id == self.tenant, ReviewCase.rank.is_not(None), ReviewCase.tier.in_(tiers))
        if queues is not None:
            query = query.where(ReviewCase.queue.in_(sorted(queues)))
        if not gravest:
            query = query.where(sa.not_(sa.and_(ReviewCase.tier == "senior", ReviewCase.severity == 5)))
        found = self.session.execute(query.group_by(ReviewCase.queue).order_by(ReviewCase.queue))
        return [(row[0], row[1], row[2], row[3]) for row in found]

    def to_release(self, now: datetime, limit: int) -> Sequence[ReviewCase]:
        query = sa.select(ReviewCase).where(
            ReviewCase.tenant_id == self.tenant, ReviewCase.state == "decided", ReviewCase.release_at <= now
        )
        return self.session.scalars(
            query.order_by(ReviewCase.release_at).limit(limit).with_for_update(skip_locked=True)
        ).all()

    def images(self, case_id: str) -> Sequence[CaseImage]:
        query = sa.select(CaseImage).where(CaseImage.tenant_id == self.tenant, CaseImage.case_id == case_id)
        return self.session.scalars(query.order_by(CaseImage.id)).all()

    def image(self, case_id: str, sha256: str) -> CaseImage | None:
        return self.session.scalar(
            sa.select(CaseImage).where(
                CaseImage.tenant_id == self.tenant, CaseImage.case_id == case_id, CaseImage.sha256 == sha256
            )
        )

    def waiting_with(self, sha256: str) -> ReviewCase | None:
        """The case of this very file that waits for a person, locked."""
        query = sa.select(ReviewCase).join(CaseImage, CaseImage.case_id == ReviewCase.id)
        query = query.where(*self._joinable(), CaseImage.sha256 == sha256).order_by(ReviewCase.id).limit(1)
        return self.session.scalar(query.with_for_update(of=ReviewCase))

    def number(self, *images: CaseImage) -> None:
        """Tell every process that these images may be joined now. The tenant must be locked."""
        for image in images:
            if image.pdq:
                query = sa.update(Tenant).where(Tenant.id == self.tenant).values(case_images=Tenant.case_images + 1)
                query = query.execution_options(synchronize_session=False)
                image.number = self.session.scalar(query.returning(Tenant.case_images))
                self.session.info.setdefault(FIRST_OWN, image.number)

    @property
    def first_own_number(self) -> int | None:
        """The first number that this transaction gave out."""
        return self.session.info.get(FIRST_OWN)

    def waiting_hashes(self, *, above: int | None) -> Sequence[NumberedHashes]:
        """Every image of a case that waits for a person and may be joined, above a number; None for all of them."""
        columns = (CaseImage.number, CaseImage.case_id, CaseImage.pdq)
        query = sa.select(*columns).join(ReviewCase, CaseImage.case_id == ReviewCase.id).where(*self._joinable())
        query = query.where(CaseImage.tenant_id == self.tenant, CaseImage.pdq != b"")
        if above is not None:
            query = query.where(CaseImage.number > above)
        return [NumberedHashes(*row) for row in self.session.execute(query)]

    def waiting_among(self, case_ids: Sequence[str]) -> set[str]:
        """Those of these cases that wait for a person and may be joined."""
        found: set[str] = set()
        for at in range(0, len(case_ids), 500):
            query = sa.select(ReviewCase.id).where(*self._joinable(), ReviewCase.id.in_(case_ids[at : at + 500]))
            found.update(self.session.scalars(query))
        return found

    def _joinable(self) -> tuple[sa.ColumnElement[bool], ...]:
        return ReviewCase.tenant_id == self.tenant, ReviewCase.rank.is_not(None), ReviewCase.kind == "scan"

    def external_ids(self, image_ids: Collection[str]) -> dict[str, list[str]]:
        """The host's own ids of images."""
        query = sa.select(Scan.image_id, Scan.external_id).where(
            Scan.tenant_id == self.tenant, Scan.image_id.in_(sorted(image_ids)), Scan.external_id != ""
        )
        found: dict[str, list[str]] = {}
        for image_id, external_id in self.session.execute(query.distinct().order_by(Scan.external_id)):
            found.setdefault(image_id, []).append(external_id)
        return found

    def scan(self, scan_id: str) -> Scan | None:
        return self.session.scalar(sa.select(Scan).where(Scan.tenant_id == self.tenant, Scan.id == scan_id))

    def newest_scan(self, sha256: str) -> Scan | None:
        """By the image, of which there is one: a join would be ordered by going through all scans of the tenant."""
        image = self.hosted(sha256)
        if image is None:
            return None
        return self.session.scalar(sa.select(Scan).where(Scan.image_id == image.id).order_by(Scan.id.desc()).limit(1))

    def hosted(self, sha256: str) -> StoredImage | None:
        return self.session.scalar(
            sa.select(StoredImage).where(StoredImage.tenant_id == self.tenant, StoredImage.sha256 == sha256)
        )

    def sha256s(self, table: type[StoredImage] | type[CaseImage], ids: Collection[str]) -> dict[str, str]:
        """The SHA-256 of each of these rows that is there still."""
        query = sa.select(table.id, table.sha256).where(table.tenant_id == self.tenant, table.id.in_(sorted(ids)))
        return {row[0]: row[1] for row in self.session.execute(query)}

    def scans_by(self, uploader: str, *, without: str, limit: int) -> Sequence[Scan]:
        """The newest scans of an uploader's images, but for one."""
        query = sa.select(Scan).where(Scan.tenant_id == self.tenant, Scan.uploader == uploader, Scan.id != without)
        return self.session.scalars(query.order_by(Scan.id.desc()).limit(limit)).all()

    def actions_by(self, uploader: str) -> dict[str, int]:
        """How often each action was said of an uploader's images."""
        query = sa.select(Scan.action, sa.func.count()).where(Scan.tenant_id == self.tenant, Scan.uploader == uploader)
        return {row[0]: row[1] for row in self.session.execute(query.group_by(Scan.action))}

    def decisions(self, case_id: str) -> Sequence[Decision]:
        query = sa.select(Decision).where(Decision.tenant_id == self.tenant, Decision.case_id == case_id)
        return self.session.scalars(query.order_by(Decision.id)).all()

    def decision(self, decision_id: str) -> Decision | None:
        return self.session.scalar(
            sa.select(Decision).where(Decision.tenant_id == self.tenant, Decision.id == decision_id)
        )

    def exclusion(self, case_id: str, person: str, why: str) -> CaseExclusion | None:
        return self.session.get(CaseExclusion, (case_id, person, why))

    def excluded(self, case_id: str, person: str) -> str | None:
        """Why a person may not decide on a case: `decided` or `appealed`, None where they may."""
        query = sa.select(CaseExclusion.why).where(
            CaseExclusion.case_id == case_id, CaseExclusion.reviewer == person, CaseExclusion.why != "skipped"
        )
        return self.session.scalar(query.order_by(CaseExclusion.why).limit(1))

    def exclude(self, row: CaseExclusion) -> None:
        self.session.merge(row)
        self.session.flush()

    def cases_with(self, sha256: str) -> Sequence[ReviewCase]:
        """Cases about this very file, the newest first. Not by a join, which would be ordered by going through all cases."""
        named = sa.select(CaseImage.case_id).where(CaseImage.sha256 == sha256, CaseImage.tenant_id == self.tenant)
        ids = self.session.scalars(named).all()
        query = sa.select(ReviewCase).where(ReviewCase.id.in_(ids), ReviewCase.kind != "golden")
        return sorted(self.session.scalars(query), key=lambda case: case.id, reverse=True) if ids else []

    def case_of_scan(self, scan_id: str) -> ReviewCase | None:
        """The case that a scan opened or joined."""
        query = sa.select(ReviewCase).join(CaseImage, CaseImage.case_id == ReviewCase.id)
        query = query.where(ReviewCase.tenant_id == self.tenant, CaseImage.scan_id == scan_id)
        return self.session.scalar(query.order_by(ReviewCase.id).limit(1))

    def appeal_of_scan(self, scan_id: str) -> Appeal | None:
        return self.session.scalar(sa.select(Appeal).where(Appeal.tenant_id == self.tenant, Appeal.scan_id == scan_id))

    def appeal_of_case(self, case_id: str) -> Appeal | None:
        return self.session.scalar(sa.select(Appeal).where(Appeal.tenant_id == self.tenant, Appeal.case_id == case_id))

    def appeal(self, appeal_id: str) -> Appeal | None:
        return self.session.scalar(sa.select(Appeal).where(Appeal.tenant_id == self.tenant, Appeal.id == appeal_id))

    def appeals(self, *, states: Sequence[str], after: str, limit: int) -> Sequence[Appeal]:
        query = sa.select(Appeal).where(Appeal.tenant_id == self.tenant, Appeal.id > after)
        if states:
            query = query.where(Appeal.state.in_(states))
        return self.session.scalars(query.order_by(Appeal.id).limit(limit)).all()

    def revealed(
        self, case_id: str, person: str, sha256: str, hows: Sequence[str], since: datetime, *, field: int | None = None
    ) -> bool:
        """Whether somebody uncovered an image of a case in one of these ways since then. field: this part, or one that was not said."""
        query = sa.select(Reveal.id).where(Reveal.tenant_id == self.tenant, Reveal.case_id == case_id)
        query = query.where(Reveal.reviewer == person, Reveal.sha256 == sha256, Reveal.how.in_(hows))
        if field is not None:
            query = query.where(sa.or_(Reveal.field.is_(None), Reveal.field == field))
        return self.session.scalar(query.where(Reveal.created_at >= since).limit(1)) is not None

    def reveals_since(self, person: str, moment: datetime) -> int:
        """Looks at images: the fields of one image of a case are one, and a reference picture is none."""
        looked = sa.case((Reveal.field.is_(None), Reveal.id), else_=Reveal.case_id + Reveal.sha256)
        query = sa.select(sa.func.count(looked.distinct())).where(Reveal.how != "reference")
        query = query.where(Reveal.tenant_id == self.tenant, Reveal.reviewer == person, Reveal.created_at > moment)
        return self.session.scalar(query) or 0

    def reviewer(self, person: str) -> ReviewerState:
        """A reviewer's settings and rest; a new row where there is none."""
        kept = self.session.get(ReviewerState, (self.tenant, person))
        return kept or ReviewerState(tenant_id=self.tenant, reviewer=person, display={}, rest_why="")


def statements_that_are_over(session: Session, before: datetime | None, limit: int) -> Sequence[Appeal]:
    """Decided appeals whose statement is still there, decided before a moment or without their scan: for the chore."""
    gone = Appeal.scan_id.is_(None)
    over = gone if before is None else sa.or_(gone, Appeal.decided_at < before)
    kept = sa.or_(Appeal.sealed.is_not(None), Appeal.unsealed != "")
    query = sa.select(Appeal).where(Appeal.state == "decided", kept, over)
    return session.scalars(query.order_by(Appeal.id).limit(limit).with_for_update(skip_locked=True)).all()


def unsealed_statements(session: Session, limit: int) -> Sequence[Appeal]:
    """Appeals of before statements were encrypted: for the chore."""
    query = sa.select(Appeal).where(Appeal.unsealed != "").order_by(Appeal.id)
    return session.scalars(query.limit(limit).with_for_update(skip_locked=True)).all()


def tenants_to_release(session: Session, now: datetime) -> Sequence[str]:
    """Tenants with a decision whose host is to be told: for the chore, which is the operator's."""
    query = sa.select(ReviewCase.tenant_id).where(ReviewCase.state == "decided", ReviewCase.release_at <= now)
    return session.scalars(query.distinct().order_by(ReviewCase.tenant_id)).all()
