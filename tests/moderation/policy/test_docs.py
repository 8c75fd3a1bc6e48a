"""docs/policies.md explains every field and every variable, and its policies load."""

import re
from pathlib import Path

import pytest

from detectors.registry import DETECTORS
from moderation.policy import ACTIONS, Vocabulary, load_policy
from moderation.policy.checking import FUNCTIONS
from moderation.policy.document import ExampleDocument, Part, PolicyDocument, RuleDocument
from moderation.policy.expression import MACROS

PAGE = (Path(__file__).parents[3] / "docs" / "policies.md").read_text()
VOCABULARY = Vocabulary.of(DETECTORS)
POLICIES = [block for block in re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL) if block.startswith("name:")]


def section(title: str) -> str:
    return PAGE.split(f"## {title}\n")[1].split("\n## ")[0]


def row(text: str, name: str) -> str:
    """The table row about a name, '' where there is none."""
    return next((line for line in text.splitlines() if line.startswith(f"| `{name}` |")), "")


@pytest.mark.parametrize(
    ("title", "model"),
    [("Fields of a policy", PolicyDocument), ("Fields of a rule", RuleDocument), ("Examples", ExampleDocument)],
)
def test_every_field_is_explained(title: str, model: type[Part]) -> None:
    missing = [name for name in model.model_fields if not row(section(title), name)]

    assert not missing


def test_every_field_has_a_help_text() -> None:
    models = (PolicyDocument, RuleDocument, ExampleDocument)

    assert all(field.description for model in models for field in model.model_fields.values())


@pytest.mark.parametrize("variable", VOCABULARY.variables)
def test_every_variable_is_explained_with_its_members(variable: str) -> None:
    explained = row(section("Conditions"), variable)

    assert explained
    members = set(VOCABULARY.variables[variable].members) - {"present", "count"}
    assert members <= set(re.findall(r"`(\w+)`", explained.split("|")[2]))


def test_no_variable_is_explained_that_is_not_there() -> None:
    table = section("Conditions").split("Conditions may use")[0]

    assert set(re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE)) == set(VOCABULARY.variables)


@pytest.mark.parametrize("action", ACTIONS)
def test_every_action_is_explained(action: str) -> None:
    assert row(section("Fields of a rule"), action)


@pytest.mark.parametrize("function", [*FUNCTIONS, *MACROS])
def test_every_function_is_explained(function: str) -> None:
    assert f"{function}(" in section("Conditions")


@pytest.mark.parametrize("number", range(len(POLICIES)))
def test_policies_of_the_page_load(number: int) -> None:
    assert load_policy(POLICIES[number], file="docs/policies.md", vocabulary=VOCABULARY).rules


def test_the_page_has_policies() -> None:
    assert len(POLICIES) >= 3
