"""`palisade import`: scan everything that a host has already."""

import json
from collections import Counter
from typing import Annotated

import typer
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from moderation.application import Application
from moderation.commands.console import err
from moderation.rescans.commands import until_interrupted
from moderation.rescans.importing import Importer, items
from moderation.settings import settings
from moderation.tables import DEFAULT_TENANT


def import_images(
    source: Annotated[
        str,
        typer.Argument(
            help="A folder, a bucket's URL (s3, gs, az), or a manifest: CSV or JSON lines with `file` or `url`."
        ),
    ],
    *,
    policy: Annotated[str, typer.Option(help="The policy's name. Default: PALISADE_POLICY.")] = "",
    tenant: Annotated[str, typer.Option(help="The tenant whose images these are.")] = DEFAULT_TENANT,
) -> None:
    """Scan every image of a source that was not scanned before, and keep what is found.

    Failures are printed as JSON lines, the counts as the last line. Run it again to go on, or to try failures again: files
    that were scanned under the same external id are passed over. Exit code 9 when a file failed. Ctrl-C ends it safely.
    """
    parts, counts = Application(settings()), Counter[str]()
    parts.scanner.check(parts.policies.get(policy))
    importer = Importer(parts.database, parts.scans, parts.client, max_bytes=parts.settings.max_bytes)
    columns = (
        SpinnerColumn(),
        TextColumn("{task.completed:,} files"),
        TextColumn("{task.description}"),
        TimeElapsedColumn(),
    )
    with (
        until_interrupted() as stopped,
        Progress(*columns, console=err, transient=True, disable=not err.is_terminal) as bar,
    ):
        task = bar.add_task("", total=None)
        for done in importer.run(tenant, items(source), policy=policy, stopped=lambda: bool(stopped)):
            counts[done.state] += 1
            counts[done.action] += bool(done.action)
            if done.error:
                print(json.dumps(done.as_dict()), flush=True)  # noqa: T201 - the command's result
            bar.update(
                task, advance=1, description=", ".join(f"{n:,} {name}" for name, n in sorted(counts.items()) if n)
            )
    told = {name: counts[name] for name in ("scanned", "known", "failed")}
    actions = {name: n for name, n in sorted(counts.items()) if name and name not in told}
    print(json.dumps({**told, "actions": actions, "interrupted": bool(stopped)}))  # noqa: T201 - the command's result
    raise typer.Exit(9 if counts["failed"] else 0)
