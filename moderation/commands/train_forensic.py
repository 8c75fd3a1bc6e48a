"""`palisade train forensic`."""

import importlib.util
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from moderation.commands.console import err, out
from moderation.errors import ModelError

Data = Annotated[
    list[Path],
    typer.Option(help="Manifest of images, of which the real ones are used: CSV with file, label, source, family."),
]
Work = Annotated[Path, typer.Option(help="Where everything is kept; an interrupted training goes on from it.")]
Kl = Annotated[Path | None, typer.Option(help="A folder with an AutoencoderKL in the diffusers layout.")]
Flux2 = Annotated[Path | None, typer.Option(help="A folder with FLUX.2's tiny autoencoder.")]
Pictures = Annotated[int, typer.Option(min=8, help="Real pictures that are reconstructed, at most.")]
Steps = Annotated[int | None, typer.Option(min=1, help="Steps of each network.")]
Folds = Annotated[int, typer.Option(min=2, help="Groups of sources, and of autoencoders, each left out once.")]
Threads = Annotated[int, typer.Option(min=1, help="Processor threads.")]


def forensic(
    data: Data,
    *,
    work: Work = Path("work/forensic"),
    kl: Kl = None,
    flux2: Flux2 = None,
    pictures: Pictures = 480,
    steps: Steps = None,
    folds: Folds = 3,
    threads: Threads = 1,
) -> None:
    """Train a network on what autoencoders leave in a picture, and test it on sources and autoencoders left out.

    Real pictures are reconstructed by several autoencoders, some of which are trained here. Nothing that is served follows
    from it: see docs/training.md for what it reaches.
    """
    if importlib.util.find_spec("torch") is None:
        raise ModelError(
            "Training needs PyTorch.", hint="Install the extra: pip install 'palisade[train]'.", status=501
        )
    from detectors.training import forensic_training as training  # noqa: PLC0415 - torch is not in the base install
    from detectors.training.forensic import ForensicConfig  # noqa: PLC0415

    config = ForensicConfig(steps=steps) if steps else ForensicConfig()
    task = training.ForensicTraining(
        tuple(data), work, kl, flux2, pictures=pictures, folds=folds, threads=threads, config=config
    )
    figures = training.train(task, lambda what: err.print(what, style="dim", highlight=False))
    table = Table(
        "autoencoder left out", "model", "AUC", "recall at 5 % FPR", "recall at 1 % FPR", "above its own real picture"
    )
    for name, models in figures["left_out"].items():
        for model, values in models.items():
            cells = [f"{values[key]:.3f}" for key in ("auc", "recall_at_0.05", "recall_at_0.01", "in_order")]
            table.add_row(name, model, *cells)
    out.print(table)
