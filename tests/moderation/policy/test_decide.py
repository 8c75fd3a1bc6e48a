"""From findings to verdicts: what fires, what stays undecided, and what the policy makes of that."""

import json
from collections.abc import Sequence

import pytest

from detectors.base import Finding
from moderation.policy import Policy, Verdict, load_policy
from tests.moderation.policy.vocabularies import (
    PICTURE,
    VOCABULARY,
    Faces,
    Likeness,
    Nsfw,
    Origin,
    face,
    failed,
    likeness,
    manifest,
    nsfw,
    skipped,
)

LIKENESS = "{name: likeness, when: likeness.fpr <= 0.001 && nsfw.fpr <= 0.01, action: block, priority: 90, reason: r}"
EXPLICIT = "{name: explicit, when: nsfw.fpr <= 0.001, action: hold, queue: explicit, priority: 60, reason: r}"
MAYBE = "{name: maybe, when: nsfw.fpr <= 0.01, action: restrict, reason: r}"
CROWD = "{name: crowd, when: face.count > 2, action: label, reason: r}"
ORIGIN = "{name: broken, when: manifest.state == 'invalid', action: label, reason: r}"


def policy(*rules: str, on_error: str = "hold", on_skipped: str = "allow", more: str = "") -> Policy:
    text = f"name: house\nversion: 3\non_error: {on_error}\non_skipped: {on_skipped}\n{more}rules:\n"
    return load_policy(text + "".join(f"  - {rule}\n" for rule in rules), file="house.yaml", vocabulary=VOCABULARY)


def decide(policy: Policy, *findings: Finding | Sequence[Finding], **context: str) -> Verdict:
    flat = [one for given in findings for one in (given if isinstance(given, list) else [given])]
    return policy.decide(flat, context, PICTURE)  # type: ignore[arg-type]


def fired(verdict: Verdict) -> list[str]:
    return [reason.rule for reason in verdict.reasons]


def test_nothing_found_is_allowed() -> None:
    verdict = decide(policy(EXPLICIT, MAYBE, CROWD))

    assert (verdict.action, verdict.reasons, verdict.undecided) == ("allow", (), ())


def test_the_worst_action_stands_and_its_reason_comes_first() -> None:
    verdict = decide(policy(CROWD, MAYBE, EXPLICIT), nsfw(0.0005), face(), face(), face())

    assert verdict.action == "hold"
    assert fired(verdict) == ["explicit", "maybe", "crowd"]


def test_among_equal_actions_priority_comes_first_then_the_order_in_the_file() -> None:
    rules = [
        f"{{name: r{i}, when: nsfw.present, action: label, priority: {p}, reason: r}}" for i, p in enumerate((5, 80, 5))
    ]

    assert fired(decide(policy(*rules), nsfw(0.5))) == ["r1", "r0", "r2"]


def test_every_condition_of_a_list_must_hold() -> None:
    rule = "{name: both, when: [nsfw.fpr <= 0.01, face.present], action: restrict, reason: r}"

    assert decide(policy(rule), nsfw(0.005)).action == "allow"
    assert decide(policy(rule), nsfw(0.005), face()).action == "restrict"


def test_a_label_is_its_worst_finding() -> None:
    rule = "{name: who, when: likeness.person == 'p_2' && likeness.fpr < 0.01 && likeness.count == 2, action: label, reason: r}"

    assert fired(decide(policy(rule), likeness(0.2, "p_1"), likeness(0.001, "p_2"))) == ["who"]
    assert fired(decide(policy(rule), likeness(0.001, "p_1"), likeness(0.2, "p_2"))) == []


def test_without_fpr_the_highest_score_is_the_worst() -> None:
    rule = "{name: big, when: face.size > 0.5 && face.score == 0.9, action: label, reason: r}"

    assert fired(decide(policy(rule), face(0.8, 0.1), face(0.9, 0.7))) == ["big"]


def test_reasons_carry_the_findings_behind_them() -> None:
    verdict = decide(policy(EXPLICIT), nsfw(0.0005), face(), manifest())

    assert [finding.label for finding in verdict.reasons[0].findings] == ["nsfw"]


def test_context_and_image_are_read() -> None:
    rule = (
        "{name: adult, when: context.surface == 'adult' && image.width > 600 && nsfw.present, action: label, reason: r}"
    )

    assert fired(decide(policy(rule), nsfw(0.9), surface="adult")) == ["adult"]
    assert fired(decide(policy(rule), nsfw(0.9))) == []


def test_as_dict_is_json_with_the_policy_and_the_evidence() -> None:
    rules = policy(EXPLICIT, LIKENESS)

    answer = json.loads(json.dumps(decide(rules, nsfw(0.0005), skipped(Likeness)).as_dict()))

    assert answer["action"] == "hold"
    assert answer["policy"] == {"name": "house", "version": 3, "digest": rules.digest}
    assert answer["reasons"] == [
        {
            "rule": "explicit",
            "action": "hold",
            "reason": "r",
            "queue": "explicit",
            "priority": 60,
            "findings": [
                {"label": "nsfw", "detector": "nsfw", "score": 0.9995, "fpr": 0.0005, "frame": None, "region": None}
            ],
        }
    ]
    assert answer["undecided"] == [
        {"rule": "likeness", "detectors": ["likeness"], "why": "likeness did not run (no model)", "effect": "none"}
    ]


