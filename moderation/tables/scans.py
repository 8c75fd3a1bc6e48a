"""Images, what was measured of them, and how they were judged."""

from datetime import datetime
from typing import Any

from sqlalchemy import ForeignKey, Index, LargeBinary, String, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column, relationship

from moderation.tables.base import Base, CreatedMixin, Json, TenantMixin, new_id


class StoredImage(TenantMixin, CreatedMixin, Base):
    """An image file that was scanned, by its SHA-256. The pixels are kept elsewhere, and only as the policy says.

    size: in bytes. pdq: packed PDQ hashes of each sampled frame, upright: 32 bytes a frame. embedding: float16, 512 numbers a frame,
    made by `embedding_model`. probes: what lists are asked of it, as `moderation.rescans.probes` packs it; None before it was kept.
    """

    __tablename__ = "images"
    __table_args__ = (UniqueConstraint("tenant_id", "sha256"), Index("ix_images_tenant_id", "tenant_id", "id"))

    id: Mapped[str] = mapped_column(String(40), primary_key=True, default=lambda: new_id("img"))
    sha256: Mapped[str] = mapped_column(String(64))
    format: Mapped[str] = mapped_column(String(16))
    size: Mapped[int]
    width: Mapped[int]
    height: Mapped[int]
    frames: Mapped[int]
    pdq: Mapped[bytes | None] = mapped_column(LargeBinary)
    embedding: Mapped[bytes | None] = mapped_column(LargeBinary)
    embedding_model: Mapped[str | None] = mapped_column(String(100))
    kept_at: Mapped[datetime | None]
    probes: Mapped[bytes | None] = mapped_column(LargeBinary)


class Measurement(TenantMixin, CreatedMixin, Base):
    """All findings of one image under one set of models: what any policy can be judged on again.

    models: digest of the detectors, their versions and weights. plan: 'full', or what a cascade made of the policy
    and the host's context, since it may have left detectors out.
    """

    __tablename__ = "measurements"
    __table_args__ = (UniqueConstraint("image_id", "models", "plan"),)

    id: Mapped[str] = mapped_column(String(40), primary_key=True, default=lambda: new_id("msr"))
    image_id: Mapped[str] = mapped_column(ForeignKey("images.id"))
    models: Mapped[str] = mapped_column(String(64))
    plan: Mapped[str] = mapped_column(String(64))
    findings: Mapped[list[Any]]
    timings: Mapped[dict[str, Any]]
    warnings: Mapped[list[Any]]


class Scan(TenantMixin, CreatedMixin, Base):
    """One judgement: an image that a host sent, in a context, under a policy.

    lookups: what lists said of the image at that moment, which is no part of the measurement; None before there were any.
    reach: how many people saw it or may, as the host says, 0 where it says nothing. consent: whether the host lets it be used
    for training. case_id: the case that it opened or joined, where a person has to look.
    """

    __tablename__ = "scans"
    __table_args__ = (
        Index("ix_scans_tenant_external", "tenant_id", "external_id"),
        Index("ix_scans_tenant_id", "tenant_id", "id"),
        Index("ix_scans_tenant_uploader", "tenant_id", "uploader", "id"),
    )

    id: Mapped[str] = mapped_column(String(40), primary_key=True, default=lambda: new_id("scan"))
    image_id: Mapped[str] = mapped_column(ForeignKey("images.id"), index=True)
    measurement_id: Mapped[str] = mapped_column(ForeignKey("measurements.id"), index=True)
    reused: Mapped[bool]
    action: Mapped[str] = mapped_column(String(16))
    policy: Mapped[str] = mapped_column(String(100))
    policy_version: Mapped[int]
    policy_digest: Mapped[str] = mapped_column(String(64))
    verdict: Mapped[dict[str, Any]]
    external_id: Mapped[str] = mapped_column(String(200), default="")
    uploader: Mapped[str] = mapped_column(String(200), default="")
    surface: Mapped[str] = mapped_column(String(100), default="")
    locale: Mapped[str] = mapped_column(String(35), default="")
    lookups: Mapped[list[Any] | None] = mapped_column(Json)
    reach: Mapped[int] = mapped_column(default=0)
    consent: Mapped[bool] = mapped_column(default=False)
    case_id: Mapped[str | None] = mapped_column(String(40))

    image: Mapped[StoredImage] = relationship(lazy="joined", innerjoin=True)
    measurement: Mapped[Measurement] = relationship(lazy="joined", innerjoin=True)

    @property
    def findings(self) -> list[Any]:
        """What the verdict rests on: what was measured, and what lists said then."""
        if self.lookups is None:
            return self.measurement.findings
        looked_up = {finding["detector"] for finding in self.lookups}
        return [f for f in self.measurement.findings if f["detector"] not in looked_up] + self.lookups


class IdempotencyKey(TenantMixin, CreatedMixin, Base):
    """What a request under an `Idempotency-Key` was, and what it was answered; without an answer it still runs."""

    __tablename__ = "idempotency_keys"

    tenant_id: Mapped[str] = mapped_column(String(40), ForeignKey("tenants.id"), primary_key=True)
    key: Mapped[str] = mapped_column(String(200), primary_key=True)
    fingerprint: Mapped[str] = mapped_column(String(64))
    answer: Mapped[str | None] = mapped_column(Text)
