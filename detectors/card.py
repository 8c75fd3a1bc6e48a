"""The card of a model that this project trained: what it is, what it was made from, how good it is, and its limits."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from detectors.errors import ModelError
from detectors.runtime import Runtime, file_sha256


@dataclass(frozen=True)
class Card:
    """Kept as `<name>.card.json` beside `<name>.onnx`.

    sha256: of the ONNX file. backbone: `name@digest` of the model whose features it reads, as it is served.
    training: everything that `palisade train` needs to make it again: config, choice, digest of the data, code version.
    figures: measured on held-out data. limits: what the figures do not say, in sentences.
    """

    name: str
    sha256: str
    backbone: str
    prevalence: float
    training: dict[str, Any]
    figures: dict[str, Any]
    limits: tuple[str, ...]

    @property
    def identity(self) -> str:
        """`name@digest`, for findings and calibrations."""
        return f"{self.name}@{self.sha256[:12]}"

    def write(self, folder: Path) -> None:
        path = folder / f"{self.name}.card.json"
        part = path.with_suffix(".part")
        part.write_text(json.dumps(asdict(self), indent=1) + "\n")
        part.replace(path)

    @classmethod
    def read(cls, folder: Path, name: str) -> "Card":
        """Raises ModelError when the card is missing or malformed."""
        path = folder / f"{name}.card.json"
        try:
            values = json.loads(path.read_text())
            return cls(**{**values, "limits": tuple(values["limits"])})
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise ModelError(
                f"The model card {path} cannot be read: {error}", hint=f"Make it anew with `palisade train {name}`."
            ) from error


def verified(folder: Path, name: str, runtime: Runtime, backbone: str) -> tuple[Card, Path]:
    """A trained model's card and file. Raises ModelError unless the file is the card's and the backbone is served."""
    card = Card.read(folder, name)
    path = folder / f"{name}.onnx"
    if not path.is_file():
        raise ModelError(f"The model {name!r} has a card and no {path}.", hint=f"Run `palisade train {name}`.")
    digest = file_sha256(path)
    if digest != card.sha256:
        raise ModelError(
            f"The model {path} has SHA-256 {digest}, its card says {card.sha256}.",
            hint="Put the file back that the card describes, or train it anew.",
        )
    served = runtime.identity(backbone)
    if card.backbone != served:
        raise ModelError(
            f"The model {name!r} reads features of {card.backbone}, and {served} is served.",
            hint=f"Serve the backbone it was trained on, or run `palisade train {name}`.",
        )
    return card, path
