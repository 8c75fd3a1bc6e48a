"""The policies that come with Palisade, on the labels of the real detectors. Their own examples run on loading."""

import pytest
import yaml

from detectors.base import Finding
from detectors.registry import DETECTORS
from moderation.policy import ACTIONS, Policy, Vocabulary, find_shipped_or_own, policy_names
from moderation.policy.library import shipped_folder
from tests.moderation.policy.vocabularies import PICTURE

VOCABULARY = Vocabulary.of(DETECTORS)
WITHOUT_A_MODEL = ("likeness", "synthetic")


def shipped(name: str) -> Policy:
    return find_shipped_or_own(name, folder=None, vocabulary=VOCABULARY)


def found(**labels: float | None) -> list[Finding]:
    """Findings by label and fpr, beside detectors that have no gallery or model and were skipped."""
    skipped = [
        finding
        for cls in DETECTORS
        if cls.name in WITHOUT_A_MODEL and not any(label.name in labels for label in cls.labels)
        for finding in cls.did_not_measure("skipped", "no model")
    ]
    made = []
    for label, fpr in labels.items():
        variable = VOCABULARY.variables[label]
        score = None if "score" not in variable.members else 0.9 if fpr is None else 1 - fpr
        made.append(Finding(variable.detector or "", label, "ok", score, fpr))
    return made + skipped


@pytest.mark.parametrize("name", policy_names(None))
def test_policy_loads_and_its_examples_hold(name: str) -> None:
    policy = shipped(name)

    assert policy.description
    assert all(rule.reason.endswith(".") for rule in policy.rules)


@pytest.mark.parametrize("name", policy_names(None))
def test_every_rule_fires_in_an_example(name: str) -> None:
    text = (shipped_folder() / f"{name}.yaml").read_text()
    examples = yaml.safe_load(text)["examples"]

    fired = {rule for example in examples for rule in example.get("rules", ())}

    assert {rule.name for rule in shipped(name).rules} <= fired


@pytest.mark.parametrize("name", policy_names(None))
def test_nothing_found_is_allowed(name: str) -> None:
    assert shipped(name).decide(found(), {}, PICTURE).action == "allow"


@pytest.mark.parametrize("fpr", [1e-9, 1e-6, 1e-4, 1e-3])
@pytest.mark.parametrize("name", ["mainstream", "adult", "likeness-in-adult-context"])
def test_no_upload_is_blocked_on_a_measurement(name: str, fpr: float) -> None:
    everything = found(nsfw=fpr, face=None, likeness=fpr, swap=fpr, synthetic=fpr)

    assert shipped(name).decide(everything, {"surface": "adult"}, PICTURE).action == "hold"
    blocking = [rule.name for rule in shipped(name).rules if rule.action == "block"]
    assert all(rule in ("known-child-abuse", "known-blocked") for rule in blocking), "people listed those"


def test_a_protected_likeness_comes_before_all_else() -> None:
    for name in ("mainstream", "adult", "likeness-in-adult-context"):
        verdict = shipped(name).decide(found(nsfw=1e-5, face=None, likeness=1e-5, swap=1e-5), {}, PICTURE)

        assert verdict.reasons[0].queue == "likeness"
        assert verdict.reasons[0].priority == max(reason.priority for reason in verdict.reasons)


def test_actions_rise_with_explicitness() -> None:
    policy = shipped("mainstream")

    actions = [policy.decide(found(nsfw=fpr), {}, PICTURE).action for fpr in (1.0, 0.1, 0.01, 0.003, 0.0005, 1e-9)]

    assert actions == ["allow", "allow", "allow", "restrict", "hold", "hold"]
    assert actions == sorted(actions, key=ACTIONS.index)


def test_default_policy_says_what_it_could_not_decide() -> None:
    verdict = shipped("mainstream").decide(found(nsfw=0.5, face=None), {"surface": "adult"}, PICTURE)

    assert verdict.action == "allow"
    assert "likeness-in-adult-context" in {entry.rule for entry in verdict.undecided}
