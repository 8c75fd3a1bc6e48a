"""What people decide: cases, their images, decisions, appeals, and what reviewers were exposed to."""

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, Float, ForeignKey, Index, LargeBinary, String, Text, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from moderation.tables.base import Base, CreatedMixin, TenantMixin, new_id

GRAVEST = text("severity = 5")


class ReviewCase(TenantMixin, CreatedMixin, Base):
    """A question for a person: one image and its copies, to be decided on once.

    kind: `scan`, `appeal` or `golden` (its answer is known and it changes nothing; reviewers cannot tell). harm: see
    `reviews.harms`. tier: who may take it, `reviewer` or `senior`. state: see `reviews.records.STATES`. rank: place in the
    queue, the lowest first, None while nobody has to take it. weight: policy priority, 0 to 100. reach: people or copies.
    uncertainty: in [0, 1]. holder, lease_until: who works it and until when. token: grows with every claim. assigned_to:
    the only one who may claim it. round: grows when it is opened again. disputed: two people disagreed. outcome, effect: what
    was decided and what it means for the images; release_at: when the host is told. answer: of a golden case.
    """

    __tablename__ = "cases"
    __table_args__ = (
        Index("ix_cases_rank", "tenant_id", "rank", "id"),
        Index("ix_cases_release", "release_at"),
        Index("ix_cases_holder", "tenant_id", "holder"),
        Index("ix_cases_decided", "tenant_id", "decided_at"),
        Index("ix_cases_gravest", "tenant_id", "id", postgresql_where=GRAVEST, sqlite_where=GRAVEST),
    )

    id: Mapped[str] = mapped_column(String(40), primary_key=True, default=lambda: new_id("case"))
    kind: Mapped[str] = mapped_column(String(10))
    queue: Mapped[str] = mapped_column(String(100))
    harm: Mapped[str] = mapped_column(String(20))
    severity: Mapped[int]
    tier: Mapped[str] = mapped_column(String(10))
    state: Mapped[str] = mapped_column(String(10))
    due_at: Mapped[datetime]
    rank: Mapped[float | None] = mapped_column(Float)
    weight: Mapped[int]
    reach: Mapped[int]
    uncertainty: Mapped[float] = mapped_column(Float)
    labels: Mapped[list[Any]]
    eyes: Mapped[int] = mapped_column(default=1)
    disputed: Mapped[bool] = mapped_column(default=False)
    round: Mapped[int] = mapped_column(default=1)
    holder: Mapped[str | None] = mapped_column(String(200))
    claimed_at: Mapped[datetime | None]
    lease_until: Mapped[datetime | None]
    token: Mapped[int] = mapped_column(default=0)
    assigned_to: Mapped[str | None] = mapped_column(String(200))
    outcome: Mapped[str | None] = mapped_column(String(10))
    effect: Mapped[str | None] = mapped_column(String(16))
    decided_at: Mapped[datetime | None]
    release_at: Mapped[datetime | None]
    closed_at: Mapped[datetime | None]
    answer: Mapped[str | None] = mapped_column(String(10))


class CaseImage(TenantMixin, CreatedMixin, Base):
    """An image of a case. Its hashes stay when the image is deleted, so that the case can be ended.

    stage: `first`, `same` (its copy was sent again) or `near` (PDQ within 31 bits in some orientation). pdq: packed upright
    hashes of hashable frames, 32 bytes each. action: of the machine. times: scans of it. consent: whether the host let
    all of these be used for training. number: grows within a tenant in the order of commits, so that whoever follows what may be
    joined misses none; a case that waits again gets new ones. None where nothing joins the case.
    """

    __tablename__ = "case_images"
    __table_args__ = (
        UniqueConstraint("case_id", "sha256"),
        Index("ix_case_images_sha256", "sha256", "tenant_id"),
        Index("ix_case_images_scan_id", "scan_id"),
        Index("ix_case_images_number", "tenant_id", "number"),
        Index("ix_case_images_tenant_id", "tenant_id", "id"),
    )

    id: Mapped[str] = mapped_column(String(40), primary_key=True, default=lambda: new_id("cimg"))
    case_id: Mapped[str] = mapped_column(ForeignKey("cases.id", ondelete="CASCADE"))
    image_id: Mapped[str | None] = mapped_column(ForeignKey("images.id", ondelete="SET NULL"), index=True)
    scan_id: Mapped[str | None] = mapped_column(ForeignKey("scans.id", ondelete="SET NULL"))
    sha256: Mapped[str] = mapped_column(String(64))
    pdq: Mapped[bytes] = mapped_column(LargeBinary)
    stage: Mapped[str] = mapped_column(String(10))
    distance: Mapped[int | None]
    action: Mapped[str] = mapped_column(String(16))
    times: Mapped[int] = mapped_column(default=1)
    consent: Mapped[bool] = mapped_column(default=False)
    number: Mapped[int | None] = mapped_column(BigInteger)


