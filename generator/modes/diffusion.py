"""Text to image, image to image and inpainting, through whatever pipeline was loaded."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import PIL.Image
import torch
from diffusers import AutoPipelineForImage2Image, AutoPipelineForInpainting

from generator.errors import ModelError
from generator.modes.base import Made
from generator.pipelines import Loaded


@dataclass(frozen=True)
class Request:
    """What to make. width, height: pixels, multiples of 8. steps of the scheduler; guidance 1 is none."""

    prompt: str
    negative: str = ""
    seed: int = 0
    width: int = 64
    height: int = 64
    steps: int = 30
    guidance: float = 4.0

    def __post_init__(self) -> None:
        if (
            self.width % 8
            or self.height % 8
            or not 32 <= min(self.width, self.height) <= max(self.width, self.height) <= 2048
        ):
            raise ModelError(
                f"an image of {self.width}×{self.height} cannot be made",
                hint="sides are multiples of 8 from 32 to 2048",
            )


class Families:
    """One loaded pipeline and the image-to-image and inpainting ones that share its weights."""

    def __init__(self, loaded: Loaded) -> None:
        self.loaded = loaded
        self._others: dict[str, Any] = {}

    def other(self, kind: Any) -> Any:
        """The pipeline as `kind`. Raises ModelError when its family has none."""
        name = kind.__name__
        if name not in self._others:
            try:
                self._others[name] = kind.from_pipe(self.loaded.pipeline)
            except (ValueError, TypeError) as error:
                family = type(self.loaded.pipeline).__name__
                raise ModelError(f"{family} has no {name}: {error}", hint="use another mode or pipeline") from error
            self._others[name].set_progress_bar_config(disable=True)
        return self._others[name]

    def text(self, requests: Sequence[Request]) -> list[Made]:
        """One image for each request; all share size, steps and guidance. Same seeds, same images, batched or not."""
        first = requests[0]
        if any(
            (r.width, r.height, r.steps, r.guidance) != (first.width, first.height, first.steps, first.guidance)
            for r in requests
        ):
            raise ModelError("requests of one batch differ in size, steps or guidance", hint="make them one by one")
        values = _common(first, requests) | {"width": first.width, "height": first.height}
        images = _run(self.loaded.pipeline, values)
        return [Made(image, "text", parameters=asdict(r)) for image, r in zip(images, requests, strict=True)]

    def image(self, picture: PIL.Image.Image, request: Request, strength: float, *, parent: str = "") -> Made:
        """The picture, noised by `strength` in (0, 1] and made again under the prompt."""
        values = _common(request, [request]) | {
            "image": fit(picture, request),
            "strength": _strength(strength, request),
        }
        made = _run(self.other(AutoPipelineForImage2Image), values)[0]
        return Made(made, "image", parameters=asdict(request) | {"strength": strength}, parent=parent)

    def inpaint(
        self, picture: PIL.Image.Image, mask: PIL.Image.Image, request: Request, strength: float, *, parent: str = ""
    ) -> Made:
        """The part of the picture where the mask is white, made again under the prompt; the rest is kept exactly."""
        fitted = fit(picture, request)
        mask = mask.convert("L").resize(fitted.size, PIL.Image.Resampling.NEAREST)
        values = _common(request, [request]) | {
            "image": fitted,
            "mask_image": mask,
            "strength": _strength(strength, request),
        }
        values |= {"width": request.width, "height": request.height}
        made = _run(self.other(AutoPipelineForInpainting), values)[0].resize(fitted.size)
        return Made(
            PIL.Image.composite(made, fitted, mask), "inpaint", mask, asdict(request) | {"strength": strength}, parent
        )


def _common(first: Request, requests: Sequence[Request]) -> dict[str, Any]:
    values: dict[str, Any] = {
        "prompt": [request.prompt for request in requests],
        "num_inference_steps": first.steps,
        "guidance_scale": first.guidance,
        "generator": [torch.Generator().manual_seed(request.seed) for request in requests],
    }
    if any(request.negative for request in requests):
        values["negative_prompt"] = [request.negative for request in requests]
    return values


def _run(pipeline: Any, values: dict[str, Any]) -> list[PIL.Image.Image]:
    try:
        with torch.no_grad():
            arrays = pipeline(**values, output_type="np").images
    except (ValueError, TypeError, RuntimeError) as error:
        raise ModelError(
            f"{type(pipeline).__name__} could not make the image: {error}",
            hint="check that size, negative prompt and steps fit this family",
        ) from error
    if not np.isfinite(arrays).all():
        raise ModelError(f"{type(pipeline).__name__} made values that are not numbers", hint="use dtype float32")
    return [PIL.Image.fromarray((array * 255).round().astype(np.uint8)) for array in arrays]


def fit(picture: PIL.Image.Image, request: Request) -> PIL.Image.Image:
    """The middle of the picture, cut to the request's shape and resized to it."""
    scale = max(request.width / picture.width, request.height / picture.height)
    width, height = request.width / scale, request.height / scale
    left, top = (picture.width - width) / 2, (picture.height - height) / 2
    box = (left, top, left + width, top + height)
    return picture.convert("RGB").resize((request.width, request.height), PIL.Image.Resampling.LANCZOS, box)


def _strength(strength: float, request: Request) -> float:
    if not 0 < strength <= 1 or int(strength * request.steps) < 1:
        raise ModelError(
            f"strength {strength} of {request.steps} steps leaves nothing to do",
            hint="strength lies in (0, 1], and strength x steps is at least 1",
        )
    return strength


def drawn_mask(seed: int, width: int, height: int) -> PIL.Image.Image:
    """A soft-cornered region of 10 to 40 % of the picture, for inpainting: mode "L", 0 or 255."""
    rng = np.random.default_rng((seed, 21))
    share, shape = rng.uniform(0.1, 0.4), rng.uniform(0.6, 1.6)
    half_width, half_height = np.sqrt(share * shape) / 2, np.sqrt(share / shape) / 2
    x, y = rng.uniform(half_width, 1 - half_width), rng.uniform(half_height, 1 - half_height)
    rows, columns = np.mgrid[0:height, 0:width]
    inside = np.abs((columns / width - x) / half_width) ** 4 + np.abs((rows / height - y) / half_height) ** 4 <= 1
    return PIL.Image.fromarray(inside.astype(np.uint8) * 255)
