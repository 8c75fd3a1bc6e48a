"""What the tests of `deploy/` share: its files, and what the code knows."""

import os
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer.main

from moderation.settings import PREFIX, Settings
from palisade import app as cli
from tests.conftest import required
from tests.reference import commands

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"

TEXTS = sorted(
    path
    for path in DEPLOY.rglob("*")
    if path.is_file() and "decisions" not in path.parts and path.suffix not in (".pyc", ".png")
)

OURS = {"PALISADE_TAG"}
"""Read by compose.yaml itself, not by Palisade."""


def program(name: str, package: str) -> str:
    """The path of a program, beside this Python or on the path. Skips the test where it is missing; fails where it must not be."""
    found = shutil.which(name, path=os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]))
    if found:
        return found
    message = f"{name} ({package}) is not installed"
    if required("SERVICES"):
        pytest.fail(message)
    pytest.skip(message)


def known_settings() -> set[str]:
    return {f"{PREFIX}{name.upper()}" for name in Settings.model_fields} | OURS


def settings_in(path: Path) -> set[str]:
    """Every `PALISADE_…` that a file names."""
    return set(re.findall(r"\bPALISADE_[A-Z0-9_]*[A-Z0-9]\b(?!\*)", path.read_text()))


def known_commands() -> set[tuple[str, ...]]:
    """Every command by its words, without `palisade`."""
    return {tuple(path.split()[1:]) for path, _command in commands(typer.main.get_command(cli), "palisade")}


def is_command(words: list[str]) -> bool:
    """Whether the words begin with a command of ours."""
    return any(tuple(words[: len(known)]) == known for known in known_commands())


def options_of(words: list[str]) -> Iterator[str]:
    """The long options among a command's words."""
    for word in words:
        if word.startswith("--"):
            yield word.split("=")[0]
