"""The catalogue of weights: what each file is, must hash to, and may come from (`catalogue.toml`)."""

import hashlib
import tomllib
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from detectors.errors import ModelError
from detectors.preparation import PREPARATION, Preparation

Digest = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]


class WheelSource(BaseModel):
    """A member of a wheel on the configured Python package index."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    wheel: str
    version: str
    member: str

    def __str__(self) -> str:
        return f"package index, {self.wheel} {self.version}"


class HubSource(BaseModel):
    """A file on a Hugging Face model hub, at a revision that cannot move."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    hub: str
    revision: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{40}$")]
    path: str

    def __str__(self) -> str:
        return f"model hub, {self.hub} at {self.revision[:12]}"


Source = WheelSource | HubSource


class CatalogueEntry(BaseModel):
    """One file of weights. `sha256` and `bytes` are of the published file, before it is prepared."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    title: str
    file: Annotated[str, StringConstraints(pattern=r"^[\w.-]+$")]
    sha256: Digest
    bytes: Annotated[int, Field(gt=0)]
    licence: str
    prepared: Preparation
    sources: tuple[Source, ...]

    def identity(self, name: str) -> str:
        """`name@digest`: what findings and heads call these weights as they are served.

        The digest is of the published file, and of how it was prepared where that changed it.
        """
        if self.prepared == "as-is":
            return f"{name}@{self.sha256[:12]}"
        return f"{name}@{hashlib.sha256(f'{self.sha256}/{self.prepared}/{PREPARATION}'.encode()).hexdigest()[:12]}"


def read_catalogue(path: Path) -> Mapping[str, CatalogueEntry]:
    """The entries of a catalogue file by name. Raises ModelError naming the entry and field that are wrong."""
    try:
        tables = tomllib.loads(path.read_text())
        return {name: CatalogueEntry.model_validate(table) for name, table in tables.items()}
    except tomllib.TOMLDecodeError as error:
        raise ModelError(f"{path}: {error}", hint="Correct the TOML syntax.") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ModelError(f"{path}: entry {error.title}, field {where}: {first['msg']}") from error


@cache
def catalogue() -> Mapping[str, CatalogueEntry]:
    """The catalogue that ships with this package."""
    return read_catalogue(Path(__file__).with_name("catalogue.toml"))
