"""The reference pages that are made from the code: `python -m tests.reference --write` (or `make docs`).

A test fails when a page is not what the code says, and when something has no help text.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import typer.main
from fastapi import FastAPI
from pydantic import SecretStr
from pydantic_core import PydanticUndefined

from api.app import create_app
from detectors.catalogue import catalogue
from detectors.registry import DETECTORS
from moderation.application import Application
from moderation.keys.service import SCOPES
from moderation.settings import PREFIX, Settings
from palisade import app as cli

DOCS = Path(__file__).parents[1] / "docs"
MADE = "<!-- Made from the code by `make docs`: edit the help texts there, not this page. -->\n\n"


def settings_page() -> str:
    rows = ["# Settings\n", "Environment variables, or lines in a file `.env` where Palisade is started.\n"]
    rows += ["| variable | default | meaning |", "|---|---|---|"]
    for name, field in Settings.model_fields.items():
        default = "" if field.default in (PydanticUndefined, None, "", ()) else f"`{field.default}`"
        kind = " (secret)" if field.annotation == SecretStr | None else ""
        rows.append(f"| `{PREFIX}{name.upper()}`{kind} | {default} | {field.description} |")
    return MADE + "\n".join(rows) + "\n"


def commands(group: click.Command, path: str) -> Iterator[tuple[str, click.Command]]:
    """Every command below a group, with the words that call it."""
    if isinstance(group, click.Group) or hasattr(group, "commands"):
        for name, command in group.commands.items():
            yield from commands(command, f"{path} {name}")
    else:
        yield path, group


def commands_page() -> str:
    sections = [
        "# Commands\n",
        "Every command answers `--help`. Errors go to standard error and end with exit code 1.\n",
    ]
    for path, command in commands(typer.main.get_command(cli), "palisade"):
        sections.append(f"## `{path}`\n\n{_unwrap(command.help or '')}\n")
        for parameter in command.params:
            if getattr(parameter, "hidden", False) or parameter.name == "help":
                continue
            names = ", ".join(f"`{name}`" for name in [*parameter.opts, *parameter.secondary_opts])
            if parameter.param_type_name == "argument":
                names = f"`{(parameter.name or '').upper()}`"
            sections.append(f"- {names}: {getattr(parameter, 'help', '') or ''}")
        sections.append("")
    return MADE + "\n".join(sections)


def _unwrap(text: str) -> str:
    """Paragraphs of a docstring, each on one line."""
    return "\n\n".join(" ".join(part.split()) for part in text.split("\n\n"))


def openapi(app: FastAPI) -> dict[str, Any]:
    return app.openapi()


def api_page() -> str:
    document = openapi(create_app(Application(Settings())))
    rows = [
        "# HTTP interface\n",
        "The whole description, with schemas and examples, is at `/openapi.json`. Requests carry "
        "`Authorization: Bearer <key>`; `palisade serve --local` needs none. Errors have one shape: "
        '`{"error": {"code", "message", "hint"}}`.\n',
        "## Scopes of keys\n",
        *[f"- `{scope}`: {meaning}" for scope, meaning in SCOPES.items()],
        "",
    ]
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            rows.append(f"## `{method.upper()} {path}`\n\n{_unwrap(operation.get('description', ''))}\n")
            for parameter in operation.get("parameters", []):
                about = parameter.get("description", "") or parameter["schema"].get("description", "")
                rows.append(f"- `{parameter['name']}` ({parameter['in']}) {about}".rstrip())
            for kind in operation.get("requestBody", {}).get("content", {}):
                rows.append(f"- body: `{kind}`")
            answers = ", ".join(f"`{status}`" for status in operation["responses"])
            rows.append(f"- answers: {answers}\n")
    return MADE + "\n".join(rows)


def detectors_page() -> str:
    rows = [
        "# Detectors and models\n",
        "What each detector can find. `score` and `fpr` are on the labels that say so; `fpr` is the share of benign "
        "images that score at least as high. Evidence fields are readable by policies as `label.field`.\n",
    ]
    for detector in DETECTORS:
        summary = _unwrap((detector.__doc__ or "").strip())
        weights = ", ".join(f"`{name}`" for name in detector.weights) or "none"
        rows.append(
            f"## `{detector.name}`\n\n{summary}\n\nWeights: {weights}. About {detector.cost_ms:g} ms on one core.\n"
        )
        for label in detector.labels:
            has = " and ".join(word for word, on in (("score", label.scored), ("fpr", label.calibrated)) if on)
            rows.append(f"- **`{label.name}`**{f' ({has})' if has else ''}: {label.help}")
            rows += [f"  - `{name}` ({field.type}): {field.help}" for name, field in label.fields.items()]
        rows.append("")
    rows += [
        "## Models\n",
        "| model | what | licence | SHA-256 of the published file | sources |",
        "|---|---|---|---|---|",
    ]
    for name, entry in catalogue().items():
        sources = "; ".join(str(source) for source in entry.sources)
        rows.append(f"| `{name}` | {entry.title} | {entry.licence} | `{entry.sha256}` | {sources} |")
    return MADE + "\n".join(rows) + "\n"


PAGES = {
    "settings.md": settings_page,
    "commands.md": commands_page,
    "api.md": api_page,
    "detectors.md": detectors_page,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help="write the pages, not only name the stale ones")
    write = parser.parse_args().write
    for name, page in PAGES.items():
        path = DOCS / name
        if not path.exists() or path.read_text() != page():
            print(f"{name} {'written' if write else 'is stale'}")
            if write:
                path.write_text(page())


if __name__ == "__main__":
    main()
