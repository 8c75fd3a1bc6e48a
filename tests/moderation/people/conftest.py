"""People to enrol: real face crops on a larger canvas, and the parts that enrol them."""

from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pillow

from detectors.faces import FacesDetector
from detectors.likeness import LikenessDetector
from detectors.runtime import Runtime
from moderation.commands.keys import new_secret
from moderation.database import Database
from moderation.media import MediaLimits
from moderation.people.gallery import Galleries
from moderation.people.keys import PersonKeys
from moderation.people.photos import PhotoDesk
from moderation.people.records import Applicant, Consent, Photo
from moderation.people.service import PeopleService
from moderation.settings import Settings
from moderation.tables import utc_now
from moderation.vault import Vault
from tests.factories import encode

Pixels = np.ndarray
MakeService = Callable[..., PeopleService]


@pytest.fixture(scope="session")
def desk(runtime: Runtime) -> PhotoDesk:
    return PhotoDesk(FacesDetector(runtime), LikenessDetector(runtime), MediaLimits.of(Settings(_env_file=None)))


@pytest.fixture(scope="session")
def crops(shared_data: Path) -> list[list[Pixels]]:
    """Some frontal, well-lit crops of each of three people; of the first there are the most."""
    chosen = {2: (2, 3, 4, 7, 13, 14, 18, 19, 20), 4: (2, 7, 8, 9, 11), 10: (2, 4, 5, 6, 13)}
    return [
        [
            np.asarray(Pillow.open(shared_data / "faces" / f"person_{person:02}" / f"{photo:02}.png").convert("RGB"))
            for photo in photos
        ]
        for person, photos in chosen.items()
    ]


def photo(*faces: Pixels, side: int = 200, name: str = "") -> Photo:
    """A photo of faces next to each other on grey."""
    canvas = np.full((360, 60 + 280 * max(1, len(faces)), 3), 120, np.uint8)
    for place, face in enumerate(faces):
        left = 50 + 280 * place
        canvas[70 : 70 + side, left : left + side] = np.asarray(Pillow.fromarray(face).resize((side, side)))
    return Photo(encode(canvas), name)


def applicant(kind: str = "adult", /, **changed: object) -> Applicant:
    values = {
        "kind": "guardian" if kind == "minor" else "consent",
        "document": "file 17",
        "vouched_by": "A. Clerk",
        "expires_at": utc_now() + timedelta(days=365),
        "guardian": "B. Parent" if kind == "minor" else "",
    }
    name = str(changed.pop("name", "C. Person"))
    return Applicant(name, kind, Consent(**{**values, **changed}))


@pytest.fixture
def secret() -> str:
    return new_secret("k1")


@pytest.fixture
def make_service(database: Database, desk: PhotoDesk, tmp_path: Path, secret: str) -> Iterator[MakeService]:
    """Services as different processes would have them, on one database and one place for keys."""

    def make(*, keys: str = secret, clock: Callable[[], float] | None = None) -> PeopleService:
        vault = Vault.parse(keys, setting="PALISADE_PEOPLE_KEYS") if keys else None
        store = PersonKeys((tmp_path / "keys").as_uri(), vault)
        timing = {"clock": clock} if clock else {}
        galleries = Galleries(database, store, desk.likeness.runtime.identity("sface"), **timing)
        desk.likeness.attach(galleries)
        return PeopleService(database, store, galleries, desk)

    yield make
    desk.likeness.attach(Nobody())


class Nobody:
    """A gallery source without anybody."""

    def gallery(self, tenant: str) -> None:
        return None

    def version(self, tenant: str) -> str:
        return ""


@pytest.fixture
def service(make_service: MakeService) -> PeopleService:
    return make_service()
