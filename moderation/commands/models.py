"""`palisade models`: the files of weights."""

from pathlib import Path
from typing import Annotated

import typer
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn
from rich.table import Table

from detectors.catalogue import CatalogueEntry, catalogue
from detectors.runtime import verify_weights
from moderation.application import Application
from moderation.commands.console import err, out, say_error
from moderation.errors import ModelError
from moderation.registry.pull import Puller
from moderation.registry.records import CHANGED, failed_gates
from moderation.registry.service import ModelRegistry
from moderation.settings import Settings, settings

app = typer.Typer(
    help="The files of weights that detectors load, and the models that you trained.", no_args_is_help=True
)
ACTOR = "command line"

Names = Annotated[list[str] | None, typer.Argument(help="Models of the catalogue; all when none is named.")]


def puller(config: Settings) -> Puller:
    return Puller(config.models, config.models_sources, config.package_index, config.hub_url)


@app.command()
def pull(names: Names = None) -> None:
    """Fetch what is missing, check it, prepare it, put it in place. Can be interrupted and goes on from there."""
    entries = _chosen(names)
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
        console=err,
        disable=not err.is_terminal,
    ) as bar:
        tasks = {name: bar.add_task(name, total=None, start=False) for name in entries}

        def progress(name: str, done: int, total: int) -> None:
            bar.start_task(tasks[name])
            bar.update(tasks[name], completed=done, total=total or None)

        fetched = puller(settings()).pull(entries, progress)
    present = len(entries) - len(fetched)
    out.print(f"{len(fetched)} fetched, {present} already there, in {settings().models}")


@app.command("list")
def list_models() -> None:
    """What the catalogue has, under which licence, from where, and whether it is here."""
    table = Table("model", "what", "licence", "size", "sources", "here")
    for name, entry in catalogue().items():
        here = "yes" if puller(settings()).present(name, entry) else "no"
        sources = ", ".join(str(source) for source in entry.sources)
        table.add_row(entry.identity(name), entry.title, entry.licence, f"{entry.bytes / 1e6:.1f} MB", sources, here)
    out.print(table)


@app.command()
def verify(names: Names = None) -> None:
    """Check the SHA-256 of every model that is in place. Exit code 1 when one is missing or differs."""
    failed = False
    for name, entry in _chosen(names).items():
        try:
            path = verify_weights(name, entry, settings().models)
        except ModelError as error:
            failed = True
            say_error(error)
        else:
            out.print(f"{entry.identity(name)}  {path}")
    if failed:
        raise typer.Exit(1)


def _chosen(names: list[str] | None) -> dict[str, CatalogueEntry]:
    entries = dict(catalogue())
    unknown = sorted(set(names or ()) - set(entries))
    if unknown:
        raise ModelError(
            f"{', '.join(unknown)} is not in the catalogue.", hint=f"It has {', '.join(sorted(entries))}.", status=404
        )
    return {name: entries[name] for name in names or entries}


Detector = Annotated[str, typer.Argument(help="The detector: synthetic or swap.")]
Digest = Annotated[str, typer.Argument(help="The beginning of the model's SHA-256.")]


@app.command()
def register(
    detector: Detector,
    folder: Annotated[
        Path, typer.Argument(help="Folder with its ONNX, card and calibration, as `palisade train` writes.")
    ],
) -> None:
    """Take a trained model over, as a candidate. Nothing is measured with it yet."""
    model = registry().register(detector, folder, actor=ACTOR)
    out.print(f"{model.identity} is {model.state}", highlight=False)
    for problem in failed_gates(model.name, model.card):
        out.print(f"  cannot be promoted: {problem}", highlight=False)


@app.command()
def registered() -> None:
    """The models that were registered, and what each is used for."""
    table = Table("model", "state", "share", "since")
    for model in registry().models():
        share = f"{model.share:.0%}" if model.share else ""
        table.add_row(model.identity, model.state, share, f"{model.changed_at:%Y-%m-%d %H:%M}")
    out.print(table)


@app.command()
def promote(
    detector: Detector,
    digest: Digest,
    share: Annotated[float, typer.Option(help="Of images that a canary measures; at most 0.5.")] = 0.05,
) -> None:
    """One step on: candidate, shadow, canary, active. Its evaluation must pass the gates (docs/training.md)."""
    model = registry().promote(detector, digest, actor=ACTOR, share=share)
    out.print(f"{model.identity} is {model.state}", highlight=False)


@app.command()
def retire(detector: Detector, digest: Digest) -> None:
    """Take a model out of use. Where none is active, the shipped one serves."""
    model = registry().retire(detector, digest, actor=ACTOR)
    out.print(f"{model.identity} is {model.state}", highlight=False)


@app.command()
def rollback(detector: Detector) -> None:
    """Serve the model again that was active before. Every process follows within seconds."""
    out.print(f"{registry().roll_back(detector, actor=ACTOR)} serves again", highlight=False)


@app.command()
def drift(detector: Detector) -> None:
    """What each model said last week beside the four weeks before, and how shadows disagree with what serves."""
    table = Table("model", "images", "before", "flagged", "before", "stability index")
    for found in registry().drift(detector):
        index = "too few images" if found.psi is None else f"{found.psi:.3f}{' changed' if found.psi > CHANGED else ''}"
        shares = (f"{found.flagged:.2%}", f"{found.flagged_before:.2%}")
        table.add_row(found.model, str(found.images), str(found.images_before), *shares, index)
    out.print(table)
    for model, counts in registry().disagreement(detector).items():
        out.print(
            f"{model} beside what serves, on {counts['shadowed']} images: both flag {counts['both']}, only it "
            f"{counts['only_shadow']}, only the other {counts['only_active']}",
            highlight=False,
        )


def registry() -> ModelRegistry:
    return Application(settings()).registry
