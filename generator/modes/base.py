"""What every mode yields."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import PIL.Image
import PIL.ImageOps

from generator.errors import RecipeError

LARGEST = 1024
Pixels = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Made:
    """One image made by a mode.

    image: RGB. label: what it is an example of. mask: mode "L", 255 where the picture was changed, same size; None
    where all of it was. parameters: JSON values that make it again. parent: digest or name of the picture it came from.
    """

    image: PIL.Image.Image
    label: str
    mask: PIL.Image.Image | None = None
    parameters: Mapping[str, Any] = field(default_factory=dict)
    parent: str = ""


def opened(path: Path) -> PIL.Image.Image:
    """The picture upright, in RGB, bounded to LARGEST on its longer side. Raises RecipeError."""
    try:
        with PIL.Image.open(path) as file:
            picture = PIL.ImageOps.exif_transpose(file).convert("RGB")
    except (OSError, PIL.Image.DecompressionBombError) as error:
        raise RecipeError(f"{path} is not a picture: {error}", hint="take it out of the folder") from error
    picture.thumbnail((LARGEST, LARGEST), PIL.Image.Resampling.LANCZOS)
    return picture
