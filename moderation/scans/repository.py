"""SQL of scans, images and measurements."""

from collections.abc import Sequence

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from moderation.tables import Measurement, Scan, StoredImage


class ScanRepository:
    """Reads and writes the scans of one tenant within one transaction."""

    def __init__(self, session: Session, tenant: str) -> None:
        self.session = session
        self.tenant = tenant

    def image(self, sha256: str) -> StoredImage | None:
        return self.session.scalar(
            sa.select(StoredImage).where(StoredImage.tenant_id == self.tenant, StoredImage.sha256 == sha256)
        )

    def measurement(self, sha256: str, models: str, plan: str) -> Measurement | None:
        """What was measured of these bytes under these models, if it was."""
        return self.session.scalar(
            sa.select(Measurement)
            .join(StoredImage, StoredImage.id == Measurement.image_id)
            .where(
                StoredImage.tenant_id == self.tenant,
                StoredImage.sha256 == sha256,
                Measurement.models == models,
                Measurement.plan == plan,
            )
        )

    def add_image(self, image: StoredImage) -> StoredImage:
        """The stored image of these bytes: this one, or the one that another request stored first."""
        self._insert_unless_there(image, ["tenant_id", "sha256"])
        return self.session.scalars(
            sa.select(StoredImage).where(StoredImage.tenant_id == self.tenant, StoredImage.sha256 == image.sha256)
        ).one()

    def add_measurement(self, measurement: Measurement) -> Measurement:
        """The stored measurement of this image, models and plan: this one, over any that was there."""
        self._insert_unless_there(measurement, ["image_id", "models", "plan"])
        stored = self.session.scalars(
            sa.select(Measurement).where(
                Measurement.image_id == measurement.image_id,
                Measurement.models == measurement.models,
                Measurement.plan == measurement.plan,
            )
        ).one()
        stored.findings, stored.timings = measurement.findings, measurement.timings
        return stored

    def add_scan(self, scan: Scan) -> None:
        self.session.add(scan)

    def scan(self, scan_id: str) -> Scan | None:
        return self.session.scalar(sa.select(Scan).where(Scan.tenant_id == self.tenant, Scan.id == scan_id))

    def scans_of(self, image_id: str, limit: int) -> Sequence[Scan]:
        """The newest scans of an image."""
        return self.session.scalars(
            sa.select(Scan)
            .where(Scan.tenant_id == self.tenant, Scan.image_id == image_id)
            .order_by(Scan.id.desc())
            .limit(limit)
        ).all()

    def _insert_unless_there(self, row: StoredImage | Measurement, unique: list[str]) -> None:
        table = type(row).__table__
        values = {
            column.name: getattr(row, column.name) for column in table.columns if getattr(row, column.name) is not None
        }
        postgres = self.session.get_bind().dialect.name == "postgresql"
        insert = postgresql.insert(type(row)) if postgres else sqlite.insert(type(row))
        self.session.execute(insert.values(values).on_conflict_do_nothing(index_elements=unique))
