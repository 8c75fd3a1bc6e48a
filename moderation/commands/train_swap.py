"""`palisade train swap`."""

import importlib.util
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import Progress
from rich.table import Table

from detectors.runtime import Runtime
from moderation.commands.console import err, out
from moderation.errors import ModelError
from moderation.settings import settings as environment

Faces = Annotated[Path, typer.Argument(help="A folder with a folder of aligned 112 × 112 face crops for each person.")]
Work = Annotated[Path, typer.Option(help="Where checkpoints are kept; an interrupted training goes on from them.")]
Out = Annotated[Path, typer.Option(help="Where swap.onnx, its card and its calibration are written.")]
Autoencoder = Annotated[
    Path | None, typer.Option(help="A folder with FLUX.2's tiny autoencoder: adds the test on reconstructions.")
]
Photos = Annotated[
    list[Path] | None,
    typer.Option(help="Manifest of pictures whose faces are trained and tested on too. May be given again."),
]
Steps = Annotated[
    int | None, typer.Option(min=1, help="Steps of each network; as the shipped model had when left out.")
]
Seed = Annotated[int, typer.Option(min=0, help="Of everything that is drawn at random.")]
Groups = Annotated[int, typer.Option(min=2, help="Groups of people; each is left out once and tested on.")]
Threads = Annotated[int, typer.Option(min=1, help="Processor threads.")]


def swap(
    faces: Faces,
    *,
    work: Work = Path("work/swap"),
    output: Out = Path("work/swap/model"),
    autoencoder: Autoencoder = None,
    photos: Photos = None,
    steps: Steps = None,
    seed: Seed = 5,
    groups: Groups = 2,
    threads: Threads = 1,
) -> None:
    """Train the swap detector on real faces, test it on people left out, and write the model with its card.

    One network and one head on CLIP's tokens are trained for each group of people that is left out, and one of both on
    everybody, which are written. CLIP is read from the models folder.
    """
    if importlib.util.find_spec("torch") is None:
        raise ModelError(
            "Training needs PyTorch.", hint="Install the extra: pip install 'palisade[train]'.", status=501
        )
    from detectors.training import swap_training  # noqa: PLC0415 - torch is not in the base install

    with Progress(console=err, disable=not err.is_terminal) as bar:
        tasks = {name: bar.add_task(name, total=None) for name in swap_training.names(groups)}

        def progress(name: str, done: int, total: int, loss: float | None) -> None:
            what = name if loss is None else f"{name}, loss {loss:.3f}"
            bar.update(tasks[name], completed=done, total=total, description=what)
            if not err.is_terminal and (loss is not None or done % 100 == 0 or done == total):
                err.print(f"{what}: {done} of {total}")

        settings = swap_training.SwapTraining(
            faces,
            work,
            output,
            Runtime(environment().models, threads=threads),
            autoencoder,
            steps=steps,
            seed=seed,
            groups=groups,
            photos=tuple(photos or ()),
        )
        card = swap_training.train(settings, progress)
    table = Table("fakes", "protocol", "pairs", "AUC", "recall at 5 % FPR", "recall at 1 % FPR")
    for row in card["figures"]:
        cells = [_interval(row[name]) for name in ("auc", "recall_at_0.05", "recall_at_0.01")]
        table.add_row(row["kind"], row["protocol"], str(row["pairs"]), *cells)
    out.print(table)
    out.print(f"ECE {card['ece']:.3f} on people left out. Written to {output}: swap@{card['sha256'][:12]}")


def _interval(values: list[float]) -> str:
    return f"{values[0]:.3f} ({values[1]:.3f}–{values[2]:.3f})"
