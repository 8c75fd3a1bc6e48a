"""`known`: what banks say of an image."""

from collections.abc import Sequence
from typing import ClassVar

from detectors.base import Detector, Finding
from detectors.image import Image
from detectors.known import KnownDetector, KnownMatch
from detectors.runtime import Runtime
from detectors.signals import SignalsDetector
from tests.contract import DetectorContract
from tests.factories import make_image

MATCHES = [
    KnownMatch(7, "ncii", "bank_1", "pdq", 12, "intimate", "block", orientation=3),
    KnownMatch(9, "own", "bank_2", "md5", 0, "spam", "hold"),
    KnownMatch(11, "old", "bank_3", "pdq", 4, "other", "label", unapplied="quarantine"),
]


class Listed:
    """A source that has every image in three banks."""

    def matches(self, tenant: str, signals: Sequence[Finding]) -> list[KnownMatch] | None:
        return None if tenant == "empty" else MATCHES


class TestKnown(DetectorContract):
    detector_class: ClassVar[type[Detector]] = KnownDetector

    def detect(self, detector: Detector, images: Sequence[Image]) -> list[list[Finding]]:
        assert isinstance(detector, KnownDetector)
        detector.attach(Listed())
        SignalsDetector(detector.runtime).detect(images)
        return detector.detect(images)


def test_applied_and_unapplied_matches_are_two_labels(runtime: Runtime) -> None:
    detector = KnownDetector(runtime)
    detector.attach(Listed())

    findings = detector.look_up([], "default")

    assert [f.label for f in findings] == ["known", "known", "known_unapplied"]
    assert findings[0].evidence["banks"] == ["ncii", "own"]
    assert findings[0].evidence["categories"] == ["intimate", "spam"]
    assert findings[2].evidence["why"] == "quarantine"


def test_it_says_why_it_did_not_look(runtime: Runtime) -> None:
    detector = KnownDetector(runtime)
    image = make_image()
    assert {f.reason for f in detector.detect([image])[0]} == {"signals were not taken"}
    assert {f.reason for f in detector.look_up([], "default")} == {"no banks"}
    detector.attach(Listed())
    assert {f.reason for f in detector.look_up([], "empty")} == {"no banks"}
