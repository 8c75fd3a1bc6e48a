"""ONNX Runtime sessions over verified local files. Nothing here downloads."""

import hashlib
import json
import os
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

# Since 1.29 ONNX Runtime reports to its makers unless this is set before it is first imported.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"

import onnxruntime as ort

from detectors.catalogue import CatalogueEntry, catalogue
from detectors.errors import ModelError
from detectors.preparation import PREPARATION

ort.set_default_logger_severity(3)


@dataclass(frozen=True)
class Prepared:
    """What `palisade models pull` leaves beside a prepared file, as `<file>.json`.

    source: SHA-256 of the published file. preparation: version of the code that prepared it.
    sha256: of the prepared file itself.
    """

    source: str
    preparation: int
    sha256: str

    def write(self, weights: Path) -> None:
        record = weights.with_name(weights.name + ".json")
        record.write_text(json.dumps(self.__dict__, indent=1) + "\n")

    @classmethod
    def read(cls, weights: Path) -> "Prepared":
        record = weights.with_name(weights.name + ".json")
        try:
            return cls(**json.loads(record.read_text()))
        except (OSError, ValueError, TypeError) as error:
            raise ModelError(f"{record} cannot be read: {error}", hint="Run `palisade models pull`.") from error


def file_sha256(path: Path) -> str:
    """SHA-256 of a file, read in pieces."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def verify_weights(name: str, entry: CatalogueEntry, folder: Path) -> Path:
    """The path of verified weights. Raises ModelError when they are missing, outdated or not what was prepared."""
    path = folder / entry.file
    if not path.is_file():
        raise ModelError(
            f"The model {name!r} is missing: there is no {path}.", hint=f"Run `palisade models pull {name}`."
        )
    prepared = Prepared.read(path)
    if (prepared.source, prepared.preparation) != (entry.sha256, PREPARATION):
        raise ModelError(
            f"The model {name!r} in {path} was made from another file, or by another version of Palisade.",
            hint=f"Run `palisade models pull {name}`.",
        )
    digest = file_sha256(path)
    if digest != prepared.sha256:
        raise ModelError(
            f"The model {name!r} in {path} has SHA-256 {digest}, expected {prepared.sha256}.",
            hint=f"The file was changed or damaged: delete it and run `palisade models pull {name}`.",
        )
    return path


def bare_session(model: bytes | Path) -> ort.InferenceSession:
    """A session of a model that is in no catalogue: of an export that is compared with what it was made from."""
    return ort.InferenceSession(model if isinstance(model, bytes) else str(model), providers=["CPUExecutionProvider"])


class Runtime:
    """Loads each model of the catalogue once, verified, and shares its session between threads.

    threads: that one inference may use. 1 gives the most scans a second where several run at once; more
        shorten a single scan.
    """

    def __init__(self, folder: Path, *, threads: int = 1, entries: Mapping[str, CatalogueEntry] | None = None) -> None:
        self.folder = folder
        self.threads = threads
        self.entries = entries if entries is not None else catalogue()
        self._sessions: dict[str, ort.InferenceSession] = {}
        self._lock = threading.Lock()

    def identity(self, name: str) -> str:
        """`name@digest` of a model in the catalogue. Raises ModelError when there is none of that name."""
        return self._entry(name).identity(name)

    def verify(self, name: str) -> Path:
        """The path of a model's verified file. Raises ModelError."""
        return verify_weights(name, self._entry(name), self.folder)

    def session(self, name: str) -> ort.InferenceSession:
        """The session of a model. Raises ModelError when its file is missing or differs."""
        with self._lock:
            if name not in self._sessions:
                self._sessions[name] = self.load(self.verify(name))
            return self._sessions[name]

    def load(self, path: Path) -> ort.InferenceSession:
        """A session of an ONNX file with this runtime's options, not cached and not verified."""
        options = ort.SessionOptions()
        options.intra_op_num_threads = self.threads
        options.inter_op_num_threads = 1
        # Without the arena a session returns its activations to the system: 0.2 GB less at rest, within noise in time.
        options.enable_cpu_mem_arena = False
        try:
            return ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # ONNX Runtime raises its own classes, which share no other base
            raise ModelError(f"ONNX Runtime refuses {path}: {error}") from error

    def _entry(self, name: str) -> CatalogueEntry:
        try:
            return self.entries[name]
        except KeyError:
            raise ModelError(
                f"There is no model {name!r} in the catalogue.", hint=f"It has {', '.join(sorted(self.entries))}."
            ) from None
