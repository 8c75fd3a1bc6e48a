"""`palisade evaluate`: what the detectors of generated images are worth, on what they never saw."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from detectors.runtime import Runtime
from detectors.training.evaluate import measure, measure_shipped
from detectors.training.report import SUMMARY, html, summary_rows
from detectors.training.synthetic import Config
from moderation.commands.console import err, out
from moderation.commands.train import Cache, Data, Every, corpus_of, say
from moderation.settings import settings


def evaluate(
    images: Data,
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print the figures as JSON.")] = False,
    shipped: Annotated[
        bool, typer.Option("--shipped", help="Score with the shipped model, on images it was not trained on.")
    ] = False,
    report: Annotated[Path | None, typer.Option(help="Write an HTML report with curves to this file.")] = None,
    cache: Cache = None,
    every: Every = 1,
) -> None:
    """Measure `synthetic` beside plain CLIP and a baseline of the files' metadata.

    By default every family of generators (with its prompts), and every source of real images, is scored by models that were
    trained without it. `--shipped` scores another set with the model that is served.
    """
    corpus = corpus_of(images, cache, every)
    if shipped:
        figures = measure_shipped(corpus, Config(), Runtime(settings().models))
    else:
        figures = measure(corpus, images, Config(), None, say)
    if report:
        report.write_text(html(figures), encoding="utf-8")
        err.print(f"report: {report}")
    if as_json:
        print(json.dumps(figures, indent=1))  # noqa: T201 - the command's result
        return
    for view in next(iter(figures["models"].values())):
        _show(view, {name: model[view] for name, model in figures["models"].items()})


def _show(view: str, models: dict[str, Any]) -> None:
    table = Table(*SUMMARY, title=view)
    for row in summary_rows(models):
        table.add_row(*row)
    out.print(table)
