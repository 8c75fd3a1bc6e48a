"""Models of detectors that this installation trained or took over, and what they say day by day."""

from datetime import date, datetime
from typing import Any

from sqlalchemy import Date, Float, LargeBinary, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from moderation.tables.base import Base, CreatedMixin, Json, TenantMixin, new_id


class DetectorModel(TenantMixin, CreatedMixin, Base):
    """A registered model: its files, and what it is used for. Of the whole installation, so of the first tenant.

    name: the detector's. digest: SHA-256 of the graph. state: see `registry.records.STATES`. share: of images that a canary
    measures. left: the state it was retired from, '' before. card, calibration: the files beside the graph, as JSON. ordinal: counts
    changes of state, so that the newest is known.
    """

    __tablename__ = "detector_models"
    __table_args__ = (UniqueConstraint("name", "digest"),)

    id: Mapped[str] = mapped_column(String(40), primary_key=True, default=lambda: new_id("model"))
    name: Mapped[str] = mapped_column(String(60))
    digest: Mapped[str] = mapped_column(String(64))
    state: Mapped[str] = mapped_column(String(12))
    share: Mapped[float] = mapped_column(Float)
    left: Mapped[str] = mapped_column(String(12))
    ordinal: Mapped[int]
    graph: Mapped[bytes] = mapped_column(LargeBinary)
    card: Mapped[dict[str, Any]] = mapped_column(Json)
    calibration: Mapped[dict[str, Any]] = mapped_column(Json)
    changed_at: Mapped[datetime]


class ModelDay(TenantMixin, CreatedMixin, Base):
    """What one model said on one day: of which drift and disagreement are read.

    model: `name@digest`. histogram: images by `fpr`, see `registry.records.EDGES`. shadowed: images on which a shadow ran
    beside it; both, only_active, only_shadow: of those, where who reached `fpr` 0.01.
    """

    __tablename__ = "model_days"
    __table_args__ = (UniqueConstraint("name", "model", "day"),)

    id: Mapped[str] = mapped_column(String(40), primary_key=True, default=lambda: new_id("mday"))
    name: Mapped[str] = mapped_column(String(60))
    model: Mapped[str] = mapped_column(String(100))
    day: Mapped[date] = mapped_column(Date)
    histogram: Mapped[list[Any]] = mapped_column(Json)
    shadowed: Mapped[int]
    both: Mapped[int]
    only_active: Mapped[int]
    only_shadow: Mapped[int]
