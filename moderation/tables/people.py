"""Protected people: who agreed to what, and their encrypted face templates."""

from datetime import datetime
from typing import Any

from sqlalchemy import ForeignKey, Index, LargeBinary, String
from sqlalchemy.orm import Mapped, mapped_column

from moderation.tables.base import Base, CreatedMixin, TenantMixin, new_id


class Person(TenantMixin, CreatedMixin, Base):
    """Somebody enrolled for protection. Without the person's key, which is kept elsewhere, the row says next to nothing.

    kind: 'adult' or 'minor'. details: name, consent, who vouches and a minor's guardian: JSON, encrypted under the
    person's key. expires_at: when the consent or authority ends, and the protection with it.
    """

    __tablename__ = "people"
    __table_args__ = (Index("ix_people_tenant_expires", "tenant_id", "expires_at"),)

    id: Mapped[str] = mapped_column(String(40), primary_key=True, default=lambda: new_id("person"))
    kind: Mapped[str] = mapped_column(String(16))
    details: Mapped[bytes] = mapped_column(LargeBinary)
    expires_at: Mapped[datetime]


class FaceTemplate(TenantMixin, CreatedMixin, Base):
    """One photo's template, encrypted under the person's key. The photo itself is not kept.

    model: what made it. quality: what was measured of the photo (size, sharpness, pose, light).
    """

    __tablename__ = "face_templates"

    id: Mapped[str] = mapped_column(String(40), primary_key=True, default=lambda: new_id("tpl"))
    person_id: Mapped[str] = mapped_column(ForeignKey("people.id", ondelete="CASCADE"), index=True)
    model: Mapped[str] = mapped_column(String(100))
    ciphertext: Mapped[bytes] = mapped_column(LargeBinary)
    quality: Mapped[dict[str, Any]]


class FaceReference(TenantMixin, CreatedMixin, Base):
    """The one aligned face crop that a person let be kept, to be compared with by eye: JPEG under the person's key.

    Only where the consent says so (`people.details`), and never given out by the API.
    """

    __tablename__ = "face_references"

    person_id: Mapped[str] = mapped_column(ForeignKey("people.id", ondelete="CASCADE"), primary_key=True)
    ciphertext: Mapped[bytes] = mapped_column(LargeBinary)


class PeopleGallery(TenantMixin, Base):
    """Counts the changes of a tenant's gallery, so that every process knows when to read it again."""

    __tablename__ = "people_galleries"

    tenant_id: Mapped[str] = mapped_column(String(40), ForeignKey("tenants.id"), primary_key=True)
    sequence: Mapped[int]


class PersonEvent(TenantMixin, CreatedMixin, Base):
    """What was done about a person, when and by whom. Outlives the person: no name, nothing of the face.

    kind: 'enrolled', 'photos_added', 'deleted' or 'checked' (then person_id is who was found, or ''); of the reference picture
    'reference_kept', 'reference_shown' and 'reference_dropped'. actor: an API key's id or an account. note: counts and reasons.
    """

    __tablename__ = "person_events"
    __table_args__ = (Index("ix_person_events_tenant_person", "tenant_id", "person_id"),)

    id: Mapped[str] = mapped_column(String(40), primary_key=True, default=lambda: new_id("pev"))
    person_id: Mapped[str] = mapped_column(String(40))
    kind: Mapped[str] = mapped_column(String(20))
    actor: Mapped[str] = mapped_column(String(200))
    note: Mapped[dict[str, Any]]
