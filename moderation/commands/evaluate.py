"""`palisade evaluate`: what the detectors of generated images are worth, on what they never saw."""

import json
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from detectors.nsfw import NsfwDetector
from detectors.runtime import Runtime
from detectors.synthetic import WEIGHTS, SyntheticDetector
from detectors.training import targets
from detectors.training.corpus import Corpus
from detectors.training.evaluate import measure, measure_shipped, shipped_choice
from detectors.training.report import SUMMARY, html, summary_rows
from detectors.training.robustness import Copy, Trial
from detectors.training.synthetic import Config
from detectors.training.targets import added_time, nsfw_by_kind, shipped_cards
from moderation.commands.console import err, out
from moderation.commands.train import Cache, Data, Every, corpus_of, features_in, say
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
    pictures: Annotated[
        int,
        typer.Option(
            min=0,
            help="Pictures of each class that every laundering step and copy is measured on, where time is short: 0.",
        ),
    ] = 40,
    decoders: Annotated[
        Path | None,
        typer.Option(help="Folder of FLUX.2's tiny autoencoder, to tell real pictures from their copies by it."),
    ] = None,
) -> None:
    """Measure `synthetic` beside plain CLIP and a baseline of the files' metadata.

    By default every family of generators (with its prompts), and every source of real images, is scored by models that were
    trained without it. `--shipped` scores another set with the model that is served.
    """
    corpus = corpus_of(images, cache, every)
    if shipped:
        figures = measure_shipped(corpus, Config(), Runtime(settings().models))
    else:
        figures = measure(corpus, images, Config(), None, say, shipped_choice())
        figures |= _beside(corpus, cache, pictures, decoders)
    if report:
        report.write_text(html(figures, {e.file: e.path for e in corpus.examples}), encoding="utf-8")
        err.print(f"report: {report}")
    if as_json:
        print(json.dumps(figures, indent=1))  # noqa: T201 - the command's result
        return
    for view in next(iter(figures["models"].values())):
        _show(view, {name: model[view] for name, model in figures["models"].items()})
    if not shipped:
        table = Table(*targets.HEAD, title="targets")
        for row in targets.rows(figures):
            table.add_row(*row)
        out.print(table)


def _beside(corpus: Corpus, cache: Path | None, pictures: int, decoders: Path | None) -> dict[str, Any]:
    """What is not of splits: laundering steps, copies by autoencoders, the other shipped models, `nsfw` by kind, time."""
    runtime = Runtime(settings().models)
    beside: dict[str, Any] = {"shipped": shipped_cards(WEIGHTS)}
    features = features_in(cache)
    choice = shipped_choice()
    if choice:
        beside["added_time"] = added_time(corpus, features.detector, SyntheticDetector(runtime))
    if choice and pictures:
        beside["nsfw"] = nsfw_by_kind(corpus, NsfwDetector(runtime), pictures)
        trial = Trial.of(corpus, features, choice, count=pictures, folds=Config().folds, told=say)
        beside["laundering"] = trial.laundering()
        copying, beside["no_reconstructions"] = _copiers(decoders)
        beside["reconstructions"] = [trial.reconstruction(copy, name) for name, copy in copying.items()]
    return beside


def _copiers(decoders: Path | None) -> tuple[Mapping[str, Copy], str]:
    """Autoencoders by name, and why there is none."""
    if not find_spec("torch") or not find_spec("diffusers"):
        return {}, "needs the extra: palisade[train]"
    from detectors.training.copies import copiers  # noqa: PLC0415 - torch is not in the base install

    return copiers(decoders), ""


def _show(view: str, models: dict[str, Any]) -> None:
    table = Table(*SUMMARY, title=view)
    for row in summary_rows(models):
        table.add_row(*row)
    out.print(table)
