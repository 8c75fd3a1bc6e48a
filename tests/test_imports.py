"""Imports point downwards only: api and dashboard → moderation → detectors; generator → detectors; palisade → both."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

BELOW: dict[str, set[str]] = {
    "asgi": {"api", "dashboard", "moderation"},
    "palisade": {"moderation", "generator"},
    "api": {"moderation", "detectors"},
    "dashboard": {"moderation", "detectors"},
    "moderation": {"detectors"},
    "generator": {"detectors"},
    "detectors": set(),
}

OURS = set(BELOW) | {"tests"}

TORCH = {"torch", "torchvision", "open_clip", "diffusers", "transformers", "accelerate", "peft"}
"""Only `detectors/training` and `generator` may import these: the base install has none of them."""


def modules() -> Iterator[Path]:
    yield ROOT / "asgi.py"
    yield ROOT / "palisade.py"
    for package in BELOW:
        yield from (ROOT / package).rglob("*.py")


def imported(path: Path) -> set[str]:
    """The top-level names that a module imports, anywhere in it."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            found.add(node.module.split(".")[0])
    return found


@pytest.mark.parametrize("path", list(modules()), ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_point_downwards(path: Path) -> None:
    package = path.relative_to(ROOT).parts[0].removesuffix(".py")

    assert (imported(path) & OURS) - {package} <= BELOW[package]


@pytest.mark.parametrize("path", list(modules()), ids=lambda path: str(path.relative_to(ROOT)))
def test_serving_needs_no_torch(path: Path) -> None:
    parts = path.relative_to(ROOT).parts
    if parts[0] != "generator" and parts[:2] != ("detectors", "training"):
        assert not imported(path) & TORCH


def test_the_rules_catch_an_upward_import(tmp_path: Path) -> None:
    module = tmp_path / "upward.py"
    module.write_text("def late():\n    from moderation import scanner\n")

    assert imported(module) & OURS == {"moderation"}
    assert not imported(module) & OURS <= BELOW["detectors"]
