"""Finds policies: an operator's own folder first, then those shipped here."""

import re
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path

from moderation.errors import NotFoundError, PolicyError
from moderation.policy.decide import Policy
from moderation.policy.loader import load_policy
from moderation.policy.source import MAX_BYTES
from moderation.policy.vocabulary import Vocabulary, suggestion

_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,63}")


def shipped_folder() -> Path:
    """The folder of the policies that come with Palisade."""
    return Path(str(resources.files("moderation.policy") / "policies"))


def policy_names(folder: Path | None) -> list[str]:
    """The names of all policies, an operator's own and shipped, in alphabetical order."""
    folders = [shipped_folder(), *([folder] if folder else [])]
    return sorted({path.stem for where in folders for path in where.glob("*.yaml") if _NAME.fullmatch(path.stem)})


def find_shipped_or_own(name: str, *, folder: Path | None, vocabulary: Vocabulary) -> Policy:
    """The policy of this name, never a path: for names that come over the network.

    Raises NotFoundError with the names there are, and PolicyError where the file cannot be loaded.
    """
    for where in [*([folder] if folder else []), shipped_folder()]:
        path = where / f"{name}.yaml"
        if _NAME.fullmatch(name) and path.is_file():
            policy = read_policy(path, vocabulary=vocabulary)
            if policy.name != name:
                raise PolicyError(
                    f"The policy in {path.name} calls itself `{policy.name}`.",
                    file=str(path),
                    field="name",
                    hint=f"Write `name: {name}`.",
                )
            return policy
    names = policy_names(folder)
    raise NotFoundError(
        f"There is no policy {name[:64]!r}.", hint=suggestion(name, names), code="policy_not_found", status=422
    )


def find_policy(name_or_path: str, *, folder: Path | None, vocabulary: Vocabulary) -> Policy:
    """A policy by name, or by the path of its file, for an operator: what contains `/` or ends in `.yaml` is a path."""
    if "/" in name_or_path or name_or_path.endswith((".yaml", ".yml")):
        return read_policy(Path(name_or_path), vocabulary=vocabulary)
    return find_shipped_or_own(name_or_path, folder=folder, vocabulary=vocabulary)


def read_policy(path: Path, *, vocabulary: Vocabulary) -> Policy:
    """The policy in a file. Raises PolicyError."""
    try:
        with path.open("rb") as stream:
            data = stream.read(MAX_BYTES + 1)
        text = data.decode("utf-8")
    except OSError as error:
        raise PolicyError(f"The file cannot be read: {error.strerror}.", file=str(path)) from None
    except UnicodeDecodeError as error:
        raise PolicyError(f"The file is not UTF-8: byte {error.start} is wrong.", file=str(path)) from None
    return load_policy(text, file=str(path), vocabulary=vocabulary)


@dataclass(frozen=True)
class PolicyLibrary:
    """The policies of a process, each read once; a changed file is read by the next process.

    default: the name or file of the policy that applies where none is asked for. folder: an operator's own policies.
    """

    default: str
    folder: Path | None
    vocabulary: Vocabulary
    _read: dict[str, Policy] = field(default_factory=dict, repr=False, compare=False)

    def get(self, name: str) -> Policy:
        """The policy of this name, the default one for ''. Never reads a path that the caller names."""
        if name not in self._read:
            find = find_shipped_or_own if name else find_policy
            self._read[name] = find(name or self.default, folder=self.folder, vocabulary=self.vocabulary)
        return self._read[name]

    def read(self, name_or_path: str) -> Policy:
        """The policy of this name or in this file, for an operator at the command line."""
        return find_policy(name_or_path, folder=self.folder, vocabulary=self.vocabulary)

    def text(self, name: str) -> str:
        """The file of the policy of this name, as it is written. Raises NotFoundError."""
        for where in [*([self.folder] if self.folder else []), shipped_folder()]:
            path = where / f"{name}.yaml"
            if _NAME.fullmatch(name) and path.is_file():
                return path.read_text(encoding="utf-8", errors="replace")
        raise NotFoundError(f"There is no policy {name[:64]!r}.", hint=suggestion(name, self.names()))

    def names(self) -> list[str]:
        """The names that `get` takes."""
        return policy_names(self.folder)
