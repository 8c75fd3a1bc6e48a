"""Makes the items of a recipe: picture, checks, post-processing, marks. Says nothing about files."""

import hashlib
import io
import json
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pdqhash
import PIL.Image

from generator.contracts import Guard, Marker
from generator.errors import GuardRefusalError, ModelError, RecipeError
from generator.modes.base import Made, opened
from generator.modes.diffusion import Families, Request, drawn_mask, fit
from generator.modes.invert import invert
from generator.modes.reconstruct import RoundTrip, reconstruct
from generator.modes.swap import self_blended, swapped
from generator.recipes import Item, Recipe
from generator.recipes.document import FROM_WORDS, NEEDS_PICTURES, PROMPTED
from generator.recipes.expansion import prompts, split_of

LEAST = 64
"""Pixels of the shorter side after resizing: the invisible mark needs them, and real pictures are treated alike."""
IMAGES = (".jpg", ".jpeg", ".png", ".webp", ".bmp")


@dataclass(frozen=True)
class Sample:
    """One image of a dataset: its files by ending (image, mask, JSON) and its row in the manifest."""

    key: str
    files: dict[str, bytes]
    row: dict[str, Any]


@dataclass
class Maker:
    """families: for prompted modes; autoencoder: for `reconstruct`; pictures: files, in order, for modes that need them.

    model_seconds: time spent inside `families` and `autoencoder` so far.
    """

    recipe: Recipe
    recipe_digest: str
    guard: Guard
    marker: Marker
    families: Families | None = None
    autoencoder: RoundTrip | None = None
    pictures: Sequence[Path] = ()
    model: str = ""
    model_digest: str = ""
    model_seconds: float = field(default=0.0)

    def __post_init__(self) -> None:
        """Refuses the recipe as a whole, before any work. Raises GuardRefusalError, RecipeError, ModelError."""
        refuse_forbidden(self.recipe, self.guard)
        mode = self.recipe.mode
        if mode in NEEDS_PICTURES and not self.pictures:
            raise RecipeError(f"mode {mode} needs pictures", hint="name a folder of images with --pictures")
        if mode == "swap" and len({path.parent for path in self.pictures}) < 2:
            raise RecipeError("mode swap needs two people", hint="give a folder with one folder for each person")
        if mode in PROMPTED and self.families is None:
            raise ModelError(f"mode {mode} needs a pipeline", hint="name one with --pipeline")
        if mode == "reconstruct" and self.autoencoder is None:
            raise ModelError("mode reconstruct needs an autoencoder", hint="name one with --autoencoder")

    def make(self, items: Sequence[Item]) -> Iterator[Sample]:
        """The samples of some items, in order: one each, two with `pairs`.

        While a batch is checked, encoded and marked, the model already makes the next.
        """
        size = self.recipe.batch if self.recipe.mode in FROM_WORDS else 1
        with ThreadPoolExecutor(1) as hands:
            waiting: Future[list[Sample]] | None = None
            for start in range(0, len(items), size):
                chosen = items[start : start + size]
                following = hands.submit(self._samples, chosen, self._pictures(chosen))
                yield from waiting.result() if waiting else ()
                waiting = following
            yield from waiting.result() if waiting else ()

    def _samples(self, items: Sequence[Item], pictures: Sequence[tuple[Made, PIL.Image.Image | None]]) -> list[Sample]:
        samples = []
        for item, (made, source) in zip(items, pictures, strict=True):
            if source is not None and self.recipe.pairs:
                samples.append(self._sample(item, Made(source, "real", parent=made.parent), real=True))
            samples.append(self._sample(item, made, real=False))
        return samples

    def _pictures(self, items: Sequence[Item]) -> list[tuple[Made, PIL.Image.Image | None]]:
        started = time.perf_counter()
        if self.recipe.mode in FROM_WORDS:
            assert self.families is not None  # noqa: S101 - checked when the maker was made
            made = self.families.text([self._request(item) for item in items])
            self.model_seconds += time.perf_counter() - started
            identity = self.recipe.identity
            return [(replace(one, parent=identity.subject) if identity else one, None) for one in made]
        return [self._edited(item) for item in items]

    def _edited(self, item: Item) -> tuple[Made, PIL.Image.Image]:
        path = self.pictures[item.picture % len(self.pictures)]
        picture, parent = opened(path), f"{path.parent.name}/{path.name}"
        started = time.perf_counter()
        made, source = self._edit(item, picture, path, parent)
        self.model_seconds += time.perf_counter() - started
        return made, source

    def _edit(self, item: Item, picture: PIL.Image.Image, path: Path, parent: str) -> tuple[Made, PIL.Image.Image]:
        request, mode = self._request(item), self.recipe.mode
        if mode == "self_blend":
            return self_blended(picture, item.seed, parent=parent), picture
        if mode == "swap":
            others = [other for other in self.pictures if other.parent != path.parent]
            return swapped(opened(others[item.seed % len(others)]), picture, item.seed, parent=parent), picture
        if mode == "reconstruct" and self.autoencoder is not None:
            return reconstruct(picture, self.autoencoder, parent=parent), picture
        assert self.families is not None  # noqa: S101 - checked when the maker was made
        fitted = fit(picture, request)
        if mode == "image":
            return self.families.image(fitted, request, item.strength, parent=parent), fitted
        if mode == "inpaint":
            mask = drawn_mask(item.seed, request.width, request.height)
            return self.families.inpaint(fitted, mask, request, item.strength, parent=parent), fitted
        return invert(self.families.loaded, fitted, request, parent=parent), fitted

    def _request(self, item: Item) -> Request:
        recipe = self.recipe
        size = {"width": recipe.width, "height": recipe.height, "steps": recipe.steps}
        return Request(item.prompt, item.group.negative, item.seed, guidance=recipe.guidance, **size)

    def _sample(self, item: Item, made: Made, *, real: bool) -> Sample:
        key = f"{item.key}-real" if real else item.key
        verdict = self.guard.check_image(made.image)
        image, mask, form, quality = self._posted(item, made)
        files: dict[str, bytes] = {}
        if verdict.state != "quarantined":
            files[form.replace("jpeg", "jpg")] = self._encoded(item, image, form, quality, real=real)
            if mask is not None:
                files["mask.png"] = encoded(mask, "png", None)
        content = next(iter(files.values()), b"")
        row = self._row(item, made, key, real=real) | {
            "guard_state": verdict.state,
            "guard_scores": json.dumps({name: round(float(v), 6) for name, v in sorted(verdict.scores.items())}),
            "guard_reason": verdict.reason,
            "format": form,
            "quality": quality or 0,
            "width": image.width,
            "height": image.height,
            "kept": bool(files),
            "mask": "mask.png" in files,
            "marked": bool(files) and not real,
            "sha256": hashlib.sha256(content).hexdigest() if content else "",
            "pdq": pdq(image),
            "pixels_sha256": hashlib.sha256(image.tobytes()).hexdigest(),
        }
        files["json"] = (json.dumps(row, sort_keys=True, ensure_ascii=False) + "\n").encode()
        return Sample(key, files, row)

    def _row(self, item: Item, made: Made, key: str, *, real: bool) -> dict[str, Any]:
        return {
            "key": key,
            "label": "real" if real else item.group.label,
            "group": item.group.name,
            "hard_negative": item.group.hard_negative,
            "mode": "" if real else self.recipe.mode,
            "recipe": self.recipe.name,
            "recipe_digest": self.recipe_digest,
            "prompt": "" if real else item.prompt,
            "negative": "" if real else item.group.negative,
            "seed": item.seed,
            "model": "" if real else self.model,
            "model_digest": "" if real else self.model_digest,
            "parent": made.parent,
            "split": split_of(self.recipe, made.parent or item.prompt),
            "parameters": json.dumps(dict(made.parameters), sort_keys=True),
        }

    def _posted(self, item: Item, made: Made) -> tuple[PIL.Image.Image, PIL.Image.Image | None, str, int | None]:
        """Resized, with the format and quality drawn for the item: the same for its real and its made picture."""
        post, rng = self.recipe.post, np.random.default_rng((item.seed, 41))
        factor = float(rng.uniform(*post.resize))
        form = str(rng.choice(post.formats))
        quality = int(rng.integers(post.quality[0], post.quality[1] + 1))
        factor = max(factor, LEAST / min(made.image.size))
        size = (round(made.image.width * factor), round(made.image.height * factor))
        image = made.image.resize(size, PIL.Image.Resampling.BICUBIC)
        mask = made.mask.resize(size, PIL.Image.Resampling.BILINEAR) if made.mask is not None else None
        return image, mask, form, None if form == "png" else quality

    def _encoded(self, item: Item, image: PIL.Image.Image, form: str, quality: int | None, *, real: bool) -> bytes:
        if real:
            return encoded(image, form, quality)
        digest = hashlib.sha256(item.prompt.encode()).hexdigest()
        model = f"{self.model}@{self.model_digest[:12]}"
        return self.marker.mark(image, fmt=form, quality=quality, prompt_digest=digest, model=model, seed=item.seed)


