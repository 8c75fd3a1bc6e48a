"""Examples in a policy file: findings as people write them, and whether the policy does what they expect."""

from collections.abc import Mapping, Sequence
from typing import Any, cast

from detectors.base import Finding
from moderation.policy.bounds import Domain
from moderation.policy.decide import Policy
from moderation.policy.document import ExampleDocument
from moderation.policy.evidence import has_type
from moderation.policy.source import Place, Source
from moderation.policy.verdict import Verdict
from moderation.policy.vocabulary import CONTEXT, IMAGE, Member, Variable, Vocabulary, suggestion

TYPICAL_IMAGE: Mapping[str, Any] = {"width": 1024, "height": 768, "frames": 1, "bytes": 250_000, "format": "JPEG"}
MOST_COPIES = 100
MEASURES = ("count", "score", "fpr")


def check_examples(policy: Policy, examples: Sequence[ExampleDocument], source: Source) -> None:
    """Raises PolicyError for the first example that cannot be, or that the policy does not do as it says."""
    known = {rule.name for rule in policy.rules} | {"on_error", "on_skipped"}
    for index, example in enumerate(examples):
        place = source.at("examples", index)
        for rule in example.rules or ():
            if rule not in known:
                raise place.under("rules").error(f"There is no rule `{rule}`.", suggestion(rule, known))
        findings = example_findings(example.findings, policy.vocabulary, place.under("findings"))
        _check_given(example.context, CONTEXT, place.under("context"))
        _check_given(example.image, IMAGE, place.under("image"))
        verdict = policy.decide(findings, example.context, {**TYPICAL_IMAGE, **example.image})
        _compare(example, verdict, place)


def _compare(example: ExampleDocument, verdict: Verdict, place: Place) -> None:
    fired = [reason.rule for reason in verdict.reasons]
    if verdict.action == example.action and (example.rules is None or sorted(fired) == sorted(example.rules)):
        return
    expected = example.action + ("" if example.rules is None else f" by {_listed(example.rules)}")
    raise place.error(
        f"The example {example.name!r} expects {expected}, and the policy says {verdict.action} by {_listed(fired)}.",
        "Mend the rule, or the example where the change is meant.",
    )


def _listed(rules: Sequence[str]) -> str:
    return ", ".join(f"`{rule}`" for rule in rules) or "no rule"


def example_findings(given: Mapping[str, Any], vocabulary: Vocabulary, place: Place) -> list[Finding]:
    """Findings from `{label: members}`, as people write them.

    A label is given its members, a list of several findings, or `skipped` or `failed` (its whole detector is then).
    A calibrated label needs its `fpr`; `score` is 1 - fpr where it is not given, and 1.0 for other scored labels.
    Fields that are not given have their absent value. Raises PolicyError.
    """
    labels = {name: variable for name, variable in vocabulary.variables.items() if variable.detector}
    made: list[Finding] = []
    for name, value in given.items():
        here = place.under(name)
        if name not in labels:
            raise here.error(f"Unknown label `{name}`.", suggestion(name, labels))
        if isinstance(value, str):
            made += _not_run(labels[name], value, vocabulary, given, here)
        else:
            made += [finding for entry in _entries(value) for finding in _found(labels[name], entry, here)]
    return made


def _entries(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _not_run(
    variable: Variable, status: str, vocabulary: Vocabulary, given: Mapping[str, Any], place: Place
) -> list[Finding]:
    if status not in ("skipped", "failed"):
        raise place.error(f"`{status}` is not what became of a detector.", "Write its members, `skipped` or `failed`.")
    detector = variable.detector or ""
    labels = sorted(vocabulary.labels_of(detector))
    for label in labels:
        if given.get(label, status) != status:
            raise place.error(f"The detector `{detector}` is {status} here, and `{label}` says otherwise.")
    return [Finding(detector, label, cast("Any", status), reason="in this example") for label in labels]


def _found(variable: Variable, given: Any, place: Place) -> list[Finding]:
    if not isinstance(given, dict):
        raise place.error(f"{given!r:.50} is not a mapping.", f"Write `{variable.name}: {{…}}`.")
    settable = {name: member for name, member in variable.members.items() if name != "present"}
    for name, value in given.items():
        _check_value(variable, settable, value, place.under(name))
    copies = given.get("count", 1)
    if copies > MOST_COPIES:
        raise place.error(f"`count` is {copies}, more than {MOST_COPIES}.")
    score, fpr = given.get("score"), given.get("fpr")
    if copies and "fpr" in settable and fpr is None:
        raise place.error(f"`{variable.name}` needs its `fpr`.", "It is what policies decide on.")
    if score is None and "score" in settable:
        score = 1.0 if fpr is None else 1.0 - fpr
    evidence = {name: given.get(name, member.absent) for name, member in settable.items() if name not in MEASURES}
    return [Finding(variable.detector or "", variable.name, "ok", score, fpr, evidence=evidence)] * copies


def _check_value(variable: Variable, known: Mapping[str, Member], value: Any, place: Place) -> None:
    name = str(place.path[-1])
    if name not in known:
        raise place.error(f"`{variable.name}` has no member `{name}`.", suggestion(name, known))
    member = known[name]
    if not has_type(value, member.type):
        raise place.error(f"`{variable.name}.{name}` is {value!r:.50}, not of type {member.type}.")
    if member.type != "list" and not Domain.of(member).holds(value):
        raise place.error(
            f"`{variable.name}.{name}` cannot be {value}.",
            suggestion(str(value), member.choices) if member.choices else "",
        )


def _check_given(values: Mapping[str, Any], variable: Variable, place: Place) -> None:
    for name, value in values.items():
        _check_value(variable, variable.members, value, place.under(name))
