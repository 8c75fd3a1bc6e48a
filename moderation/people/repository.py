"""SQL of protected people."""

from collections.abc import Collection, Sequence
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from moderation.tables import FaceReference, FaceTemplate, PeopleGallery, Person, PersonEvent


class PeopleRepository:
    def __init__(self, session: Session, tenant: str) -> None:
        self.session = session
        self.tenant = tenant

    def person(self, person_id: str, *, lock: bool = False) -> Person | None:
        query = sa.select(Person).where(Person.tenant_id == self.tenant, Person.id == person_id)
        return self.session.scalar(query.with_for_update() if lock else query)

    def people(self) -> Sequence[Person]:
        return self.session.scalars(sa.select(Person).where(Person.tenant_id == self.tenant).order_by(Person.id)).all()

    def active(self, now: datetime) -> Sequence[str]:
        """Ids of people whose consent runs."""
        query = sa.select(Person.id).where(Person.tenant_id == self.tenant, Person.expires_at > now)
        return self.session.scalars(query.order_by(Person.id)).all()

    def version(self, now: datetime) -> tuple[int, int]:
        """The gallery's sequence and how many people are in it: one of them changes with any change."""
        sequence = self.session.scalar(sa.select(PeopleGallery.sequence).where(PeopleGallery.tenant_id == self.tenant))
        count = self.session.scalar(
            sa.select(sa.func.count()).where(Person.tenant_id == self.tenant, Person.expires_at > now)
        )
        return sequence or 0, count or 0

    def templates(self, person_id: str | None = None) -> Sequence[FaceTemplate]:
        """The templates of a person, or of all, by person and age."""
        query = sa.select(FaceTemplate).where(FaceTemplate.tenant_id == self.tenant)
        if person_id is not None:
            query = query.where(FaceTemplate.person_id == person_id)
        return self.session.scalars(query.order_by(FaceTemplate.person_id, FaceTemplate.id)).all()

    def reference(self, person_id: str) -> FaceReference | None:
        query = sa.select(FaceReference).where(FaceReference.tenant_id == self.tenant)
        return self.session.scalar(query.where(FaceReference.person_id == person_id))

    def referenced(self, people: Collection[str], now: datetime) -> set[str]:
        """Which of these people have a reference picture, and a consent that runs."""
        query = sa.select(FaceReference.person_id).join(Person, Person.id == FaceReference.person_id)
        query = query.where(FaceReference.tenant_id == self.tenant, Person.expires_at > now)
        return set(self.session.scalars(query.where(FaceReference.person_id.in_(sorted(people)))))

    def drop_reference(self, person_id: str) -> None:
        self.session.execute(
            sa.delete(FaceReference).where(FaceReference.tenant_id == self.tenant, FaceReference.person_id == person_id)
        )

    def add(self, *rows: Person | FaceTemplate | FaceReference | PersonEvent) -> None:
        self.session.add_all(rows)
        self.session.flush()

    def delete(self, person: Person) -> None:
        self.drop_reference(person.id)
        self.session.execute(
            sa.delete(FaceTemplate).where(FaceTemplate.tenant_id == self.tenant, FaceTemplate.person_id == person.id)
        )
        self.session.execute(sa.delete(Person).where(Person.tenant_id == self.tenant, Person.id == person.id))

    def advance(self) -> None:
        """Let every process know that the gallery changed."""
        insert = postgresql.insert if self.session.get_bind().dialect.name == "postgresql" else sqlite.insert
        self.session.execute(
            insert(PeopleGallery)
            .values(tenant_id=self.tenant, sequence=1)
            .on_conflict_do_update(index_elements=["tenant_id"], set_={"sequence": PeopleGallery.sequence + 1})
        )

    def events(self, person_id: str) -> Sequence[PersonEvent]:
        query = sa.select(PersonEvent).where(PersonEvent.tenant_id == self.tenant, PersonEvent.person_id == person_id)
        return self.session.scalars(query.order_by(PersonEvent.id)).all()


def tenants_with_people(session: Session) -> Sequence[str]:
    """Every tenant that has somebody enrolled: for the operator's checks, never for a tenant's request."""
    return session.scalars(sa.select(Person.tenant_id).distinct().order_by(Person.tenant_id)).all()


def tenants(session: Session) -> Sequence[str]:
    """Every tenant that has somebody enrolled."""
    return session.scalars(sa.select(Person.tenant_id).distinct().order_by(Person.tenant_id)).all()
