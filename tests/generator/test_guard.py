"""The guard of the generator: prompts before, images after. Scores here are made up; images are benign."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pillow

from detectors.likeness import Gallery
from detectors.likeness_scores import LikenessTemplates, template_model
from detectors.prompts import MINORS, PERSON
from detectors.prompts.terms import languages
from detectors.runtime import Runtime
from generator.guard import Guard, GuardError, SafetyChecker, likeness_matcher
from moderation.settings import settings
from tests.factories import picture

IMAGE = Pillow.fromarray(picture(96, 96))
EN = languages()["en"]


def answers(**scores: float) -> object:
    return lambda _image: scores


def fails(_image: Pillow.Image) -> dict[str, float]:
    raise RuntimeError("no answer")


def test_prompts_are_refused_by_rule_and_logged_without_the_text(caplog: pytest.LogCaptureFixture) -> None:
    guard = Guard(people=("Quorny Velimsen",))
    verdict = guard.check_prompt(f"{EN['minors'][0]}, zyqqua, {EN['sexual'][0]}")

    assert (verdict.allowed, verdict.rule) == (False, MINORS)
    assert MINORS in caplog.text
    assert "zyqqua" not in caplog.text + verdict.reason
    assert guard.check_prompt(f"quorny velimsen, {EN['sexual'][0]}").rule == PERSON
    assert guard.check_prompt(EN["minors"][0], EN["sexual"][0]).allowed


@pytest.mark.parametrize(
    ("checker", "matcher", "state"),
    [
        (answers(nsfw=0.1), None, "safe"),
        (answers(nsfw=0.1), lambda _image: None, "safe"),
        (answers(nsfw=0.7), None, "flagged"),
        (answers(nsfw=0.1), lambda _image: 0.9, "quarantined"),
        (answers(nsfw=0.7), lambda _image: 0.9, "quarantined"),
        (None, lambda _image: 0.9, "quarantined"),
        (None, None, "unchecked"),
        (answers(), None, "unchecked"),
        (answers(nsfw=float("nan")), None, "unchecked"),
        (answers(nsfw=1.5), None, "unchecked"),
        (answers(nsfw=0.1, other=float("inf")), None, "unchecked"),
        (fails, None, "unchecked"),
        (answers(nsfw=0.1), fails, "unchecked"),
        (answers(nsfw=0.7), fails, "flagged"),
    ],
)
def test_the_state_of_an_image(checker: object, matcher: object, state: str) -> None:
    verdict = Guard(checker, 0.5, matcher).check_image(IMAGE)

    assert verdict.state == state
    assert bool(verdict.reason) == (state != "safe")


def test_scores_are_kept_and_the_threshold_is_tunable() -> None:
    assert Guard(answers(nsfw=0.3)).check_image(IMAGE).scores == {"nsfw": 0.3}
    assert Guard(answers(nsfw=0.3), threshold=0.2).check_image(IMAGE).state == "flagged"


@pytest.mark.parametrize("threshold", [0.0, -1.0, 1.01, float("nan")])
def test_a_threshold_that_cannot_be_is_refused(threshold: float) -> None:
    with pytest.raises(GuardError, match="threshold"):
        Guard(threshold=threshold)


def test_the_shipped_guard_looks_at_images() -> None:
    verdict = Guard.default(settings().models).check_image(IMAGE)

    assert verdict.state == "safe"
    assert 0 <= verdict.scores["nsfw"] < 0.5


def test_without_weights_images_stay_unchecked(tmp_path: Path) -> None:
    assert Guard.default(tmp_path).check_image(IMAGE).state == "unchecked"
    assert Guard.default(safety_checker=tmp_path).check_image(IMAGE).state == "unchecked"


class OnePerson:
    """A gallery with one person, as enrolment would make it."""

    def __init__(self, gallery: Gallery | None) -> None:
        self.known = gallery

    def gallery(self, tenant: str) -> Gallery | None:
        return self.known

    def version(self, tenant: str) -> str:
        return "1" if self.known else ""


def test_a_face_of_somebody_enrolled_is_quarantined(shared_data: Path, runtime: Runtime) -> None:
    from detectors.faces import FacesDetector
    from detectors.image import Frame, Image
    from detectors.likeness import LikenessDetector

    def portrait(person: int, photo: int) -> Pillow.Image:
        crop = Pillow.open(shared_data / f"faces/person_{person:02}/{photo:02}.png").convert("RGB")
        canvas = Pillow.new("RGB", (360, 360), (120, 120, 120))
        canvas.paste(crop.resize((200, 200)), (80, 80))
        return canvas

    likeness, faces = LikenessDetector(runtime), FacesDetector(runtime)
    shown = Image(b"", "PNG", 360, 360, (Frame(0, np.asarray(portrait(2, 2))),))
    faces.detect([shown])
    template = likeness.templates.of([shown.features["faces"][0][0].aligned])
    assert isinstance(likeness.templates, LikenessTemplates)
    gallery = Gallery("1", template_model(likeness.calibration.model), template, ("person_1",))
    guard = Guard.default(settings().models, matcher=likeness_matcher(settings().models, OnePerson(gallery)))

    assert guard.check_image(portrait(2, 3)).state == "quarantined"
    assert guard.check_image(portrait(4, 7)).state == "safe"
    nobody = likeness_matcher(settings().models, OnePerson(None))
    assert Guard.default(settings().models, matcher=nobody).check_image(portrait(2, 3)).state == "safe"


def test_stable_diffusions_checker_is_used_from_a_folder(tmp_path: Path) -> None:
    """The real class at a tiny size: its own yes or no is where our score passes one half."""
    torch = pytest.importorskip("torch", reason="the `train` extra is not installed")
    pytest.importorskip("diffusers", reason="the `train` extra is not installed")
    from diffusers.pipelines.stable_diffusion.safety_checker import StableDiffusionSafetyChecker
    from transformers import CLIPConfig, CLIPImageProcessor

    torch.manual_seed(0)
    vision = {
        "hidden_size": 32,
        "intermediate_size": 37,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "image_size": 30,
        "patch_size": 6,
    }
    model = StableDiffusionSafetyChecker(CLIPConfig(vision_config=vision, projection_dim=16)).eval()
    model.concept_embeds.data = torch.randn(17, 16)
    model.special_care_embeds.data = torch.randn(3, 16)
    model.concept_embeds_weights.data.fill_(0.4)
    model.special_care_embeds_weights.data.fill_(0.9)
    model.save_pretrained(tmp_path, safe_serialization=True)
    CLIPImageProcessor(size={"shortest_edge": 30}, crop_size={"height": 30, "width": 30}).save_pretrained(tmp_path)
    checker = SafetyChecker.load(tmp_path)
    for limit in (0.2, 0.95):
        checker.model.concept_embeds_weights.data.fill_(limit)
        pixels = checker.processor(IMAGE, return_tensors="pt").pixel_values
        _, flagged = checker.model(pixels, np.zeros((1, 8, 8, 3), np.float32))
        assert (checker(IMAGE)["safety_checker"] > 0.5) == flagged[0]
    assert Guard.default(safety_checker=tmp_path).check_image(IMAGE).state in ("safe", "flagged")
