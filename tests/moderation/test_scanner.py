"""The scanner: which detectors run, what becomes of one that breaks, and how many scans run at once."""

import threading
from collections.abc import Sequence
from pathlib import Path

import pytest

from detectors.base import Detector, Field, Finding, Label
from detectors.image import Image
from detectors.runtime import Runtime
from moderation.errors import ModelError, RateLimitError
from moderation.policy import Policy, Vocabulary, load_policy
from moderation.scanner import Scanner, image_facts
from tests.factories import make_image


class Cheap(Detector):
    """Finds what the test put into the image's features."""

    name, cost_ms, provides = "cheap", 1.0, ("hint",)
    labels = (Label("mark", "A mark.", fields={"word": Field("string", "The word.")}),)

    def detect(self, images: Sequence[Image]) -> list[list[Finding]]:
        words = [image.features.get("word") for image in images]
        return [[self.finding("mark", evidence={"word": word})] if word else [] for word in words]


class Heavy(Detector):
    """Scores what the test put into the image's features; breaks when it is told to."""

    name, cost_ms, needs = "heavy", 100.0, ("hint",)
    labels = (Label("harm", "A harm.", scored=True, calibrated=True),)

    def detect(self, images: Sequence[Image]) -> list[list[Finding]]:
        if images[0].features.get("break"):
            raise RuntimeError("a secret")
        return [[self.finding("harm", 0.9, fpr=image.features["fpr"])] for image in images]


class Idle(Detector):
    """Is read by no rule."""

    name, cost_ms = "idle", 50.0
    labels = (Label("idle", "Nothing."),)

    def detect(self, images: Sequence[Image]) -> list[list[Finding]]:
        return [[self.finding("idle")] for _ in images]


class Missing(Detector):
    """Has no weights."""

    name, cost_ms = "missing", 1.0
    labels = (Label("missing", "Nothing."),)

    def __init__(self, runtime: Runtime) -> None:
        raise ModelError("The model 'm' is missing.")

    def detect(self, images: Sequence[Image]) -> list[list[Finding]]:
        raise AssertionError


CLASSES = (Cheap, Heavy, Idle)

RULES = """
name: test
version: 1
description: for tests
keep: none
on_error: hold
on_skipped: allow
cascade: {cascade}
rules:
  - {{name: marked, when: mark.word == 'bad', action: block, reason: marked, final: {final}}}
  - {{name: harmful, when: harm.fpr <= 0.01, action: restrict, reason: harmful}}
"""


def policy(cascade: str = "full", *, final: bool = False) -> Policy:
    text = RULES.format(cascade=cascade, final=str(final).lower())
    return load_policy(text, file="test.yaml", vocabulary=Vocabulary.of(CLASSES))


def measure(rules: Policy, **features: object) -> tuple[dict[str, Finding], str]:
    """Findings by label, and the verdict."""
    image = make_image()
    image.features.update({"fpr": 0.001, **features})
    measured = Scanner(Runtime(Path("none")), detectors=CLASSES).measure(image, rules, {})
    verdict = rules.decide(measured.findings, {}, image_facts(image))
    return {finding.label: finding for finding in measured.findings}, verdict.action


def test_every_detector_runs_in_full() -> None:
    found, action = measure(policy(), word="bad")

    assert {f.status for f in found.values()} == {"ok"}
    assert action == "block"


def test_a_cascade_spares_what_no_rule_reads_and_what_cannot_matter() -> None:
    found, action = measure(policy("needed"), word="bad")

    assert (found["harm"].status, found["harm"].reason) == ("skipped", "the verdict cannot change any more")
    assert (found["idle"].status, found["idle"].reason) == ("skipped", "no rule of the policy reads it")
    assert action == "block"


@pytest.mark.parametrize("word", [None, "good"])
def test_a_cascade_runs_what_can_still_matter(word: str | None) -> None:
    found, action = measure(policy("needed"), word=word)

    assert found["harm"].status == "ok"
    assert action == "restrict"


def test_a_final_rule_stops_even_a_full_scan() -> None:
    found, action = measure(policy(final=True), word="bad")

    assert found["harm"].status == found["idle"].status == "skipped"
    assert action == "block"


@pytest.mark.parametrize("word", [None, "good", "bad"])
@pytest.mark.parametrize("fpr", [0.001, 0.5])
@pytest.mark.parametrize("final", [True, False])
def test_a_cascade_comes_to_the_same_verdict(word: str | None, fpr: float, final: bool) -> None:
    features = {"word": word, "fpr": fpr}

    assert measure(policy("needed", final=final), **features)[1] == measure(policy(final=final), **features)[1]


def test_a_detector_that_breaks_is_failed_and_the_policy_says_what_follows() -> None:
    found, action = measure(policy(), **{"break": True})

    assert (found["harm"].status, found["harm"].reason) == ("failed", "RuntimeError")
    assert found["idle"].status == "ok"
    assert action == "hold"


def test_without_a_needed_model_nothing_is_measured() -> None:
    scanner = Scanner(Runtime(Path("none")), detectors=(*CLASSES, Missing))
    scanner.build()

    with pytest.raises(ModelError, match="'m' is missing"):
        scanner.measure(make_image(), policy(), {})
    scanner.check(policy("needed"))


def test_the_models_digest_tells_detectors_apart() -> None:
    runtime = Runtime(Path("none"))

    assert Scanner(runtime, detectors=CLASSES).models("t") != Scanner(runtime, detectors=CLASSES[:2]).models("t")


def test_as_many_scans_run_at_once_as_are_allowed_and_no_more_wait_than_may() -> None:
    scanner = Scanner(Runtime(Path("none")), concurrency=1, waiting=1, detectors=CLASSES)
    first, second = threading.Event(), threading.Event()
    running: list[int] = []

    def hold() -> None:
        with scanner.turn():
            running.append(1)
            first.set()
            second.wait(5)

    threads = [threading.Thread(target=hold) for _ in range(2)]
    threads[0].start()
    first.wait(5)
    threads[1].start()
    while scanner.waiting_places:
        pass
    with pytest.raises(RateLimitError) as refusal, scanner.turn():
        raise AssertionError

    assert refusal.value.retry_after > 0
    assert running == [1]
    second.set()
    for thread in threads:
        thread.join()
    assert running == [1, 1]
    with scanner.turn():
        assert scanner.waiting_places == 1
