"""What the generator refuses to begin, and what it does not let out unlooked-at.

Prompts are checked by `detectors.prompts`, which has no switch. Images are checked by a safety checker, and faces held
against those who are enrolled. A checker that gave no answer leaves an image `unchecked`, never `safe`.
"""

import logging
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import PIL.Image

from detectors.errors import ModerationError
from detectors.faces import FacesDetector
from detectors.image import Frame, Image
from detectors.likeness import Gallery, GallerySource, LikenessDetector
from detectors.nsfw import NsfwDetector
from detectors.prompts import PromptVerdict, check_prompt
from detectors.runtime import Runtime

__all__ = ["Guard", "GuardError", "ImageVerdict", "NsfwChecker", "PromptVerdict", "SafetyChecker", "likeness_matcher"]

log = logging.getLogger(__name__)

State = Literal["safe", "flagged", "quarantined", "unchecked"]
Checker = Callable[[PIL.Image.Image], Mapping[str, float]]
"""Scores of an image by name, each in [0, 1], higher for worse. No score is no answer."""
Matcher = Callable[[PIL.Image.Image], float | None]
"""How surely an image shows somebody enrolled, in [0, 1]; None where it shows nobody who is. Raises when it cannot say."""

THRESHOLD = 0.5
MATCH_FPR = 1e-3


class GuardError(ModerationError):
    """The guard is set up in a way that it cannot work."""

    code = "guard_invalid"
    status = 422


@dataclass(frozen=True)
class ImageVerdict:
    """What becomes of an image. `scores`: kept as labels, whatever the state."""

    state: State
    scores: Mapping[str, float] = field(default_factory=dict)
    reason: str = ""


@dataclass(frozen=True)
class Guard:
    """Checks prompts before, images after.

    checker: None is a guard that cannot look at images: they stay unchecked. threshold: the score from which an image is
    flagged, above 0 and up to 1. matcher: None where nobody is enrolled. people: names that are protected.
    """

    checker: Checker | None = None
    threshold: float = THRESHOLD
    matcher: Matcher | None = None
    people: Sequence[str] = ()

    def __post_init__(self) -> None:
        if not 0 < self.threshold <= 1:
            raise GuardError(
                f"The threshold {self.threshold} is not above 0 and up to 1.", hint=f"{THRESHOLD} is usual."
            )

    @classmethod
    def default(
        cls,
        models: Path | None = None,
        *,
        safety_checker: Path | None = None,
        threshold: float = THRESHOLD,
        matcher: Matcher | None = None,
        people: Sequence[str] = (),
    ) -> "Guard":
        """The shipped guard: Stable Diffusion's safety checker from a local folder, else `nsfw` from the models' folder.

        With neither, or with weights that cannot be loaded, images stay unchecked, and the log says why.
        """
        checker: Checker | None = None
        try:
            if safety_checker:
                checker = SafetyChecker.load(safety_checker)
            elif models:
                checker = NsfwChecker(NsfwDetector(Runtime(models)))
        except (ModerationError, OSError, ValueError, ImportError) as error:
            log.warning("no safety checker: %s", error)
        return cls(checker, threshold, matcher, tuple(people))

    def check_prompt(self, prompt: str, negative: str = "") -> PromptVerdict:
        """Whether a prompt may run. A refusal is logged by its rule, without the text. Raises PromptError."""
        verdict = check_prompt(prompt, negative, people=self.people)
        if not verdict.allowed:
            log.warning("prompt refused by %s", verdict.rule)
        return verdict

    def check_image(self, image: PIL.Image.Image) -> ImageVerdict:
        """What becomes of an image: quarantine goes before a flag, and a flag before a check that gave no answer."""
        scores, failure = self._scores(image)
        match, unmatched = self._match(image)
        if match is not None:
            return ImageVerdict(
                "quarantined", {**scores, "likeness": match}, "A face is like that of somebody enrolled."
            )
        worst = max(scores, key=lambda name: scores[name], default="")
        if worst and scores[worst] >= self.threshold:
            return ImageVerdict("flagged", scores, f"{worst} is {scores[worst]:.3f}; the limit is {self.threshold:g}.")
        if failure or unmatched:
            return ImageVerdict("unchecked", scores, failure or unmatched)
        return ImageVerdict("safe", scores)

    def _scores(self, image: PIL.Image.Image) -> tuple[dict[str, float], str]:
        """The scores, and why they are no answer."""
        if self.checker is None:
            return {}, "There is no safety checker."
        try:
            scores = {name: float(score) for name, score in self.checker(image).items()}
        except (ModerationError, RuntimeError, ValueError, TypeError, OSError) as error:
            log.warning("the safety checker failed: %s", error)
            return {}, f"The safety checker failed: {type(error).__name__}."
        known = {name: score for name, score in scores.items() if math.isfinite(score) and 0 <= score <= 1}
        return known, "" if known and len(known) == len(scores) else "The safety checker gave no answer."

    def _match(self, image: PIL.Image.Image) -> tuple[float | None, str]:
        if self.matcher is None:
            return None, ""
        try:
            return self.matcher(image), ""
        except (ModerationError, RuntimeError, ValueError, TypeError, OSError) as error:
            log.warning("faces could not be compared: %s", error)
            return None, f"Faces could not be compared: {type(error).__name__}."


