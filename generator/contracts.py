"""What a dataset needs of the guard (`generator/guard.py`) and of the marker (`generator/mark.py`)."""

from collections.abc import Mapping
from typing import Literal, Protocol

import PIL.Image

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
