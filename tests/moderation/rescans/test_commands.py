"""`palisade rescans`, and plans that are made by themselves."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from moderation.application import Application
from moderation.banks.records import BankSpec, NewEntry, Signal
from moderation.cli import app as cli
from moderation.rescans.automatic import SETTLE, BankWatch
from moderation.rescans.records import PlanSpec
from moderation.settings import settings
from tests.moderation.rescans.stored import findings, store

ROOT = Path(__file__).parents[3]


@pytest.fixture
def database_url(tmp_path: Path) -> str:
    """SQLite: a command leaves its connections to the end of its process, which here is the test's."""
    return f"sqlite:///{tmp_path / 'palisade.db'}"


@pytest.fixture
def hosted(application: Application, monkeypatch: pytest.MonkeyPatch) -> Application:
    """Ten images, and the environment by which commands find them."""
    store(application.database, application.policies.get(""), [findings(i) for i in range(10)])
    values = application.settings
    assert values.policies_dir
    for name, value in {
        "DATABASE_URL": values.database,
        "DATA_DIR": str(values.data_dir),
        "MODELS_DIR": str(values.models),
        "POLICY": "house",
        "POLICIES_DIR": str(values.policies_dir),
    }.items():
        monkeypatch.setenv(f"PALISADE_{name}", value)
    settings.cache_clear()
    return application


def call(*arguments: str) -> str:
    result = CliRunner().invoke(cli, ["rescans", *arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


@pytest.fixture(autouse=True)
def _settings_anew() -> Any:
    yield
    settings.cache_clear()


def test_a_plan_from_the_command_line(hosted: Application) -> None:
    assert json.loads(call("dry-run", "policy"))["images"] == 10
    plan_id = call("plan", "policy", "--max-changed", "5", "--hours", "0-24").split()[0]
    assert plan_id in call("list")
    assert "is paused" in call("pause", plan_id)
    assert "is running" in call("resume", plan_id, "--max-changed", "7")

    said = " ".join(call("run", plan_id).split())

    assert "is done: 10 of 10 judged" in said
    shown = json.loads(call("show", plan_id, "--json"))
    assert (shown["state"], shown["spec"]["max_changed"], shown["progress"]["done"]) == ("done", 7, 10)
    assert call("failures", plan_id) == ""


def test_run_ends_when_nothing_is_left(hosted: Application) -> None:
    plan_id = call("plan", "policy").split()[0]

    call("run")

    assert hosted.rescans.find("default", plan_id).plan.state == "done"


def test_a_run_is_interrupted_and_goes_on(hosted: Application) -> None:
    """At night only, so that there is nothing to do: it waits, until Ctrl-C."""
    plan_id = call("plan", "policy", "--rate", "1").split()[0]
    command = [sys.executable, "-m", "moderation", "rescans", "run", plan_id]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, env=dict(os.environ)) as process:
        for _ in range(200):
            if hosted.rescans.find("default", plan_id).progress.workers:
                break
            process.poll()
            subprocess.run(["sleep", "0.1"], check=True)
        process.send_signal(signal.SIGINT)
        assert process.stdout
        said = process.stdout.read()
        assert process.wait(timeout=60) == 0

    assert "is running" in said or "is done" in said
    progress = hosted.rescans.find("default", plan_id).progress
    assert progress.done + progress.left == 10
    assert progress.workers == 0


def test_banks_that_grew_are_compared_once_they_are_left_alone(application: Application) -> None:
    clock = [0.0]
    watch = BankWatch(application.rescans, clock=lambda: clock[0])
    assert watch.plan() == 0
    application.banks.create("default", BankSpec("ours"), actor="test")
    application.banks.add("default", "ours", [NewEntry(Signal("md5", bytes(16)))], actor="test")
    assert watch.plan() == 0  # just changed
    clock[0] += SETTLE - 1
    assert watch.plan() == 0
    clock[0] += 2
    assert (watch.plan(), watch.plan()) == (1, 0)

    other = BankWatch(application.rescans, clock=lambda: clock[0])  # another process
    other.plan()
    clock[0] += SETTLE + 1
    assert other.plan() == 0

    application.banks.add("default", "ours", [NewEntry(Signal("md5", bytes([1] * 16)))], actor="test")
    watch.plan()
    clock[0] += SETTLE + 1
    assert watch.plan() == 1
    newest, first = (PlanSpec.from_dict(view.plan.spec) for view in application.rescans.plans("default"))
    assert (first.since_entry, newest.since_entry) == (0, first.until_entry)
