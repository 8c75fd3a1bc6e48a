"""`palisade train`: Palisade's own detectors, made anew."""

import typer

from moderation.commands.train_swap import swap

app = typer.Typer(help="Train Palisade's own detectors. Needs the `train` extra.", no_args_is_help=True)


@app.callback()
def train() -> None:
    """Train Palisade's own detectors. Needs the `train` extra."""


app.command()(swap)
