"""Pictures of generative models that come with packages: which model made which, and how they are taken.

Most are the thumbnails with which a program shows what a model makes: small, compressed, some animated, some with a badge.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import PIL.Image

from detectors.training.data import DataError

GROUND = (200, 200, 200, 255)
_NUMBER = re.compile(r"-\d+$")


@dataclass(frozen=True)
class Made:
    """Pictures of one model. files: paths below the packages' root.

    family: of generators, which splits go by. above: the share of the height that a badge takes; it is cut off.
    """

    family: str
    model: str
    files: tuple[str, ...]
    above: float = 0.0

    @classmethod
    def of(cls, row: dict[str, Any]) -> "Made":
        """An entry of a list. Raises KeyError, TypeError or ValueError."""
        above = float(row.get("above", 0))
        if not 0 <= above < 1:
            raise ValueError(f"above is {above}, not a share")
        return cls(row["family"], row["model"], tuple(row["files"]), above)


def taken_from(made: Sequence[Made], folder: Path) -> Iterator[tuple[str, PIL.Image.Image]]:
    """Every listed picture below a folder with its path, in the list's order. Raises DataError for one that is not there."""
    for one in made:
        for file in one.files:
            if not (folder / file).is_file():
                raise DataError(
                    f"{file} is not in the packages.", hint="Is the version that generated.toml lists another?"
                )
            yield file, still(folder / file, one.above)


def facts(made: Sequence[Made], origin: str) -> tuple[str, str, str]:
    """Family, group and model of a listed picture. Raises DataError for one that is not listed."""
    for one in made:
        if origin in one.files:
            return one.family, _NUMBER.sub("", Path(origin).stem), one.model
    raise DataError(
        f"{origin} is not listed.", hint="It was gathered from another list: remove its folder, and gather again."
    )


def still(path: Path, above: float = 0.0) -> PIL.Image.Image:
    """A picture, or the middle frame of an animated one, without its upper part; grey where it is transparent. Raises DataError."""
    try:
        with PIL.Image.open(path) as opened:
            opened.seek(getattr(opened, "n_frames", 1) // 2)
            picture = opened.convert("RGBA")
    except (OSError, EOFError, ValueError, SyntaxError, PIL.Image.DecompressionBombError) as error:
        raise DataError(f"{path} cannot be decoded: {error}") from error
    flat = PIL.Image.alpha_composite(PIL.Image.new("RGBA", picture.size, GROUND), picture).convert("RGB")
    return flat.crop((0, round(flat.height * above), flat.width, flat.height))
