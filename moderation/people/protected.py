"""Everybody who is enrolled, of every tenant: whom nothing that is generated here may name or show."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from sqlalchemy import make_url

from detectors.likeness import Gallery
from moderation.application import Application
from moderation.people.repository import tenants


@dataclass(frozen=True)
class Protected:
    """names: of enrolled people. gallery: their templates; None when nobody is enrolled."""

    names: tuple[str, ...] = ()
    gallery: Gallery | None = None


def everybody(application: Application) -> Protected:
    """Raises ModerationError when there is a database and it, or those who are enrolled in it, cannot be read.

    An embedded database that was never made has nobody in it, and is not made for that. Another one is closed at the end.
    """
    url = make_url(application.settings.database)
    if url.get_backend_name() == "sqlite" and url.database and not Path(url.database).exists():
        return Protected()
    try:
        return _read(application)
    finally:
        application.database.close()


def _read(application: Application) -> Protected:
    application.database.check_schema()
    with application.database.read() as session:
        known = tenants(session)
    names = {name for tenant in known for name in application.people_names.of(tenant)}
    galleries = [application.galleries.gallery(tenant) for tenant in known] if names else []
    found = [gallery for gallery in galleries if gallery is not None]
    return Protected(tuple(sorted(names)), _joined(found) if found else None)


def _joined(galleries: list[Gallery]) -> Gallery:
    return Gallery(
        "/".join(gallery.version for gallery in galleries),
        galleries[0].model,
        np.concatenate([gallery.templates for gallery in galleries]),
        tuple(person for gallery in galleries for person in gallery.people),
    )
