"""The Dockerfile and compose.yaml: nothing here can build them, so everything that can be read is checked."""

import json
import re
import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest
import typer.main
import yaml

from moderation.settings import Settings
from palisade import app as cli
from tests.deploy.conftest import (
    DEPLOY,
    ROOT,
    TEXTS,
    is_command,
    known_settings,
    options_of,
    program,
    settings_in,
)
from tests.reference import commands

DOCKERFILE = (DEPLOY / "Dockerfile").read_text()
COMPOSE: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
EXAMPLE = dict(
    line.split("=", 1) for line in (DEPLOY / "palisade.env.example").read_text().splitlines() if re.match(r"\w+=", line)
)


def instructions() -> list[tuple[str, str]]:
    """Each instruction of the Dockerfile with its argument, lines joined."""
    joined = re.sub(r"\\\n\s*", " ", re.sub(r"(?m)^\s*#.*\n", "", DOCKERFILE))
    return [(line.split()[0], line.split(maxsplit=1)[1]) for line in joined.splitlines() if line.strip()]


def stages() -> dict[str, list[tuple[str, str]]]:
    """The instructions of each stage by its name."""
    found: dict[str, list[tuple[str, str]]] = {}
    name = ""
    for word, rest in instructions():
        if word == "FROM":
            name = rest.split(" AS ")[1]
            found[name] = []
        elif name:
            found[name].append((word, rest))
    return found


@pytest.mark.parametrize("path", TEXTS, ids=lambda path: str(path.relative_to(DEPLOY)))
def test_every_setting_that_is_named_exists(path: Path) -> None:
    assert settings_in(path) - known_settings() == set()


@pytest.mark.parametrize(
    "path", [path for path in TEXTS if path.suffix in (".yaml", ".json") and "templates" not in path.parts], ids=str
)
def test_files_of_data_can_be_read(path: Path) -> None:
    text = path.read_text()
    documents = [json.loads(text)] if path.suffix == ".json" else list(yaml.safe_load_all(text))

    assert all(documents)


@pytest.mark.parametrize("stage", ["api", "worker", "trainer"])
def test_images_run_as_nobody_and_start_with_a_command_of_ours(stage: str) -> None:
    built = dict(stages()[stage])
    base = dict(stages()["base"])

    assert base["USER"] == "10001:10001"
    assert "USER" not in built
    assert json.loads(built["ENTRYPOINT"]) == ["palisade"]
    assert is_command(json.loads(built["CMD"])) or json.loads(built["CMD"]) == ["train", "--help"]
    assert "HEALTHCHECK" in built


def test_what_the_build_copies_is_let_through_to_it() -> None:
    let_through = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    project = (ROOT / "pyproject.toml").read_text()
    packages = re.search(r"include = \[(.+)\]", project)

    assert packages is not None
    assert {name.strip(' "*') for name in packages[1].split(",")} <= let_through
    assert all((ROOT / name).exists() for name in let_through)


def test_the_dockerfile_names_extras_that_exist() -> None:
    project = (ROOT / "pyproject.toml").read_text()

    for group in re.findall(r"'\.\[([\w,]+)\]'", DOCKERFILE):
        for extra in group.split(","):
            assert re.search(rf"(?m)^{extra} = \[", project), extra


@pytest.mark.parametrize(
    "name", [name for name, service in COMPOSE["services"].items() if "palisade" in str(service.get("image"))]
)
def test_services_of_ours_are_hardened_and_run_a_command_of_ours(name: str) -> None:
    service = COMPOSE["services"][name]
    words = service.get("command") or json.loads(dict(stages()["api"])["CMD"])

    assert is_command(words)
    assert service["read_only"] is True
    assert service["user"] == "10001:10001"
    assert service["cap_drop"] == ["ALL"]
    assert service["build"]["target"] in stages()


def test_options_in_compose_exist() -> None:
    known = {tuple(path.split()[1:]): command for path, command in commands(typer.main.get_command(cli), "palisade")}
    starts = [
        service["command"]
        for service in COMPOSE["services"].values()
        if "palisade" in str(service.get("image")) and "command" in service
    ]
    starts += [json.loads(dict(stages()[stage])["CMD"]) for stage in ("api", "worker")]

    for words in starts:
        command = next(command for path, command in known.items() if tuple(words[: len(path)]) == path)
        assert set(options_of(words)) <= {option for parameter in command.params for option in parameter.opts}


def test_compose_uses_what_it_declares() -> None:
    for service in COMPOSE["services"].values():
        assert set(service["networks"]) <= set(COMPOSE["networks"])
        assert set(service.get("depends_on", [])) <= set(COMPOSE["services"])
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            if source.startswith("./"):
                assert (DEPLOY / source).exists(), source
            elif not source.startswith("/"):
                assert source in COMPOSE["volumes"]


def test_compose_asks_for_nothing_that_the_example_does_not_name() -> None:
    asked = set(re.findall(r"\$\{(\w+):\?", (DEPLOY / "compose.yaml").read_text()))

    assert asked
    assert asked <= set(EXAMPLE)


def test_the_example_has_no_secret_and_its_values_are_taken() -> None:
    values = {
        name.removeprefix("PALISADE_").lower(): value
        for name, value in EXAMPLE.items()
        if name.startswith("PALISADE_") and value
    }

    Settings(_env_file=None, **{name: value for name, value in values.items() if name in Settings.model_fields})
    assert not any(
        EXAMPLE[name]
        for name in EXAMPLE
        if name.endswith(("_KEYS", "_SECRETS", "_SECRET_ACCESS_KEY")) or "PASSWORD" in name
    )


@pytest.mark.parametrize("tool", ["hadolint", "yamllint"])
def test_linters_find_nothing(tool: str) -> None:
    linter = program(tool, "of the extra dev")
    args = {
        "hadolint": ["Dockerfile"],
        "yamllint": [
            "--strict",
            "-c",
            "yamllint.yaml",
            *[
                str(path.relative_to(DEPLOY))
                for path in TEXTS
                if path.suffix == ".yaml" and "templates" not in path.parts
            ],
        ],
    }
    done = subprocess.run([linter, *args[tool]], cwd=DEPLOY, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stdout + done.stderr


def test_the_dockerfiles_shell_lines_can_be_parsed() -> None:
    for name, steps in stages().items():
        for word, rest in steps:
            if word == "RUN":
                assert shlex.split(rest), name
