"""From what was found to a harm and a queue, whatever the policy; and how that is read from settings."""

from typing import Any

import pytest

from moderation.errors import SettingsError
from moderation.reviews.harms import HARMS, QUEUES, cause_of, cause_of_appeal
from moderation.settings import read_settings
from tests.moderation.reviews.conftest import explicit, likeness, listed


def verdict(action: str, *reasons: dict[str, Any], undecided: tuple[dict[str, Any], ...] = ()) -> dict[str, Any]:
    return {"action": action, "reasons": list(reasons), "undecided": list(undecided)}


def reason(*labels: str, action: str = "hold", queue: str | None = None, priority: int = 50) -> dict[str, Any]:
    findings = [{"label": label} for label in labels]
    return {"rule": "r", "action": action, "queue": queue, "priority": priority, "findings": findings}


@pytest.mark.parametrize(
    ("labels", "harm"),
    [
        (("nsfw",), "adult"),
        (("nsfw", "likeness"), "likeness"),
        (("face", "swap", "nsfw"), "deepfake"),
        (("known", "nsfw"), "known"),
        (("known_unapplied",), "known"),
        (("synthetic",), "generated"),
        (("c2pa", "watermark"), "generated"),
        ((), "general"),
    ],
)
def test_the_gravest_label_decides(labels: tuple[str, ...], harm: str) -> None:
    cause = cause_of(verdict("hold", reason(*labels)), [])

    assert cause is not None
    assert (cause.harm.name, cause.queue) == (harm, HARMS[harm].queue)


@pytest.mark.parametrize("label", ["known", "known_unapplied"])
def test_a_list_of_child_abuse_decides_above_all_applied_or_not(label: str) -> None:
    finding = {**listed("child_abuse").as_dict(), "label": label}
    cause = cause_of(verdict("hold", reason("nsfw", queue="explicit")), [finding, likeness().as_dict()])

    assert cause is not None
    assert (cause.harm.name, cause.harm.restricted, cause.queue) == ("child_abuse", True, "explicit")


@pytest.mark.parametrize(
    ("judged", "opens"),
    [
        (verdict("allow"), False),
        (verdict("restrict", reason("nsfw", action="restrict")), False),
        (verdict("restrict", reason("nsfw", action="restrict", queue="explicit")), True),
        (verdict("block", reason("nsfw", action="block")), False),
        (verdict("block", reason("likeness", action="block")), True),
        (verdict("block", reason("swap", action="block")), True),
        (verdict("hold", reason("nsfw")), True),
    ],
)
def test_what_opens_a_case(judged: dict[str, Any], opens: bool) -> None:
    assert (cause_of(judged, []) is not None) is opens


def test_a_rules_queue_is_where_the_case_goes_and_raises_its_harm() -> None:
    named = cause_of(verdict("hold", reason("nsfw", queue="likeness", priority=90)), [])
    own = cause_of(verdict("hold", reason("nsfw", queue="team-blue")), [])

    assert named is not None
    assert own is not None
    assert (named.queue, named.harm.name, named.weight) == ("likeness", "likeness", 90)
    assert (own.queue, own.harm.name) == ("team-blue", "adult")


def test_a_check_that_failed_is_as_uncertain_as_can_be() -> None:
    failed = {"rule": "r", "detectors": ["likeness"], "why": "no model", "effect": "hold"}
    held = cause_of(verdict("hold", reason(queue="undecided"), undecided=(failed,)), [])
    sure = cause_of(verdict("hold", reason("nsfw")), [explicit(score=0.95).as_dict()])

    assert held is not None
    assert sure is not None
    assert (held.uncertainty, held.queue) == (1.0, "undecided")
    assert sure.uncertainty == pytest.approx(0.1)


def test_an_appeal_is_about_every_rule_that_did_something() -> None:
    judged = verdict("restrict", reason("nsfw", action="restrict"), reason("c2pa", action="label"))

    cause = cause_of_appeal(judged, [])
    assert (cause.harm.name, cause.queue, cause.labels) == ("adult", "appeals", ("c2pa", "nsfw"))


def test_every_harm_has_its_queue_and_only_child_abuse_is_restricted() -> None:
    assert {harm.queue for harm in HARMS.values()} < set(QUEUES)
    assert [harm.name for harm in HARMS.values() if harm.restricted] == ["child_abuse"]
    assert [harm.severity for harm in HARMS.values()] == sorted((h.severity for h in HARMS.values()), reverse=True)


@pytest.mark.parametrize("hours", ["1,2", "1,2,3,4,0", "a,b,c,d,e", "1,2,3,4,99999"])
def test_unfit_hours_are_refused_naming_the_variable(monkeypatch: pytest.MonkeyPatch, hours: str) -> None:
    monkeypatch.setenv("PALISADE_REVIEW_HOURS", hours)

    with pytest.raises(SettingsError, match="PALISADE_REVIEW_HOURS"):
        read_settings()