def refuse_forbidden(recipe: Recipe, guard: Guard) -> None:
    """Raises GuardRefusalError when the guard forbids any prompt that the recipe can ask for."""
    for number, (prompt, negative) in enumerate(prompts(recipe)):
        verdict = guard.check_prompt(prompt, negative)
        if not verdict.allowed:
            raise GuardRefusalError(
                f"recipe {recipe.name} is refused as a whole: prompt {number + 1} breaks rule {verdict.rule}",
                rule=verdict.rule or "",
                hint=f"{verdict.reason}; nothing was made",
            )


def pictures_in(folder: Path) -> list[Path]:
    """All picture files below a folder, sorted. Raises RecipeError when there are none."""
    found = sorted(path for path in folder.rglob("*") if path.suffix.lower() in IMAGES and path.is_file())
    if not found:
        raise RecipeError(f"there are no pictures below {folder}", hint=f"formats: {', '.join(IMAGES)}")
    return found


def encoded(image: PIL.Image.Image, form: str, quality: int | None) -> bytes:
    """A picture's bytes, without metadata; JPEG in full colour, as the marker writes it."""
    buffer = io.BytesIO()
    settings: dict[str, Any] = {} if quality is None else {"quality": quality}
    image.save(buffer, form.upper(), **settings, **({"subsampling": 0} if form == "jpeg" else {}))
    return buffer.getvalue()


def pdq(image: PIL.Image.Image) -> str:
    """The PDQ hash as 64 hexadecimal digits."""
    bits, _ = pdqhash.compute(np.asarray(image.convert("RGB")))
    return np.packbits(bits).tobytes().hex()
