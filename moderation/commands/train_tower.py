"""`palisade train tower`."""

import importlib.util
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import Progress

from detectors.training.data import drop_duplicates
from detectors.training.datasets import read_all
from moderation.commands.console import err, out
from moderation.errors import ModelError


def tower(
    data: Annotated[list[Path], typer.Option(help="Labelled images: a CSV manifest or a dataset. May be given again.")],
    name: Annotated[str, typer.Option("--tower", help="Tower of open_clip, as ViT-B-16 or ViT-L-14.")],
    *,
    pretrained: Annotated[
        str, typer.Option(help="Local file of its weights, or, with --online, a tag of open_clip's.")
    ] = "",
    left_out: Annotated[str, typer.Option(help="Family of generators to measure on. Default: the first.")] = "",
    folder: Annotated[Path, typer.Option("--out", help="Where the model goes, to be registered.")] = Path(
        "work/tower/model"
    ),
    work: Annotated[Path, typer.Option(help="Where checkpoints are kept; an interrupted training goes on.")] = Path(
        "work/tower"
    ),
    steps: Annotated[int, typer.Option(min=1, help="Steps of training.")] = 2000,
    batch: Annotated[int, typer.Option(min=2, help="Pictures of each class in a step.")] = 16,
    blocks: Annotated[int, typer.Option(min=0, help="Groups of layers that learn, from the last.")] = 2,
    rate: Annotated[float, typer.Option(min=0, help="Learning rate of those layers.")] = 2e-5,
    seed: Annotated[int, typer.Option(help="Seed of everything drawn.")] = 0,
    online: Annotated[bool, typer.Option("--online", help="Let open_clip fetch a tag's weights from a hub.")] = False,
) -> None:
    """Fine-tune an image tower of open_clip as `synthetic`, on a GPU where there is one: ONNX, card and calibration.

    Then: `palisade models register synthetic FOLDER`.
    """
    if importlib.util.find_spec("open_clip") is None:
        raise ModelError("A tower needs PyTorch.", hint="Install the extra: pip install 'palisade[train]'.", status=501)
    from detectors.training.tower import TowerConfig, train  # noqa: PLC0415 - torch is not in the base install

    config = TowerConfig(name, pretrained, blocks=blocks, steps=steps, batch=batch, rate=rate, seed=seed, online=online)
    with Progress(console=err, disable=not err.is_terminal) as bar:
        task = bar.add_task(name, total=steps)
        card = train(
            drop_duplicates(read_all(data)), config, work, folder, left_out=left_out,
            progress=lambda done, _, loss: bar.update(task, completed=done, description=f"{name}, loss {loss:.3f}"),
        )  # fmt: skip
    for view, figures in card.figures.items():
        out.print(
            f"{view}: AUC {figures['mean_auc']:.3f}, recall at 1 % {figures['recall_at_0.01']:.2f}, ECE {figures['ece']:.3f}"
        )
    out.print(f"{card.identity} in {folder}")
