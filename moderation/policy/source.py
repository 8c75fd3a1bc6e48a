"""Reads a YAML file so that every error can name the line it stands on."""

import re
from collections.abc import Collection, Hashable, Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from moderation.errors import PolicyError

MAX_BYTES = 256 * 1024
MAX_DEPTH = 16

Path = tuple[str | int, ...]
"""Where a value stands: ('rules', 0, 'when')."""


class _Loader(yaml.SafeLoader):
    """YAML 1.1 as usual, but `1e-4` is a number too."""

    yaml_implicit_resolvers = {  # noqa: RUF012 - PyYAML's own interface
        first: [*resolvers] for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }


_Loader.add_implicit_resolver("tag:yaml.org,2002:float", re.compile(r"^[-+]?\d+[eE][-+]?\d+$"), list("-+0123456789"))


@dataclass(frozen=True)
class Source:
    """A document's values, and the line (from 1) of each by its path. `blocks` are texts written after `|`."""

    file: str
    values: Any
    lines: Mapping[Path, int]
    blocks: Collection[Path] = frozenset()

    def line(self, path: Path) -> int:
        """The line of a value, or of what it would stand in."""
        return self.lines.get(self._known(path), 1)

    def is_block(self, path: Path) -> bool:
        """Whether a value is text after `|`, whose lines are those of the file."""
        return self._known(path) in self.blocks

    def _known(self, path: Path) -> Path:
        while path and path not in self.lines:
            path = path[:-1]
        return path

    def at(self, *path: str | int) -> "Place":
        """The place of a value."""
        return Place(self, path)

    def error(self, message: str, path: Path, hint: str = "", *, below: int = 0) -> PolicyError:
        """An error about a value; `below`: lines further down, in a text of several lines."""
        return PolicyError(message, file=self.file, line=self.line(path) + below, field=written(path), hint=hint)


@dataclass(frozen=True)
class Place:
    """Where a value stands in its file."""

    source: Source
    path: Path

    def under(self, name: str | int) -> "Place":
        """The place of a value inside this one."""
        return Place(self.source, (*self.path, name))

    def error(self, message: str, hint: str = "") -> PolicyError:
        """An error about the value here."""
        return self.source.error(message, self.path, hint)


def written(path: Path) -> str:
    """A path as people write it: `rules[0].when`."""
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path)
    return text.removeprefix(".")


def read_source(text: str, file: str) -> Source:
    """The one document of a YAML text. Raises PolicyError: too large, not YAML, aliases, nesting, doubled keys."""
    size = len(text.encode("utf-8", "replace"))
    if size > MAX_BYTES:
        raise PolicyError(
            f"The file has {size} bytes, more than {MAX_BYTES}.", file=file, hint="Lists belong into a bank."
        )
    try:
        _check_events(text, file)
        return _Reader(text, file).read()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise PolicyError(
            f"This is not YAML: {error.problem or error.context}.",
            file=file,
            line=mark.line + 1 if mark else 0,
            hint="Quote values that hold `: ` or ` #`, or start with `!`, `&`, `*` or a quote.",
        ) from None
    except (yaml.YAMLError, ValueError) as error:
        raise PolicyError(f"This is not YAML: {str(error).splitlines()[0]}.", file=file) from None


def _check_events(text: str, file: str) -> None:
    """Refuse what could make a small file large, before anything is built."""
    depth = documents = 0
    for event in yaml.parse(text, Loader=_Loader):
        line = event.start_mark.line + 1 if event.start_mark else 0
        if isinstance(event, yaml.AliasEvent):
            raise PolicyError(f"The alias *{event.anchor} is not allowed.", file=file, line=line, hint="Write it out.")
        if isinstance(event, yaml.DocumentStartEvent):
            documents += 1
            if documents > 1:
                raise PolicyError("A second document starts here.", file=file, line=line, hint="One policy a file.")
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > MAX_DEPTH:
            raise PolicyError(f"Nested deeper than {MAX_DEPTH} levels.", file=file, line=line)


class _Reader:
    """Builds plain values from the nodes of a document, and notes the line of each."""

    def __init__(self, text: str, file: str) -> None:
        self.loader = _Loader(text)
        self.file = file
        self.lines: dict[Path, int] = {}
        self.blocks: set[Path] = set()

    def read(self) -> Source:
        try:
            node = self.loader.get_single_node()
            if node is None:
                raise PolicyError("The file is empty.", file=self.file, line=1)
            return Source(self.file, self._value(node, ()), self.lines, self.blocks)
        finally:
            self.loader.dispose()

    def _value(self, node: yaml.Node, path: Path) -> Any:
        self.lines.setdefault(path, node.start_mark.line + 1)
        if isinstance(node, yaml.SequenceNode):
            return [self._value(item, (*path, index)) for index, item in enumerate(node.value)]
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, path)
        if isinstance(node, yaml.ScalarNode) and node.style == "|":
            self.blocks.add(path)
            self.lines[path] = node.start_mark.line + 2
        return self.loader.construct_object(node)

    def _mapping(self, node: yaml.MappingNode, path: Path) -> dict[Hashable, Any]:
        values: dict[Hashable, Any] = {}
        for key_node, value_node in node.value:
            key = self.loader.construct_object(key_node)
            line = key_node.start_mark.line + 1
            if not isinstance(key, str):
                shown = f"{key_node.value!r:.40}"
                raise PolicyError(
                    f"The key {shown} is not text.", file=self.file, line=line, field=written(path), hint="Quote it."
                )
            here = (*path, key)
            if key in values:
                raise PolicyError(f"`{key}` is given twice.", file=self.file, line=line, field=written(here))
            self.lines[here] = line
            values[key] = self._value(value_node, here)
        return values
