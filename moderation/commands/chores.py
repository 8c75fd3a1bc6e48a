"""`palisade chores`: what is due, for whoever runs it beside the servers."""

import json
import time
from typing import Annotated

import typer

from moderation import tracing
from moderation.application import Application
from moderation.settings import settings


def chores(
    once: Annotated[bool, typer.Option("--once", help="Do what is due now, and end.")] = False,
) -> None:
    """Deliver events, watch takedown clocks, follow exchanges: what `palisade serve` does too, unless told not to.

    Prints a JSON line for each round that did something. Several may run side by side.
    """
    config = settings()
    tracing.start(config.otlp_endpoint)
    work = Application(config).chores
    while True:
        done = {name: count for name, count in work.run().items() if count}
        if done or once:
            print(json.dumps(done), flush=True)  # noqa: T201 - the command's result
        if once:
            tracing.stop()
            return
        time.sleep(config.chores_seconds or 5)
