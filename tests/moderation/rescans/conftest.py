"""Re-scans on a real database, with real policies."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from detectors.runtime import Runtime
from moderation.application import Application
from moderation.commands.keys import new_secret
from moderation.settings import Settings, settings

POLICY = """
name: house
version: {version}
description: For tests.
keep: none
on_error: hold
on_skipped: allow
rules:
  - name: listed
    when: known.action_hint == 'block'
    action: block
    reason: It is on a list.
  - name: explicit
    when: nsfw.fpr <= {nsfw}
    action: hold
    queue: explicit
    reason: A person looks at it.
  - name: made-by-ai
    when: synthetic.fpr <= {synthetic}
    action: label
    reason: It was made with AI.
examples:
  - name: an explicit one is held
    findings: {{nsfw: {{fpr: 0.0001}}}}
    action: hold
"""


def write_policy(folder: Path, *, version: int = 1, nsfw: float = 0.01, synthetic: float = 0.001) -> None:
    """The policy `house`, with these thresholds."""
    text = POLICY.format(version=version, nsfw=nsfw, synthetic=synthetic)
    folder.mkdir(exist_ok=True)
    (folder / "house.yaml").write_text(text)


def make(folder: Path, database_url: str, **changed: object) -> Application:
    """An application as another process would have it."""
    values = {
        "data_dir": folder,
        "models_dir": settings().models,
        "image_keys": new_secret("test"),
        "chores_seconds": 0,
        "database_url": database_url,
        "policy": "house",
        "policies_dir": folder / "policies",
        **changed,
    }
    return Application(Settings(_env_file=None, **values))


@pytest.fixture
def application(tmp_path: Path, database_url: str, runtime: Runtime) -> Iterator[Application]:
    write_policy(tmp_path / "policies")
    made = make(tmp_path, database_url)
    made.__dict__["runtime"] = runtime
    made.database.migrate()
    made.policies.get("")  # read before another version is written
    yield made
    made.database.close()


@pytest.fixture
def stricter(application: Application, tmp_path: Path, database_url: str, runtime: Runtime) -> Iterator[Application]:
    """The application after a stricter policy was shipped: explicit from 0.1 on."""
    write_policy(tmp_path / "policies", version=2, nsfw=0.1)
    made = make(tmp_path, database_url)
    made.__dict__["runtime"] = runtime
    yield made
    made.database.close()
