"""Small real parts for the generator's tests: a tiny pipeline, pictures, and the plainest guard and marker.

Guard and marker here do what they say and no more; the shipped ones have tests of their own.
"""

import io
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import PIL.Image

from generator.contracts import State


@dataclass(frozen=True)
class PromptAnswer:
    allowed: bool
    rule: str | None = None
    reason: str = ""


@dataclass(frozen=True)
class ImageAnswer:
    state: State
    scores: dict[str, float] = field(default_factory=dict)
    reason: str = ""


class TermGuard:
    """Forbids prompts with one harmless word, and quarantines images that are darker than a bound."""

    def __init__(self, term: str = "forbidden", darkest: float = -1.0) -> None:
        self.term, self.darkest = term, darkest

    def check_prompt(self, prompt: str, negative: str = "") -> PromptAnswer:
        if self.term in f"{prompt} {negative}":
            return PromptAnswer(False, "term", "a listed term")
        return PromptAnswer(True)

    def check_image(self, image: PIL.Image.Image) -> ImageAnswer:
        light = float(np.asarray(image).mean()) / 255
        return ImageAnswer("quarantined" if light < self.darkest else "safe", {"light": light})


class PlainMarker:
    """Encodes, and writes the seed into the file's comment."""

    def mark(
        self, image: PIL.Image.Image, *, fmt: str, quality: int | None, prompt_digest: str, model: str, seed: int
    ) -> bytes:
        buffer = io.BytesIO()
        values = {"quality": quality} if quality else {}
        image.save(buffer, fmt.upper(), **values, **({"comment": f"{model} {seed}"} if fmt == "jpeg" else {}))
        return buffer.getvalue()


def pictures(folder: Path, count: int = 3, side: int = 72) -> list[Path]:
    """PNG files of smooth noise."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for number in range(count):
        noise = np.random.default_rng(number).integers(0, 256, (6, 6, 3), dtype=np.uint8)
        paths.append(folder / f"picture_{number}.png")
        PIL.Image.fromarray(noise).resize((side, side), PIL.Image.Resampling.BICUBIC).save(paths[-1])
    return paths