def test_a_missing_detector_leaves_a_rule_undecided() -> None:
    verdict = decide(policy(LIKENESS), nsfw(0.005), skipped(Likeness))

    assert verdict.action == "allow"
    assert [entry.rule for entry in verdict.undecided] == ["likeness"]


def test_a_rule_that_the_others_decide_is_not_undecided() -> None:
    assert decide(policy(LIKENESS), nsfw(0.5), skipped(Likeness)).undecided == ()


def test_an_or_is_decided_by_its_true_side() -> None:
    rule = "{name: either, when: likeness.fpr < 0.1 || nsfw.fpr < 0.1, action: restrict, reason: r}"

    verdict = decide(policy(rule), nsfw(0.05), failed(Likeness))

    assert (fired(verdict), verdict.undecided) == (["either"], ())


@pytest.mark.parametrize(("on_skipped", "action"), [("allow", "allow"), ("hold", "hold")])
def test_on_skipped_says_what_becomes_of_it(on_skipped: str, action: str) -> None:
    verdict = decide(policy(LIKENESS, on_skipped=on_skipped, on_error="allow"), nsfw(0.005), skipped(Likeness))

    assert verdict.action == action
    assert fired(verdict) == (["on_skipped"] if action == "hold" else [])
    assert verdict.undecided[0].effect == ("hold" if action == "hold" else "none")


@pytest.mark.parametrize(("on_error", "action"), [("allow", "allow"), ("hold", "hold")])
def test_on_error_says_what_becomes_of_it(on_error: str, action: str) -> None:
    verdict = decide(policy(LIKENESS, on_error=on_error), nsfw(0.005), failed(Likeness))

    assert verdict.action == action
    assert fired(verdict) == (["on_error"] if action == "hold" else [])


def test_what_is_held_for_lack_names_the_detector_and_goes_to_its_queue() -> None:
    reason = decide(policy(LIKENESS, more="undecided_queue: broken\n"), nsfw(0.005), failed(Likeness)).reasons[0]

    assert (reason.rule, reason.queue, reason.priority) == ("on_error", "broken", 90)
    assert "likeness failed (it broke)" in reason.reason
    assert "`likeness`" in reason.reason


def test_an_undecided_rule_that_could_not_raise_the_action_matters_not() -> None:
    verdict = decide(policy(LIKENESS.replace("block", "restrict"), EXPLICIT), nsfw(0.0005), failed(Likeness))

    assert fired(verdict) == ["explicit"]
    assert [(entry.rule, entry.effect) for entry in verdict.undecided] == [("likeness", "none")]


def test_an_undecided_label_holds_nothing() -> None:
    verdict = decide(policy(ORIGIN), failed(Origin))

    assert verdict.action == "allow"
    assert verdict.undecided[0].effect == "none"


def test_block_stands_where_another_rule_is_undecided() -> None:
    rule = "{name: worst, when: nsfw.fpr < 0.01, action: block, reason: r}"

    assert (
        decide(policy(rule, EXPLICIT.replace("nsfw.fpr <= 0.001", "face.count > 0")), nsfw(0.001), failed(Faces)).action
        == "block"
    )


def test_an_evaluation_that_fails_is_decided_by_on_error() -> None:
    rule = "{name: odd, when: 100 / face.count > 40, action: restrict, reason: r}"

    verdict = decide(policy(rule))

    assert fired(verdict) == ["on_error"]
    assert "ZeroDivisionError" in verdict.undecided[0].why


@pytest.mark.parametrize(
    "finding",
    [
        Finding("nsfw", "nsfw", "ok", float("nan"), 0.5),
        Finding("nsfw", "nsfw", "ok", 0.5, float("nan")),
        Finding("nsfw", "nsfw", "ok", 0.5, None),
        Finding("nsfw", "nsfw", "ok", None, 0.5),
        Finding("nsfw", "nsfw", "ok", 7.0, 0.5),
        Finding("nsfw", "nsfw", "ok", 0.5, -0.1),
    ],
)
def test_a_measurement_that_is_none_counts_as_failed(finding: Finding) -> None:
    verdict = decide(policy(EXPLICIT), finding)

    assert fired(verdict) == ["on_error"]
    assert "not a number in [0, 1]" in verdict.undecided[0].why


def test_evidence_of_another_type_counts_as_failed() -> None:
    rule = "{name: broken, when: manifest.state == 'invalid', action: restrict, reason: r}"

    verdict = decide(policy(rule), Finding("origin", "manifest", evidence={"state": 3}))

    assert "`manifest.state` is a value of type int, not of type string" in verdict.undecided[0].why


