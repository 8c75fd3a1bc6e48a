"""`palisade train`: what it refuses, on the base install and with the `train` extra."""

import importlib.util
from pathlib import Path

import pytest
from typer.testing import CliRunner

from moderation.cli import app
from moderation.errors import ModerationError

TORCH = importlib.util.find_spec("torch") is not None


@pytest.mark.skipif(TORCH, reason="the `train` extra is installed")
def test_the_base_install_says_what_is_missing(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["train", "swap", str(tmp_path)])

    assert isinstance(result.exception, ModerationError)
    assert "palisade[train]" in result.exception.hint


@pytest.mark.skipif(not TORCH, reason="training needs the `train` extra")
def test_a_folder_without_faces_is_refused(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["train", "swap", str(tmp_path), "--work", str(tmp_path / "work")])

    assert isinstance(result.exception, ModerationError)
    assert result.exception.error_code == "training_refused"
    assert "0 people; two are needed" in result.exception.message
    assert not (tmp_path / "work").exists()
