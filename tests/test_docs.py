"""Everything that can be set, called, scanned for or loaded is documented."""

from pathlib import Path

import pytest
import typer.main

from api.app import create_app
from detectors.registry import DETECTORS
from moderation.application import Application
from moderation.settings import Settings
from palisade import app as cli
from tests.reference import DOCS, PAGES, commands, openapi

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize("name", PAGES)
def test_reference_pages_are_what_the_code_says(name: str) -> None:
    assert (DOCS / name).read_text() == PAGES[name](), "run `make docs`"


@pytest.mark.parametrize("name", Settings.model_fields)
def test_every_setting_has_a_help_text(name: str) -> None:
    assert len(Settings.model_fields[name].description or "") > 20


def test_no_secret_has_a_default() -> None:
    secrets = [field for name, field in Settings.model_fields.items() if "key" in name or "secret" in name]

    assert secrets
    assert all(field.default is None or isinstance(field.default, bool) for field in secrets)


def test_every_command_and_option_has_a_help_text() -> None:
    for path, command in commands(typer.main.get_command(cli), "palisade"):
        assert command.help, path
        for parameter in command.params:
            assert getattr(parameter, "help", None) or parameter.name == "help", f"{path} {parameter.name}"


def test_every_endpoint_has_a_description() -> None:
    for path, methods in openapi(create_app(Application(Settings())))["paths"].items():
        for method, operation in methods.items():
            assert operation.get("description"), f"{method} {path}"


def test_every_label_and_field_has_a_help_text() -> None:
    for detector in DETECTORS:
        assert detector.__doc__
        for label in detector.labels:
            assert label.help, label.name
            assert all(field.help for field in label.fields.values()), label.name


def test_the_readme_links_to_pages_that_exist() -> None:
    import re

    links = re.findall(r"\]\(((?!http)[^)#]+)", (ROOT / "README.md").read_text())

    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []
