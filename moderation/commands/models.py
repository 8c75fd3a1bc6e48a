"""`palisade models`: the files of weights."""

from typing import Annotated

import typer
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn
from rich.table import Table

from detectors.catalogue import CatalogueEntry, catalogue
from detectors.runtime import verify_weights
from moderation.commands.console import err, out, say_error
from moderation.errors import ModelError
from moderation.registry.pull import Puller
from moderation.settings import Settings, settings

app = typer.Typer(help="The files of weights that detectors load.", no_args_is_help=True)

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
