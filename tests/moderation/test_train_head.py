"""`palisade train head`: from hosted images to a label that policies speak of."""

import hashlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from moderation.application import Application
from moderation.cli import app
from moderation.settings import Settings, settings
from moderation.tables import StoredImage
from tests.factories import encode, picture

POLICY = """
name: boats
version: 1
on_error: hold
on_skipped: allow
rules:
  - name: boats
    when: head_boats.fpr < 1.0 || head_boats.score > 0.0
    action: label
    reason: A boat, perhaps.
"""


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Settings]:
    monkeypatch.setenv("PALISADE_MODELS_DIR", str(settings().models))
    monkeypatch.setenv("PALISADE_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("PALISADE_HEADS_DIR", str(tmp_path / "heads"))
    settings.cache_clear()
    yield settings()
    monkeypatch.undo()
    settings.cache_clear()


def host(installed: Settings, count: int) -> list[tuple[str, str]]:
    """Images that were scanned, of two kinds; (sha256, label) of each."""
    application = Application(installed)
    application.database.migrate()
    rng = np.random.default_rng(0)
    kinds = rng.normal(size=(2, 512))
    model = application.runtime.identity("clip_vit_b16")
    rows, labels = [], []
    for number in range(count):
        sha256 = hashlib.sha256(str(number).encode()).hexdigest()
        embedding = (kinds[number % 2] + rng.normal(size=512)).astype(np.float16).tobytes()
        facts = {"format": "PNG", "size": 1, "width": 1, "height": 1, "frames": 1}
        rows.append(
            StoredImage(tenant_id="default", sha256=sha256, embedding=embedding, embedding_model=model, **facts)
        )
        labels.append((sha256, "yes" if number % 2 else "no"))
    with application.database.write() as session:
        session.add_all(rows)
    application.database.close()
    return labels


def write(path: Path, rows: list[tuple[str, str]]) -> Path:
    path.write_text("sha256,label\n" + "".join(f"{sha256},{label}\n" for sha256, label in rows))
    return path


def run(*arguments: str) -> tuple[int, str]:
    answer = CliRunner().invoke(app, list(arguments), catch_exceptions=True)
    return answer.exit_code, answer.output + str(answer.exception or "")


def test_a_head_from_hosted_images_is_found_in_scans(installed: Settings, tmp_path: Path) -> None:
    data = write(tmp_path / "boats.csv", host(installed, 60))

    code, said = run("train", "head", "boats", "--data", str(data), "--about", "A boat.")
    assert (code, "head_boats: 60 examples" in said) == (0, True), said

    (tmp_path / "policy.yaml").write_text(POLICY)
    (tmp_path / "photo.png").write_bytes(encode(picture(seed=31)))
    code, said = run("scan", str(tmp_path / "photo.png"), "--policy", str(tmp_path / "policy.yaml"), "--json")
    assert code == 0, said
    assert '"label": "head_boats"' in said
    assert '"action": "label"' in said


def test_an_image_that_nobody_scanned_is_named(installed: Settings, tmp_path: Path) -> None:
    rows = host(installed, 60)
    data = write(tmp_path / "boats.csv", [("ab" * 32, "yes"), *rows])

    code, said = run("train", "head", "boats", "--data", str(data))

    assert code == 1
    assert "ab" * 32 in said
    assert not (tmp_path / "heads").exists()


def test_without_the_head_a_policy_that_asks_for_it_is_refused(installed: Settings, tmp_path: Path) -> None:
    (tmp_path / "policy.yaml").write_text(POLICY)

    code, said = run("policy", "check", str(tmp_path / "policy.yaml"))

    assert code == 1
    assert "head_boats" in said
