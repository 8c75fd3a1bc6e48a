"""The chart: no Helm is at hand, so what templates refer to is checked word by word."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.deploy.conftest import DEPLOY, is_command, known_settings

CHART = DEPLOY / "helm" / "palisade"
VALUES: dict[str, Any] = yaml.safe_load((CHART / "values.yaml").read_text())
TEMPLATES = sorted((CHART / "templates").iterdir())
ALL = "\n".join(path.read_text() for path in TEMPLATES)
ACTION = re.compile(r"\{\{-?\s*(.*?)\s*-?\}\}", re.DOTALL)
FUNCTIONS = {"include", "toYaml", "toJson", "nindent", "quote", "sha256sum", "default", "dict", "list", "index"}
OTHERS = {"Release.Name", "Release.Service", "Chart.AppVersion"}


def leaves(values: Any, path: str = "") -> set[str]:
    """Every path of the values."""
    if not isinstance(values, dict) or not values:
        return {path}
    return {path} | {leaf for name, value in values.items() for leaf in leaves(value, f"{path}.{name}".lstrip("."))}


def strip(text: str) -> str:
    """A template as YAML: what actions insert becomes a word, and what only steers goes."""
    lines = []
    for line in text.splitlines():
        bare = ACTION.sub("", line).strip()
        if bare or not ACTION.search(line):
            lines.append(ACTION.sub("x", line))
    return "\n".join(lines)


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.name)
def test_every_value_that_is_read_is_in_the_values(path: Path) -> None:
    text = path.read_text()
    known = leaves(VALUES)

    for name in re.findall(r"\$?\.Values\.([\w.]+)", text):
        assert name in known, name
    for name in re.findall(r"(?<!\w)\$?\.((?:Release|Chart)\.\w+)", text):
        assert name in OTHERS, name
    for name in re.findall(r"\$values\.([\w.]+)", text):
        assert all(name in leaves(VALUES[part]) for part in ("api", "worker")), name


def test_every_value_is_read() -> None:
    read = set(re.findall(r"\.Values\.([\w.]+)", ALL)) | {
        f"{part}.{name}" for part in ("api", "worker") for name in re.findall(r"\$values\.([\w.]+)", ALL)
    }
    unread = [leaf for leaf in leaves(VALUES) - {""} if not any(leaf.startswith(r) or r.startswith(leaf) for r in read)]

    assert unread == []


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.name)
def test_blocks_are_closed_and_functions_known(path: Path) -> None:
    depth = 0
    for action in ACTION.findall(path.read_text()):
        word = action.split()[0]
        depth += word in ("if", "with", "range", "define")
        depth -= word == "end"
        assert depth >= 0, action
        called = [part.strip().split()[0] for part in re.split(r"[|(]", action) if part.strip()]
        steering = {"if", "with", "range", "define", "end", "not", "and", "or", "else"}
        for name in called:
            assert name in FUNCTIONS | steering or name[0] in ".$\"'", f"{path.name}: {action}"
    assert depth == 0


def test_partial_templates_exist_and_are_used() -> None:
    defined = set(re.findall(r'define "([\w.]+)"', ALL))
    included = set(re.findall(r'include "([\w.]+)"', ALL))

    assert defined == included


@pytest.mark.parametrize("path", [path for path in TEMPLATES if path.suffix == ".yaml"], ids=lambda path: path.name)
def test_what_is_left_without_actions_is_yaml(path: Path) -> None:
    documents = [document for document in yaml.safe_load_all(strip(path.read_text())) if document]

    assert documents
    for document in documents:
        assert {"apiVersion", "kind", "metadata"} <= set(document)


def test_pods_are_hardened_and_roll_without_a_gap() -> None:
    for line in (
        "runAsNonRoot: true",
        "readOnlyRootFilesystem: true",
        "allowPrivilegeEscalation: false",
        "drop: [ALL]",
        "automountServiceAccountToken: false",
        "seccompProfile: {type: RuntimeDefault}",
    ):
        assert line in (CHART / "templates" / "_helpers.tpl").read_text()
    for name in ("api", "worker"):
        assert "maxUnavailable: 0" in (CHART / "templates" / f"{name}.yaml").read_text()
    for name in ("api", "worker", "beat", "migration"):
        text = (CHART / "templates" / f"{name}.yaml").read_text()
        assert text.count('include "palisade.pod"') == text.count('include "palisade.container"') == 1
    assert "pre-upgrade" in (CHART / "templates" / "migration.yaml").read_text()


def test_containers_start_commands_of_ours_with_settings_of_ours() -> None:
    starts = re.findall(r"(?m)^\s+args: \[(.+)\]$", ALL)

    assert len(starts) == 4
    assert all(is_command([word.strip(' "') for word in start.split(",")]) for start in starts)
    assert set(VALUES["config"]) <= known_settings()