def test_evidence_that_is_no_declared_value_counts_as_failed() -> None:
    rule = "{name: broken, when: manifest.state == 'invalid', action: restrict, reason: r}"

    verdict = decide(policy(rule), manifest("Invalid"))

    assert fired(verdict) == ["on_error"]
    assert "`manifest.state` is 'Invalid', none of its declared values" in verdict.undecided[0].why


def test_text_that_is_no_unicode_is_read() -> None:
    rule = "{name: broken, when: manifest.signer.contains('bad'), action: restrict, reason: r}"

    assert fired(decide(policy(rule), manifest(signer="bad\ud800"))) == ["broken"]


def test_labels_that_no_detector_declares_are_passed_over() -> None:
    assert decide(policy(EXPLICIT), Finding("old", "gone", "ok", 1.0, 1e-9), nsfw(0.5)).action == "allow"


class TestFinal:
    TRUSTED = "{name: trusted, when: manifest.trusted, action: allow, final: true, reason: r}"

    def test_rules_below_are_passed_over(self) -> None:
        assert decide(policy(self.TRUSTED, EXPLICIT), manifest(trusted=True), nsfw(0.0001)).action == "allow"

    def test_rules_above_are_not(self) -> None:
        assert decide(policy(EXPLICIT, self.TRUSTED), manifest(trusted=True), nsfw(0.0001)).action == "hold"

    def test_undecided_rules_below_hold_nothing(self) -> None:
        verdict = decide(policy(self.TRUSTED, EXPLICIT, on_skipped="hold"), manifest(trusted=True), skipped(Nsfw))

        assert (verdict.action, verdict.undecided) == ("allow", ())

    def test_scanning_stops_when_it_fires(self) -> None:
        rules = policy(self.TRUSTED, EXPLICIT)

        assert rules.stopped([manifest(trusted=True)], {}, PICTURE)
        assert not rules.stopped([manifest()], {}, PICTURE)
        assert not rules.stopped([], {}, PICTURE)

    def test_scanning_goes_on_for_a_rule_above(self) -> None:
        rules = policy(EXPLICIT, self.TRUSTED)

        assert not rules.stopped([manifest(trusted=True)], {}, PICTURE)
        assert rules.stopped([manifest(trusted=True), nsfw(0.5)], {}, PICTURE)

    def test_a_policy_without_one_never_stops(self) -> None:
        assert not policy(EXPLICIT).stopped([nsfw(0.0001)], {}, PICTURE)


class TestCascade:
    def test_needs_are_the_detectors_that_rules_mention(self) -> None:
        assert policy(LIKENESS, CROWD).needs == {"likeness", "nsfw", "faces"}

    def test_all_are_needed_before_any_ran(self) -> None:
        assert policy(LIKENESS, CROWD).still_needed([], {}, PICTURE) == {"likeness", "nsfw", "faces"}

    def test_a_detector_is_spared_where_its_rule_is_false_already(self) -> None:
        assert policy(LIKENESS).still_needed([nsfw(0.5)], {}, PICTURE) == set()
        assert policy(LIKENESS).still_needed([nsfw(0.005)], {}, PICTURE) == {"likeness"}

    def test_a_detector_is_spared_where_it_cannot_raise_the_action(self) -> None:
        assert policy(EXPLICIT, CROWD).still_needed([nsfw(0.0005)], {}, PICTURE) == set()

    def test_a_detector_that_failed_is_not_needed_again(self) -> None:
        assert policy(EXPLICIT, CROWD).still_needed(failed(Nsfw), {}, PICTURE) == {"faces"}

    def test_a_detector_that_found_nothing_has_run(self) -> None:
        rule = "{name: both, when: face.present && likeness.fpr < 0.01, action: restrict, reason: r}"

        assert policy(rule).still_needed([], {}, PICTURE, ran=("faces",)) == set()

    def test_a_final_rule_that_may_still_fire_keeps_its_detector(self) -> None:
        assert policy(TestFinal.TRUSTED, EXPLICIT).still_needed([nsfw(0.0001)], {}, PICTURE) == {"origin"}


class TestDigest:
    def test_is_the_same_for_another_layout(self) -> None:
        plain = policy(EXPLICIT)
        text = (
            "# a comment\nrules:\n  - reason: r\n    action: hold\n    queue: explicit\n    priority: 60\n"
            "    when: ['nsfw.fpr <= 0.001']\n    name: explicit\non_skipped: allow\non_error: hold\nversion: 3\nname: house\n"
            "examples:\n  - {name: a, action: allow}\n"
        )

        assert load_policy(text, file="other.yaml", vocabulary=VOCABULARY).digest == plain.digest

    @pytest.mark.parametrize(
        ("old", "new"), [("0.001", "0.002"), ("hold", "block"), ("60", "61"), ("reason: r", "reason: s")]
    )
    def test_is_another_for_another_content(self, old: str, new: str) -> None:
        assert policy(EXPLICIT.replace(old, new)).digest != policy(EXPLICIT).digest