class CaseExclusion(TenantMixin, CreatedMixin, Base):
    """Somebody who is not given a case. why: `decided`, `appealed` or `skipped`; until: None for good."""

    __tablename__ = "case_exclusions"

    case_id: Mapped[str] = mapped_column(ForeignKey("cases.id", ondelete="CASCADE"), primary_key=True)
    reviewer: Mapped[str] = mapped_column(String(200), primary_key=True)
    why: Mapped[str] = mapped_column(String(10), primary_key=True)
    reason: Mapped[str] = mapped_column(Text, default="")
    until: Mapped[datetime | None]


class Decision(TenantMixin, CreatedMixin, Base):
    """What a person decided on a case.

    effect: what it means for the images, '' for `escalate`. state: `counted`, `late` (the lease was over: kept, and offered again), `adopted` (a late one that was taken up) or
    `undone`. clause: of the policy. token: of the claim it was made under. before: what undoing brings back. seconds: from the
    claim. right: of a golden case, whether the known answer was given. consent: whether it may train detectors.
    """

    __tablename__ = "decisions"
    __table_args__ = (
        Index("ix_decisions_case", "case_id", "id"),
        Index("ix_decisions_reviewer", "tenant_id", "reviewer", "id"),
        Index("ix_decisions_tenant", "tenant_id", "created_at"),
    )

    id: Mapped[str] = mapped_column(String(40), primary_key=True, default=lambda: new_id("dec"))
    case_id: Mapped[str] = mapped_column(ForeignKey("cases.id", ondelete="CASCADE"))
    reviewer: Mapped[str] = mapped_column(String(200))
    outcome: Mapped[str] = mapped_column(String(10))
    effect: Mapped[str] = mapped_column(String(16))
    clause: Mapped[str] = mapped_column(String(200))
    reason: Mapped[str] = mapped_column(Text)
    state: Mapped[str] = mapped_column(String(10))
    token: Mapped[int]
    round: Mapped[int]
    queue: Mapped[str] = mapped_column(String(100))
    seconds: Mapped[float | None] = mapped_column(Float)
    before: Mapped[dict[str, Any]]
    right: Mapped[bool | None]
    consent: Mapped[bool]


class Appeal(TenantMixin, CreatedMixin, Base):
    """What an uploader says against a verdict. One for each scan.

    of_case: the case that was decided before, if one was. in_force: the action that is appealed against. effect: what came
    of it, None while it is open. sealed: the statement, encrypted, None once it was deleted; unsealed: one of before statements
    were encrypted, until the next chore.
    """

    __tablename__ = "appeals"
    __table_args__ = (
        UniqueConstraint("tenant_id", "scan_id"),
        Index("ix_appeals_tenant_state", "tenant_id", "state", "id"),
    )

    id: Mapped[str] = mapped_column(String(40), primary_key=True, default=lambda: new_id("appeal"))
    scan_id: Mapped[str | None] = mapped_column(ForeignKey("scans.id", ondelete="SET NULL"))
    case_id: Mapped[str] = mapped_column(ForeignKey("cases.id"), index=True)
    of_case: Mapped[str | None] = mapped_column(String(40))
    unsealed: Mapped[str] = mapped_column("statement", Text, default="")
    sealed: Mapped[bytes | None] = mapped_column(LargeBinary)
    locale: Mapped[str] = mapped_column(String(35))
    in_force: Mapped[str] = mapped_column(String(16))
    state: Mapped[str] = mapped_column(String(10))
    due_at: Mapped[datetime]
    outcome: Mapped[str | None] = mapped_column(String(10))
    effect: Mapped[str | None] = mapped_column(String(16))
    reason: Mapped[str] = mapped_column(Text, default="")
    decided_at: Mapped[datetime | None]


class Reveal(TenantMixin, CreatedMixin, Base):
    """That somebody looked at an image of a case, or at a hosted one like it, and how much of it.

    how: `part`, `blurred` or `whole`; `face` and `reference` of a matched face and of the enrolled person's picture beside it.
    field: which part, 0 to 8 row by row, or which of the matched faces; None where it was not said.
    """

    __tablename__ = "reveals"
    __table_args__ = (
        Index("ix_reveals_reviewer", "tenant_id", "reviewer", "created_at"),
        Index("ix_reveals_case", "case_id"),
    )

    id: Mapped[str] = mapped_column(String(40), primary_key=True, default=lambda: new_id("reveal"))
    case_id: Mapped[str] = mapped_column(ForeignKey("cases.id", ondelete="CASCADE"))
    reviewer: Mapped[str] = mapped_column(String(200))
    sha256: Mapped[str] = mapped_column(String(64))
    how: Mapped[str] = mapped_column(String(10))
    field: Mapped[int | None]
    harm: Mapped[str] = mapped_column(String(20))


class ReviewerState(TenantMixin, Base):
    """A reviewer's own display settings, and the rest that is being taken. rest_from: when it began."""

    __tablename__ = "reviewer_states"

    tenant_id: Mapped[str] = mapped_column(String(40), ForeignKey("tenants.id"), primary_key=True)
    reviewer: Mapped[str] = mapped_column(String(200), primary_key=True)
    display: Mapped[dict[str, Any]]
    rest_from: Mapped[datetime | None]
    rest_until: Mapped[datetime | None]
    rest_why: Mapped[str] = mapped_column(String(10), default="")
