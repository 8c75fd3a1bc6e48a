"""`palisade demo`: what it makes is real, is its own, and can be signed in to."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from dashboard.app import create_app
from moderation.application import Application
from moderation.commands.serve import _read
from moderation.settings import Settings, settings
from moderation.tables import DEFAULT_TENANT
from tests.dashboard.conftest import field
from tests.screenshots import logins_of

ROOT = Path(__file__).parents[2]


def demo(folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "moderation", "demo", "--fill-only", "--pictures", "12", "--folder", str(folder)]
    mine = {"PALISADE_MODELS_DIR": str(settings().models.resolve()), **environment}
    return subprocess.run(command, cwd=ROOT, env={**os.environ, **mine}, capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_a_demo_is_filled_apart_and_a_lead_sees_its_figures(tmp_path: Path) -> None:
    folder, theirs = tmp_path / "demo", tmp_path / "theirs.db"
    done = demo(folder, PALISADE_DATABASE_URL=f"sqlite:///{theirs}", PALISADE_WEBHOOK_URL="http://127.0.0.1:9/hook")

    assert done.returncode == 0, done.stderr
    assert not theirs.exists()
    assert (folder / "accounts.txt").stat().st_mode & 0o077 == 0
    logins = logins_of((folder / "accounts.txt").read_text())
    assert len(logins) == 5
    assert all(len(codes) == 10 for _, codes in logins.values())
    browser, password, codes = served(folder), *logins["lea@demo.example"]
    sign_in(browser, "lea@demo.example", password, codes[0])
    page = browser.get("/app/figures").text
    assert "rita@demo.example" in page
    assert "generated" in page
    assert "campaign-7" in browser.get("/app/health").text
    parts = browser.app.state.application  # type: ignore[attr-defined]
    assert parts.settings.webhook_url in (None, "")
    scans = parts.backtests.run(DEFAULT_TENANT, parts.policies.text("demo"), *fortnight())
    assert (scans.scans, scans.changed) == (14, 0), "the verdicts are those of the policy on what was measured"
    again = demo(folder)
    assert again.returncode == 0
    assert password in again.stderr, "it is shown again, and not filled again"
    sign_in(served(folder), "lea@demo.example", password, codes[1])


def test_a_folder_with_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")

    done = demo(tmp_path)
    assert done.returncode == 1
    assert "not a demo" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def served(folder: Path) -> TestClient:
    keys = {name.lower(): value for name, value in _read(folder / "secrets.env").items()}
    config = Settings(
        _env_file=None,
        data_dir=folder,
        models_dir=settings().models,
        policies_dir=folder / "policies",
        policy="demo",
        **keys,
    )
    return TestClient(create_app(Application(config)), follow_redirects=False)


def sign_in(browser: TestClient, name: str, password: str, code: str) -> None:
    form = {"csrf": field(browser.get("/sign-in")), "name": name, "password": password}
    assert browser.post("/sign-in", data=form).status_code == 303
    form = {"csrf": field(browser.get("/sign-in/code")), "code": code}
    assert browser.post("/sign-in/code", data=form).headers["location"] == "/app"


def fortnight():  # type: ignore[no-untyped-def]
    from datetime import timedelta

    from moderation.tables import utc_now

    return utc_now() - timedelta(days=20), utc_now() + timedelta(hours=1)
