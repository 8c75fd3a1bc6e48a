"""The likeness of enrolled people: matching, calibration, and what is said where nothing can be compared."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pillow

from detectors.base import Detector, Finding
from detectors.catalogue import catalogue
from detectors.errors import ModelError
from detectors.faces import FacesDetector
from detectors.image import Image
from detectors.likeness import CALIBRATION, Gallery, LikenessDetector
from detectors.likeness_scores import LikenessCalibration, PreparedGallery, similarities, template_model, unit
from detectors.runtime import Runtime
from tests.contract import DetectorContract
from tests.factories import make_image, picture

SFACE = catalogue()["sface"].identity("sface")


class Source:
    """A gallery source that holds what it is given."""

    def __init__(self, gallery: Gallery | None) -> None:
        self.held = gallery

    def gallery(self, tenant: str) -> Gallery | None:
        return self.held if tenant == "default" else None

    def version(self, tenant: str) -> str:
        return self.held.version if self.held and tenant == "default" else ""


@pytest.fixture(scope="module")
def faces(runtime: Runtime) -> FacesDetector:
    return FacesDetector(runtime)


@pytest.fixture(scope="module")
def crops(shared_data: Path) -> list[list[np.ndarray]]:
    """Six crops of each of four people."""
    return [
        [np.asarray(Pillow.open(path).convert("RGB")) for path in sorted(folder.glob("*.png"))[2:8]]
        for folder in sorted((shared_data / "faces").iterdir())[2:6]
    ]


def photo(*faces: np.ndarray) -> Image:
    canvas = np.full((360, 300 * len(faces), 3), 120, np.uint8)
    for place, face in enumerate(faces):
        canvas[60:260, 300 * place + 50 : 300 * place + 250] = np.asarray(Pillow.fromarray(face).resize((200, 200)))
    return make_image(canvas)


def enrol(detector: LikenessDetector, people: dict[str, list[np.ndarray]], version: str = "1") -> Gallery:
    templates = np.concatenate([detector.templates.of(crops) for crops in people.values()])
    owners = tuple(person for person, crops in people.items() for _ in crops)
    return Gallery(version, detector.templates.model, templates, owners)


def look(detector: LikenessDetector, faces: FacesDetector, image: Image) -> list[Finding]:
    faces.detect([image])
    return detector.detect([image])[0]


class TestLikeness(DetectorContract):
    """Without a gallery."""

    detector_class = LikenessDetector

    def test_without_a_gallery_nothing_was_measured(self, detector: LikenessDetector) -> None:
        (finding,) = detector.detect([make_image()])[0]

        assert (finding.status, finding.reason) == ("skipped", "no gallery")
        assert detector.state("default") == ""

    def test_it_is_built_without_its_model(self, tmp_path: Path) -> None:
        detector = LikenessDetector(Runtime(tmp_path))

        assert detector.detect([make_image()])[0][0].reason == "no gallery"
        with pytest.raises(ModelError, match="sface"):
            _ = detector.templates


class TestLikenessWithGallery(DetectorContract):
    """With two people enrolled."""

    detector_class = LikenessDetector

    @pytest.fixture(scope="class")
    @classmethod
    def detector(cls, runtime: Runtime, crops: list[list[np.ndarray]]) -> Detector:
        detector = LikenessDetector(runtime)
        gallery = enrol(detector, {"person_a": crops[0][:5], "person_b": crops[1][:5]}, version="7")
        detector.attach(Source(gallery))
        return detector

    @pytest.fixture(autouse=True)
    def _people(self, crops: list[list[np.ndarray]], faces: FacesDetector) -> None:
        self.people, self.faces = crops, faces

    def examples(self) -> list[Image]:
        return [photo(self.people[0][5]), photo(self.people[1][5])]

    def detect(self, detector, images):
        self.faces.detect(images)
        return detector.detect(images)

    def test_each_face_is_matched_with_its_person(self, detector: LikenessDetector) -> None:
        first, second = look(detector, self.faces, photo(self.people[0][5], self.people[1][5]))

        assert {first.evidence["person"], second.evidence["person"]} == {"person_a", "person_b"}
        left = first if first.region.x < 0.5 else second
        assert left.evidence["person"] == "person_a"
        for finding in (first, second):
            assert finding.score > 0.9
            assert finding.fpr < 1e-3
            assert finding.evidence["margin"] > 0.2
            assert finding.evidence["quality"] == 1.0
            assert finding.model == SFACE

    def test_strangers_yield_nothing(self, detector: LikenessDetector) -> None:
        for face in [*self.people[2], *self.people[3]]:
            assert all(f.fpr > 1e-3 for f in look(detector, self.faces, photo(face)))

    def test_a_picture_without_faces_yields_nothing(self, detector: LikenessDetector) -> None:
        assert look(detector, self.faces, make_image(picture())) == []

    def test_unknown_faces_are_not_no_faces(self, detector: LikenessDetector) -> None:
        (finding,) = detector.detect([make_image()])[0]

        assert (finding.status, finding.reason) == ("skipped", "faces were not looked for")

    def test_another_tenant_has_no_gallery(self, detector: LikenessDetector) -> None:
        image = photo(self.people[0][5])
        image.features["tenant"] = "other"

        assert look(detector, self.faces, image)[0].reason == "no gallery"
        assert (detector.state("default"), detector.state("other")) == ("7", "")

    def test_an_animation_names_each_person_once(self, detector: LikenessDetector) -> None:
        frames = [photo(face).frames[0].pixels for face in self.people[0][3:6]]

        (finding,) = look(detector, self.faces, make_image(*frames))

        assert finding.evidence["person"] == "person_a"
        assert finding.frame in (0, 1, 2)

    def test_a_new_gallery_is_used_at_once(self, runtime: Runtime) -> None:
        detector = LikenessDetector(runtime)
        source = Source(enrol(detector, {"person_a": self.people[0][:5]}))
        detector.attach(source)
        assert look(detector, self.faces, photo(self.people[1][5])) == []
        source.held = enrol(detector, {"person_b": self.people[1][:5]})
        assert look(detector, self.faces, photo(self.people[1][5]))[0].evidence["person"] == "person_b"
        source.held = None
        assert look(detector, self.faces, photo(self.people[1][5]))[0].reason == "no gallery"

    def test_templates_of_another_model_are_refused(self, runtime: Runtime) -> None:
        detector = LikenessDetector(runtime)
        detector.attach(Source(Gallery("1", "arcface@1", unit(np.ones((1, 128))), ("person_a",))))

        with pytest.raises(ModelError, match="arcface"):
            look(detector, self.faces, photo(self.people[0][0]))


@pytest.fixture(scope="module")
def calibration() -> LikenessCalibration:
    return LikenessCalibration.read(CALIBRATION, model=SFACE)


def test_fpr_falls_with_the_score_and_rises_with_the_gallery(calibration: LikenessCalibration) -> None:
    scores = [calibration.score(calibration.standard(s, 5, 1.0)) for s in np.linspace(-0.2, 0.9, 60)]
    shares = [calibration.fpr(score, 1) for score in scores]

    assert scores == sorted(scores)
    assert shares == sorted(shares, reverse=True)
    assert all(0 < share <= 1 for share in shares)
    for score, share in zip(scores, shares, strict=True):
        assert calibration.fpr(score, 100) == pytest.approx(1 - (1 - share) ** 100, rel=1e-6)


def test_more_templates_have_to_agree_more(calibration: LikenessCalibration) -> None:
    """Impostors are more alike to the mean of many photos than to one photo."""
    standard = [calibration.standard(0.2, number, 1.0) for number in (1, 5, 20)]

    assert standard[1] > standard[2]
    assert all(calibration.standard(0.4, 5, r) <= calibration.standard(0.4, 5, 1.0) for r in (0.05, 0.125, 0.3, 0.6))


@pytest.mark.parametrize("content", ["", "{}", '{"model": "sface@fb143eea0783"}', "[1]"])
def test_a_damaged_calibration_is_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "calibration.json"
    path.write_text(content)

    with pytest.raises(ModelError, match="cannot be read"):
        LikenessCalibration.read(path, model=SFACE)


def test_another_models_calibration_is_refused() -> None:
    with pytest.raises(ModelError, match=f"was made for {SFACE}, not for sface@other"):
        LikenessCalibration.read(CALIBRATION, model="sface@other")


def test_a_calibration_is_read_as_it_was_written(calibration: LikenessCalibration, tmp_path: Path) -> None:
    calibration.write(tmp_path / "calibration.json")

    assert LikenessCalibration.read(tmp_path / "calibration.json", model=SFACE) == calibration


def test_the_calibration_holds_no_list_of_templates(calibration: LikenessCalibration) -> None:
    """Templates of people may not ship: there is the one average, coarsely rounded, and scalars."""
    assert len(calibration.centre) == 128
    assert all(round(value, 3) == value for value in calibration.centre)
    assert float(np.linalg.norm(calibration.centre)) < 0.6


def test_search_finds_what_comparing_with_everybody_finds(calibration: LikenessCalibration) -> None:
    random = np.random.default_rng(3)
    templates = unit(random.normal(size=(600, 128)))
    people = tuple(f"person_{i // 3}" for i in range(600))
    gallery = PreparedGallery(templates, people, calibration)
    for probe in calibration.centred(unit(templates[::60] + 0.05 * random.normal(size=(10, 128)))):
        each = {
            person: float(similarities(probe[None], own)[0])
            for person, own in zip(gallery.people, gallery.own, strict=True)
        }
        best = gallery.best(probe)

        assert best.person == max(each, key=each.__getitem__)
        assert best.similarity == pytest.approx(max(each.values()), abs=1e-6)
        assert best.margin == pytest.approx(np.subtract(*sorted(each.values())[-1:-3:-1]), abs=1e-5)


def test_a_gallery_must_be_whole() -> None:
    with pytest.raises(ValueError, match="2 people's ids"):
        Gallery("1", template_model(SFACE), np.zeros((1, 128), np.float32), ("person_a", "person_b"))
