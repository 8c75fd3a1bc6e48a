import json

from moderation.policy import explain, load_policy
from tests.moderation.policy.vocabularies import PICTURE, VOCABULARY, Likeness, face, nsfw, skipped

POLICY = load_policy(
    """
name: house
version: 1
on_error: hold
on_skipped: allow
rules:
  - {name: likeness, when: [nsfw.fpr <= 0.01, likeness.fpr <= 0.001], action: block, reason: r}
  - {name: crowd, when: face.count > 2, action: label, reason: r}
  - {name: explicit, when: nsfw.fpr <= 0.001 || face.size > 0.9, action: hold, queue: q, final: true, reason: r}
  - {name: odd, when: 10 / face.count > 3, action: label, reason: r}
""",
    file="house.yaml",
    vocabulary=VOCABULARY,
)


def test_every_rule_says_what_became_of_it() -> None:
    explained = explain(POLICY, [nsfw(0.0005), face(), *skipped(Likeness)], {}, PICTURE)

    assert [(rule.rule, rule.outcome) for rule in explained.rules] == [
        ("likeness", "undecided"),
        ("crowd", "not fired"),
        ("explicit", "fired"),
        ("odd", "passed over"),
    ]
    assert explained.verdict.action == "hold"


def test_every_condition_says_whether_it_holds_and_on_which_values() -> None:
    explained = explain(POLICY, [nsfw(0.0005), face(size=0.25), *skipped(Likeness)], {}, PICTURE)
    first, second = explained.rules[0].conditions
    (either,) = explained.rules[2].conditions

    assert (first.text, first.value, first.members) == ("nsfw.fpr <= 0.01", True, {"nsfw.fpr": 0.0005})
    assert (second.value, second.members, second.why) == (
        None,
        {"likeness.fpr": None},
        "likeness did not run (no model)",
    )
    assert (either.value, either.members, either.why) == (True, {"nsfw.fpr": 0.0005, "face.size": 0.25}, "")


def test_an_evaluation_that_failed_says_why() -> None:
    explained = explain(POLICY, [nsfw(0.5), *skipped(Likeness)], {}, PICTURE)

    assert explained.rules[3].outcome == "undecided"
    assert "ZeroDivisionError" in explained.rules[3].conditions[0].why


def test_explanation_is_json() -> None:
    explained = explain(POLICY, [nsfw(0.0005), *skipped(Likeness)], {}, PICTURE)

    answer = json.loads(json.dumps(explained.as_dict()))

    assert set(answer) == {"verdict", "rules"}
    assert answer["rules"][0]["conditions"][1]["value"] is None
