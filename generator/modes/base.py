"""What every mode yields."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import PIL.Image

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
