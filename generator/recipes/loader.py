"""Reads recipes; an error names file, line, field and a mend."""

from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from generator.errors import RecipeError
from generator.recipes.document import Group, Post, Recipe, Strict

LARGEST = 1_000_000
Where = tuple[int | str, ...]


def shipped() -> list[Path]:
    """The recipes that come with the generator, by name."""
    return sorted(Path(__file__).parent.glob("*.yaml"))


def load(source: str | Path) -> Recipe:
    """The recipe in a file, or a shipped one by its name. Raises RecipeError."""
    path = Path(source)
    if not path.is_file():
        found = [file for file in shipped() if file.stem == str(source)]
        if not found:
            names = ", ".join(file.stem for file in shipped())
            raise RecipeError(f"there is no recipe {source}", hint=f"name a file, or one of: {names}")
        path = found[0]
    if path.stat().st_size > LARGEST:
        raise RecipeError(f"is larger than {LARGEST} bytes", file=str(path), hint="split it")
    return parse(path.read_bytes(), str(path))


def parse(source: bytes, file: str) -> Recipe:
    """The recipe in YAML text. Raises RecipeError with file, line and field."""
    try:
        text = source.decode()
        root = yaml.compose(text, Loader=yaml.SafeLoader)
        _check_keys(root, file)
        values = yaml.safe_load(text)
    except UnicodeDecodeError as error:
        raise RecipeError(f"is not UTF-8: {error}", file=file, hint="save it as UTF-8") from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = mark.line + 1 if mark else 0
        raise RecipeError(f"is not YAML: {error}", file=file, line=line, hint="mend the syntax") from error
    if not isinstance(values, dict):
        raise RecipeError("is not a mapping", file=file, line=1, hint="begin with `name:`")
    try:
        return Recipe.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        where = tuple(first["loc"])
        raise RecipeError(
            _message(first),
            file=file,
            line=_line(root, where),
            field=".".join(map(str, where)),
            hint=_hint(first, where),
        ) from error


def _check_keys(node: Any, file: str) -> None:
    """Refuses a key that stands twice in one mapping: YAML would keep the last without a word."""
    if isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for key, value in node.value:
            if key.value in seen:
                raise RecipeError(
                    "stands twice", file=file, line=key.start_mark.line + 1, field=str(key.value), hint="delete one"
                )
            seen.add(key.value)
            _check_keys(value, file)
    elif isinstance(node, yaml.SequenceNode):
        for value in node.value:
            _check_keys(value, file)


def _line(node: Any, where: Where) -> int:
    """The line of the deepest part of `where` that the document has."""
    line = int(node.start_mark.line) + 1
    for part in where:
        if isinstance(node, yaml.MappingNode):
            pair = next(((key, value) for key, value in node.value if key.value == str(part)), None)
            if pair is None:
                return line
            line, node = int(pair[0].start_mark.line) + 1, pair[1]
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
            node = node.value[part]
            line = int(node.start_mark.line) + 1
    return line


def _message(problem: Any) -> str:
    value = problem.get("input")
    shown = f" (it is {value!r})" if isinstance(value, str | int | float | bool) else ""
    return f"{str(problem['msg']).removeprefix('Value error, ')}{shown}"


def _hint(problem: Any, where: Where) -> str:
    if problem["type"] == "extra_forbidden":
        kinds: dict[str, type[Strict]] = {"groups": Group, "post": Post}
        kind = kinds.get(str(where[0]) if len(where) > 1 else "", Recipe)
        return f"known fields: {', '.join(sorted(kind.model_fields))}"
    if problem["type"] == "missing":
        return f"add `{where[-1]}:`"
    return "docs/generator.md lists every field and its bounds"
