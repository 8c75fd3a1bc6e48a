"""SQL of registered models."""

from collections.abc import Sequence
from datetime import date
from typing import cast

import sqlalchemy as sa
from sqlalchemy.orm import Session, defer

from moderation.registry.records import Day, Registered, State
from moderation.tables import DetectorModel, ModelDay, new_id, utc_now
from moderation.tables.base import DEFAULT_TENANT


class ModelRepository:
    def __init__(self, session: Session) -> None:
        self.session = session

    def models(self, name: str = "") -> list[Registered]:
        """All registered models, or a detector's, the newest change first; without their graphs."""
        query = sa.select(DetectorModel).options(defer(DetectorModel.graph))
        if name:
            query = query.where(DetectorModel.name == name)
        return [_registered(row) for row in self.session.scalars(query.order_by(DetectorModel.ordinal.desc()))]

    def row(self, name: str, digest: str) -> Sequence[DetectorModel]:
        """The models of a detector whose digest begins so; locked until the transaction ends."""
        query = sa.select(DetectorModel).where(DetectorModel.name == name, DetectorModel.digest.startswith(digest))
        return self.session.scalars(query.with_for_update()).all()

    def in_state(self, name: str, *states: str) -> Sequence[DetectorModel]:
        """A detector's models in these states, the newest change first; locked."""
        query = sa.select(DetectorModel).where(DetectorModel.name == name, DetectorModel.state.in_(states))
        return self.session.scalars(query.order_by(DetectorModel.ordinal.desc()).with_for_update()).all()

    def add(self, model: DetectorModel) -> None:
        self.session.add(model)

    def next_ordinal(self) -> int:
        return (self.session.scalar(sa.select(sa.func.max(DetectorModel.ordinal))) or 0) + 1

    def version(self) -> int:
        """Changes with every change of any model's state."""
        return self.session.scalar(sa.select(sa.func.max(DetectorModel.ordinal))) or 0

    def activations(self) -> dict[str, int]:
        """Of each detector, the ordinal of the last change of what is active."""
        was = DetectorModel.left.in_(("active", "rollback"))
        query = sa.select(DetectorModel.name, sa.func.max(DetectorModel.ordinal).label("ordinal"))
        query = query.where(sa.or_(DetectorModel.state == "active", was)).group_by(DetectorModel.name)
        return {row.name: row.ordinal for row in self.session.execute(query)}

    def note(self, days: Sequence[Day]) -> None:
        """Add what was counted to what is written of the same model and day."""
        for day in days:
            query = sa.select(ModelDay).where(
                ModelDay.name == day.name, ModelDay.model == day.model, ModelDay.day == day.day
            )
            row = self.session.scalar(query.with_for_update())
            if row is None:
                empty = Day(day.name, day.model, day.day)
                row = ModelDay(id=new_id("mday"), tenant_id=DEFAULT_TENANT, created_at=utc_now(), **vars(empty))
                self.session.add(row)
            row.histogram = [a + b for a, b in zip(row.histogram, day.histogram, strict=True)]
            row.shadowed += day.shadowed
            row.both += day.both
            row.only_active += day.only_active
            row.only_shadow += day.only_shadow
            self.session.flush()

    def days(self, name: str, model: str, since: date) -> Sequence[ModelDay]:
        query = sa.select(ModelDay).where(ModelDay.name == name, ModelDay.model == model, ModelDay.day >= since)
        return self.session.scalars(query.order_by(ModelDay.day)).all()

    def seen(self, name: str) -> Sequence[str]:
        """The models of a detector that said anything."""
        return self.session.scalars(sa.select(ModelDay.model).where(ModelDay.name == name).distinct()).all()


def _registered(row: DetectorModel) -> Registered:
    state = cast("State", row.state)
    return Registered(row.id, row.name, row.digest, state, row.share, row.ordinal, row.changed_at, row.card)
