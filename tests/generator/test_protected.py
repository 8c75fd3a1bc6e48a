"""People who are enrolled are not named, nor shown, by what `palisade generate` makes."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pillow
from typer.testing import CliRunner

from generator.commands import make_maker
from generator.datasets import reading
from moderation.application import Application
from moderation.commands.keys import new_secret
from moderation.errors import ModerationError
from moderation.people.protected import everybody
from moderation.settings import Settings, settings
from palisade import app, installation
from tests.moderation.people.conftest import applicant, photo

RECIPE = """
name: portraits
about: Portraits, blended onto themselves.
mode: reconstruct
autoencoder: flux2-tiny
width: 64
height: 64
post: {resize: [1.0, 1.0], formats: [png]}
groups:
  - {name: faces, label: synthetic, count: 2}
"""


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Settings]:
    """An installation of its own, with the tests' models."""
    models = settings().models
    monkeypatch.setenv("PALISADE_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("PALISADE_MODELS_DIR", str(models))
    monkeypatch.setenv("PALISADE_PEOPLE_KEYS", new_secret("k1"))
    settings.cache_clear()
    yield settings()
    settings.cache_clear()


def crop(shared_data: Path, person: int, number: int) -> np.ndarray:
    return np.asarray(Pillow.open(shared_data / f"faces/person_{person:02}/{number:02}.png").convert("RGB"))


def enrol(installed: Settings, shared_data: Path) -> None:
    application = Application(installed)
    application.database.migrate()
    photos = [photo(crop(shared_data, 2, number)) for number in (2, 4, 7)]
    application.people.enrol("default", applicant(name="C. Person"), photos, actor="tests")
    application.database.close()


def test_an_installation_that_was_never_used_protects_nobody_and_is_not_made(installed: Settings) -> None:
    found = installation().protected()

    assert (found.names, found.gallery) == ((), None)
    assert not installed.data_dir.exists()


def test_a_database_that_cannot_be_asked_refuses(installed: Settings) -> None:
    installed.data_dir.mkdir()
    (installed.data_dir / "palisade.db").touch()

    with pytest.raises(ModerationError, match="schema"):
        everybody(Application(installed))


def test_pictures_of_somebody_enrolled_are_quarantined(installed: Settings, shared_data: Path, tmp_path: Path) -> None:
    enrol(installed, shared_data)
    for name, person, number in (("a", 2, 13), ("b", 4, 7)):
        (tmp_path / f"{name}.png").write_bytes(photo(crop(shared_data, person, number)).data)
    (tmp_path / "recipe.yaml").write_text(RECIPE)
    command = ["generate", str(tmp_path / "recipe.yaml"), "--out", str(tmp_path / "out"), "--pictures", str(tmp_path)]
    autoencoder = shared_data / "weights"

    answer = CliRunner().invoke(
        app, [*command, "--autoencoder", str(autoencoder)], obj=installation, catch_exceptions=False
    )

    assert answer.exit_code == 0
    rows = {row["parent"].rsplit("/", 1)[-1]: row for row in reading.rows(tmp_path / "out")}
    assert (rows["a.png"]["guard_state"], rows["a.png"]["kept"]) == ("quarantined", False)
    assert (rows["b.png"]["guard_state"], rows["b.png"]["kept"]) == ("safe", True)


def test_their_names_are_given_to_the_guard(installed: Settings, shared_data: Path, tmp_path: Path) -> None:
    enrol(installed, shared_data)
    protected = installation().protected()

    values = {"names": protected.names, "gallery": protected.gallery, "models": installed.models}
    maker = make_maker(
        {"recipe": "swaps", "out": tmp_path / "out", "pictures": shared_data / "faces", "pipeline": "", **values}
    )

    assert maker.guard.people == ("C. Person",)
