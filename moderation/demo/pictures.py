"""Harmless pictures, drawn by code: landscapes, tiles, paper cuts and noise, none like another."""

import io
from collections.abc import Mapping, Sequence

import numpy as np
import PIL.Image
import PIL.ImageDraw
from PIL.PngImagePlugin import PngInfo

SIZE = (640, 480)

Colour = tuple[int, int, int]


def landscape(seed: int) -> PIL.Image.Image:
    """Hills under a sky, with a sun."""
    random = np.random.default_rng(seed)
    width, height = SIZE
    low, high = random.integers(120, 255, 3), random.integers(40, 200, 3)
    fall = np.linspace(0, 1, height)[:, None, None]
    sky = np.broadcast_to(high * (1 - fall) + low * fall, (height, width, 3))
    grain = random.normal(0, 4, (height, width, 1))
    image = PIL.Image.fromarray(np.clip(sky + grain, 0, 255).astype(np.uint8))
    draw = PIL.ImageDraw.Draw(image)
    x, y, radius = (int(random.integers(*span)) for span in ((60, width - 60), (40, 160), (20, 60)))
    draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=_colour(random, 200, 256))
    across = np.arange(width)
    for depth in range(4):
        waves = [
            random.uniform(8, 40) * np.sin(across / random.uniform(30, 160) + random.uniform(0, 6)) for _ in range(3)
        ]
        ridge = 220 + depth * 60 + np.sum(waves, axis=0)
        shape = [(0, height), *zip(across.tolist(), ridge.tolist(), strict=True), (width, height)]
        draw.polygon(shape, fill=_colour(random, 20, 190 - depth * 30))
    return image


def shapes(seed: int) -> PIL.Image.Image:
    """Cut paper: overlapping discs and rectangles on a plain ground."""
    random = np.random.default_rng(seed)
    image = PIL.Image.new("RGB", SIZE, _colour(random, 180, 256))
    draw = PIL.ImageDraw.Draw(image)
    for number in range(int(random.integers(12, 30))):
        x, y = (int(random.integers(0, side)) for side in SIZE)
        wide, high = (int(size) for size in random.integers(30, 220, 2))
        draw_shape = draw.ellipse if number % 2 else draw.rectangle
        draw_shape((x, y, x + wide, y + high), fill=_colour(random, 30, 240))
    return image


def tiles(seed: int) -> PIL.Image.Image:
    """A mosaic, with grain."""
    random = np.random.default_rng(seed)
    coarse = random.integers(30, 230, (int(random.integers(5, 12)), int(random.integers(6, 16)), 3)).astype(np.uint8)
    image = PIL.Image.fromarray(coarse).resize(SIZE, PIL.Image.Resampling.NEAREST)
    grain = random.normal(0, 6, (SIZE[1], SIZE[0], 3))
    return PIL.Image.fromarray(np.clip(np.asarray(image) + grain, 0, 255).astype(np.uint8))


KINDS = (landscape, shapes, tiles)


def jpeg(image: PIL.Image.Image, quality: int = 88) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()


def png(image: PIL.Image.Image, words: Mapping[str, str]) -> bytes:
    """A PNG with text fields, as generators write them."""
    info, buffer = PngInfo(), io.BytesIO()
    for name, text in words.items():
        info.add_text(name, text)
    image.save(buffer, "PNG", pnginfo=info)
    return buffer.getvalue()


def drawn(seed: int) -> PIL.Image.Image:
    return KINDS[seed % len(KINDS)](seed)


def smaller(image: PIL.Image.Image, size: Sequence[int] = (512, 384)) -> PIL.Image.Image:
    """As others send it on: smaller."""
    return image.resize((size[0], size[1]), PIL.Image.Resampling.LANCZOS)


def _colour(random: np.random.Generator, low: int, high: int) -> Colour:
    red, green, blue = (int(value) for value in random.integers(low, high, 3))
    return red, green, blue
