"""What every detector must keep to. A detector's test class inherits `DetectorContract` and names the detector."""

import json
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import pytest

from detectors.base import Detector, Finding
from detectors.image import Image
from detectors.registry import DETECTORS
from detectors.runtime import Runtime
from tests.factories import make_image, picture

TYPES: Mapping[str, type | tuple[type, ...]] = {
    "bool": bool,
    "int": int,
    "float": (float, int),
    "string": str,
    "list": list,
}

AWKWARD: Mapping[str, tuple[int, int]] = {
    "one pixel": (1, 1),
    "a line": (1, 3000),
    "a column": (3000, 1),
    "tiny": (9, 7),
}


def comparable(findings: Sequence[Finding]) -> list[dict[str, Any]]:
    """Findings as values that two runs can be compared by."""
    return [finding.as_dict() for finding in findings]


class DetectorContract:
    """Inherit, set `detector_class`, and override `examples` with images on which the detector finds something."""

    detector_class: ClassVar[type[Detector]]

    @pytest.fixture(scope="class")
    @classmethod
    def detector(cls, runtime: Runtime) -> Detector:
        return cls.detector_class(runtime)

    def examples(self) -> list[Image]:
        return [make_image(picture(seed=1)), make_image(picture(400, 500, seed=2))]

    def detect(self, detector: Detector, images: Sequence[Image]) -> list[list[Finding]]:
        """The detector's findings, on images that carry whatever it needs of other detectors."""
        return detector.detect(images)

    def test_is_registered_once(self) -> None:
        assert DETECTORS.count(self.detector_class) == 1
        assert [other.name for other in DETECTORS].count(self.detector_class.name) == 1

    def test_examples_yield_findings(self, detector: Detector) -> None:
        for findings in self.detect(detector, self.examples()):
            assert findings
            assert {finding.detector for finding in findings} == {detector.name}

    def test_findings_are_of_declared_labels_within_bounds(self, detector: Detector) -> None:
        labels = {label.name: label for label in detector.labels}
        for finding in [f for findings in self.detect(detector, self.examples()) for f in findings]:
            label = labels[finding.label]
            if finding.status != "ok":
                assert finding.reason
                assert finding.score is None
                continue
            assert (finding.score is not None) == label.scored
            assert finding.score is None or 0 <= finding.score <= 1
            assert (finding.fpr is not None) == label.calibrated
            assert finding.fpr is None or 0 < finding.fpr <= 1
            for name, field in label.fields.items():
                assert isinstance(finding.evidence[name], TYPES[field.type]), name

    def test_regions_lie_in_the_image(self, detector: Detector) -> None:
        for finding in [f for findings in self.detect(detector, self.examples()) for f in findings]:
            if finding.region:
                region = finding.region
                assert region.x >= 0
                assert region.y >= 0
                assert region.x + region.width <= 1 + 1e-6
                assert region.y + region.height <= 1 + 1e-6

    def test_findings_survive_json(self, detector: Detector) -> None:
        for findings in self.detect(detector, self.examples()):
            stored = json.loads(json.dumps(comparable(findings)))
            assert comparable([Finding.from_dict(values) for values in stored]) == stored

    def test_is_deterministic(self, detector: Detector) -> None:
        first, second = self.detect(detector, self.examples()), self.detect(detector, self.examples())
        assert [comparable(f) for f in first] == [comparable(f) for f in second]

    def test_batch_equals_single(self, detector: Detector) -> None:
        batch = self.detect(detector, self.examples())
        singles = [self.detect(detector, [image])[0] for image in self.examples()]
        assert [comparable(f) for f in batch] == [comparable(f) for f in singles]

    def test_no_images_no_findings(self, detector: Detector) -> None:
        assert detector.detect([]) == []

    @pytest.mark.parametrize("name", AWKWARD)
    def test_awkward_shapes_are_measured(self, detector: Detector, name: str) -> None:
        height, width = AWKWARD[name]
        image = make_image(np.zeros((height, width, 3), dtype=np.uint8))

        assert len(self.detect(detector, [image])) == 1

    def test_leaves_the_features_it_promises(self, detector: Detector) -> None:
        image = self.examples()[0]

        self.detect(detector, [image])

        assert set(detector.provides) <= set(image.features)

    def test_frames_of_an_animation_are_measured(self, detector: Detector) -> None:
        image = make_image(picture(seed=1), picture(seed=2), picture(seed=3))

        (findings,) = self.detect(detector, [image])

        assert all(finding.frame is None or 0 <= finding.frame <= 2 for finding in findings)