class NsfwChecker:
    """Our own `nsfw` detector as a checker."""

    def __init__(self, detector: NsfwDetector) -> None:
        self.detector = detector

    def __call__(self, image: PIL.Image.Image) -> dict[str, float]:
        return {"nsfw": self.detector.scores([_frame(image)])[0]}


class _Loaded(Protocol):
    """What is used of diffusers' StableDiffusionSafetyChecker."""

    vision_model: Any
    visual_projection: Any
    concept_embeds: Any
    special_care_embeds: Any
    concept_embeds_weights: Any
    special_care_embeds_weights: Any


class SafetyChecker:
    """diffusers' StableDiffusionSafetyChecker, with a score where it only says yes or no.

    The checker flags an image whose cosine to a concept exceeds that concept's limit; the score is how far the worst
    is from its limit, through a logistic curve of width 0.02, so that 0.5 is where the checker itself begins to flag.
    """

    WIDTH = 0.02
    CARE = 0.01
    """By how much the checker lowers all limits where one of its special-care concepts is met."""

    def __init__(self, model: _Loaded, processor: Any) -> None:
        self.model = model
        self.processor = processor

    @classmethod
    def load(cls, folder: Path) -> "SafetyChecker":
        """From a local folder in diffusers' layout; safetensors only, never the network."""
        from diffusers.pipelines.stable_diffusion.safety_checker import (  # noqa: PLC0415 - the `train` extra
            StableDiffusionSafetyChecker,
        )
        from transformers import CLIPImageProcessor  # noqa: PLC0415 - the `train` extra

        model = StableDiffusionSafetyChecker.from_pretrained(folder, use_safetensors=True, local_files_only=True)
        processor_folder = (
            folder if (folder / "preprocessor_config.json").is_file() else folder.parent / "feature_extractor"
        )
        return cls(model, CLIPImageProcessor.from_pretrained(processor_folder, local_files_only=True))

    def __call__(self, image: PIL.Image.Image) -> dict[str, float]:
        import torch  # noqa: PLC0415 - the `train` extra

        pixels = self.processor(image.convert("RGB"), return_tensors="pt").pixel_values
        with torch.no_grad():
            embeds = self.model.visual_projection(self.model.vision_model(pixels)[1])
        care = self._excess(embeds, self.model.special_care_embeds, self.model.special_care_embeds_weights)
        excess = self._excess(embeds, self.model.concept_embeds, self.model.concept_embeds_weights)
        excess += self.CARE if care > 0 else 0.0
        return {"safety_checker": 1 / (1 + math.exp(-max(-30.0, min(30.0, excess / self.WIDTH))))}

    @staticmethod
    def _excess(embeds: Any, concepts: Any, limits: Any) -> float:
        from torch.nn.functional import cosine_similarity  # noqa: PLC0415 - the `train` extra

        return float((cosine_similarity(embeds, concepts) - limits).max().detach())


@dataclass(frozen=True)
class KeptGallery:
    """A `GallerySource` of one gallery that was read before."""

    kept: Gallery

    def gallery(self, tenant: str) -> Gallery | None:  # noqa: ARG002 - one gallery for all
        return self.kept

    def version(self, tenant: str) -> str:  # noqa: ARG002
        return self.kept.version


def likeness_matcher(models: Path, source: GallerySource, tenant: str = "default") -> Matcher:
    """A matcher on our own detectors: faces against the gallery of a tenant. Raises ModelError without the weights."""
    runtime = Runtime(models)
    faces, likeness = FacesDetector(runtime), LikenessDetector(runtime)
    likeness.attach(source)

    def match(image: PIL.Image.Image) -> float | None:
        if source.gallery(tenant) is None:
            return None
        opened = Image(b"", "PNG", image.width, image.height, (_frame(image),), features={"tenant": tenant})
        faces.detect([opened])
        findings = likeness.detect([opened])[0]
        failed = next((finding for finding in findings if finding.status != "ok"), None)
        if failed:
            raise GuardError(f"Faces were not compared: {failed.reason}.")
        scores = [finding.score or 0.0 for finding in findings if finding.fpr is not None and finding.fpr <= MATCH_FPR]
        return max(scores, default=None)

    return match


def _frame(image: PIL.Image.Image) -> Frame:
    return Frame(0, np.ascontiguousarray(np.asarray(image.convert("RGB"), dtype=np.uint8)))
