"""`palisade reviews`, as people call it. On both databases."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from moderation.application import Application
from moderation.database import Database
from moderation.errors import InvalidRequestError
from moderation.reviews import commands
from moderation.reviews.deciding import DecisionService
from moderation.reviews.records import Choice
from moderation.reviews.service import ReviewService
from moderation.settings import Settings
from moderation.tables import utc_now
from tests.moderation.reviews.conftest import ANNA, MakeScan
from tests.moderation.reviews.test_backtest import DAY, DRAFT

Run = Callable[..., str]


@pytest.fixture
def run(database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    application = Application(Settings(_env_file=None, data_dir=tmp_path))  # type: ignore[call-arg]
    application.__dict__["database"] = database
    monkeypatch.setattr(commands, "Application", lambda _settings: application)

    def command(*arguments: str) -> str:
        answer = CliRunner().invoke(commands.app, list(arguments), catch_exceptions=False)
        assert answer.exit_code == 0, answer.output
        return answer.stdout

    return command


def test_the_queue_a_case_and_the_figures(
    run: Run, make_scan: MakeScan, queue: ReviewService, desk: DecisionService
) -> None:
    _, case = make_scan("a", consent=True)
    assert case is not None
    assert case.id[:12] in run("list", "--queue", "explicit")
    queue.claim(ANNA)
    desk.decide(ANNA, case.id, 1, Choice("overturn", reason="A painting."))
    desk.release(now=utc_now() + DAY)

    shown = json.loads(run("show", case.id, "--json"))
    assert (shown["state"], shown["effect"], shown["decisions"][0]["reviewer"]) == ("closed", "allow", "anna")
    assert "A painting." in run("show", case.id).replace("\n", " ")
    assert json.loads(run("stats"))["overturn_rate"] == 1.0
    assert json.loads(run("training"))["effect"] == "allow"
    with pytest.raises(InvalidRequestError, match="not a state"):
        run("list", "--state", "lost")


def test_a_back_test_at_the_command_line(run: Run, make_scan: MakeScan, tmp_path: Path) -> None:
    make_scan("a")
    draft = tmp_path / "draft.yaml"
    draft.write_text(DRAFT)

    assert json.loads(run("backtest", str(draft)))["scans"] == 1
