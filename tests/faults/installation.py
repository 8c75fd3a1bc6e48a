"""An installation of Palisade whose processes start quickly: its policy reads what costs nothing, its models are the faces' only."""

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from moderation.application import Application
from moderation.commands.keys import new_secret
from moderation.settings import Settings, settings
from tests.factories import encode, picture
from tests.faults.services import free_port, kill_group

ROOT = Path(__file__).parents[2]

SECRET = "whsec_" + "QUFB" * 8

MODELS = ("yunet", "sface")
"""What a process loads in any case: the detector of faces, which people are compared by."""

SOON, DIES, HANGS, SLEEPS, EATS = (encode(picture(64, 64, seed=seed), "PNG") for seed in range(11, 16))
"""Pictures; all but the first do harm to a process that was started with `HARMFUL`."""

HARMFUL = {
    hashlib.sha256(data).hexdigest(): what
    for data, what in ((DIES, "dies"), (HANGS, "hangs"), (SLEEPS, "sleeps"), (EATS, "eats"))
}

POLICY = """name: {name}
version: {version}
description: Wide pictures wait for a person.
on_error: hold
on_skipped: allow
cascade: needed
rules:
  - name: wide
    when: image.width >= {width}
    action: hold
    queue: wide
    reason: It is wide.
"""


class Installation:
    """Settings, a policy and processes in a folder. changed: settings, as environment variables."""

    def __init__(self, folder: Path, database: str, broker: str, **changed: object) -> None:
        self.folder = folder
        models = folder / "models"
        models.mkdir(parents=True)
        for path in sorted(settings().models.iterdir()):
            if path.name.startswith(MODELS):
                (models / path.name).symlink_to(path.resolve())
        self.write_policy(version=1, width=4_000)
        values = {
            "data_dir": folder / "data",
            "models_dir": models,
            "policies_dir": folder / "policies",
            "policy": "light",
            "database_url": database,
            "broker_url": broker,
            "image_keys": new_secret("k1"),
            "people_keys": new_secret("k1"),
            "takedown_keys": new_secret("k1"),
            "fetch_allowed_networks": "127.0.0.0/8",
            "fetch_seconds": 60,
            "require_key": False,
            "job_lease_seconds": 3,
            "job_retry_seconds": 0.2,
            "job_ring_seconds": 3,
            "rescan_lease_seconds": 3,
            "chores_seconds": 0.5,
            "port": free_port(),
            **changed,
        }
        self.values = {name: str(value) for name, value in values.items()}

    def write_policy(self, *, version: int, width: int, name: str = "light") -> None:
        """Pictures from this width on are held."""
        folder = self.folder / "policies"
        folder.mkdir(exist_ok=True)
        (folder / f"{name}.yaml").write_text(POLICY.format(name=name, version=version, width=width))

    def application(self, **changed: object) -> Application:
        """As a process that starts now would have it."""
        return Application(Settings(_env_file=None, **{**self.values, **changed}))  # type: ignore[arg-type]

    def start(
        self, *command: str, faults: dict[str, Any] | None = None, **changed: object
    ) -> "subprocess.Popen[bytes]":
        """A command of Palisade, in a session of its own. See `tests.faults.process` for faults."""
        values = {**self.values, **{name: str(value) for name, value in changed.items()}}
        environment = {f"PALISADE_{name.upper()}": value for name, value in values.items()}
        threads = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
        with (self.folder / "log").open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-m", "tests.faults.process", *command],
                cwd=ROOT,
                env={**os.environ, **threads, **environment, "FAULTS": json.dumps(faults or {})},
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    @contextmanager
    def running(
        self, *command: str, faults: dict[str, Any] | None = None, **changed: object
    ) -> Iterator["subprocess.Popen[bytes]"]:
        """The same while the block lasts; then it is killed."""
        process = self.start(*command, faults=faults, **changed)
        try:
            yield process
        finally:
            kill_group(process)

    @property
    def log(self) -> str:
        """What its processes wrote."""
        path = self.folder / "log"
        return path.read_text(errors="replace") if path.exists() else ""
