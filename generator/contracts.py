"""What a dataset needs of the guard (`generator/guard.py`), of the marker (`generator/mark.py`) and of what is around."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

import PIL.Image

from detectors.likeness import Gallery

State = Literal["safe", "flagged", "quarantined", "unchecked"]


class PromptVerdict(Protocol):
    @property
    def allowed(self) -> bool: ...
    @property
    def rule(self) -> str | None: ...
    @property
    def reason(self) -> str: ...


class ImageVerdict(Protocol):
    @property
    def state(self) -> State: ...
    @property
    def scores(self) -> Mapping[str, float]: ...
    @property
    def reason(self) -> str: ...


class Guard(Protocol):
    """Decides before and after. A check that gave no answer is `unchecked`, never `safe`."""

    def check_prompt(self, prompt: str, negative: str = "") -> PromptVerdict: ...

    def check_image(self, image: PIL.Image.Image) -> ImageVerdict: ...


class Marker(Protocol):
    """Encodes a generated image with its marks: signed C2PA manifest, XMP and invisible watermark."""

    def mark(
        self, image: PIL.Image.Image, *, fmt: str, quality: int | None, prompt_digest: str, model: str, seed: int
    ) -> bytes: ...


class Protected(Protocol):
    """Whom nothing generated may name or show: the names, and the templates of the faces."""

    @property
    def names(self) -> tuple[str, ...]: ...
    @property
    def gallery(self) -> Gallery | None: ...


@dataclass(frozen=True)
class Installation:
    """What the command line knows of the Palisade around the generator.

    models: folder of the guard's models. protected: asks who is enrolled; raises ModerationError when that cannot be known.
    """

    models: Path
    protected: Callable[[], Protected]
