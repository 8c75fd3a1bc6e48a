"""`palisade banks`: lists of known signals."""

import contextlib
import json
import os
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, BinaryIO

import typer
import uvicorn
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from detectors.known import ACTIONS, CATEGORIES
from detectors.signals import KINDS
from moderation import media
from moderation.application import Application
from moderation.banks.lists import FORMATS, format_of, read_list, write_list
from moderation.banks.matcher import Probe
from moderation.banks.records import (
    FLOOD_LIMIT,
    PDQ_RADIUS,
    PHASH_RADIUS,
    BankSpec,
    LoadReport,
    NewEntry,
    Signal,
    entry_as_dict,
    match_as_dict,
)
from moderation.banks.shards import parse_shard, shard_secret
from moderation.commands.console import err, out
from moderation.errors import InvalidRequestError
from moderation.media import MediaLimits
from moderation.settings import settings
from moderation.tables import DEFAULT_TENANT, BankEntry, utc_now

app = typer.Typer(help="Banks of signals of known images.", no_args_is_help=True)

ACTOR = "command line"

Tenant = Annotated[str, typer.Option(help="The tenant whose banks these are.")]
Name = Annotated[str, typer.Argument(help="The bank's name.")]
EntryId = Annotated[int, typer.Argument(help="The entry's number, as `palisade banks entries` shows it.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Note = Annotated[str, typer.Option(help="Why, for those who work with the list.")]
Format = Annotated[str, typer.Option("--format", help=f"{', '.join(FORMATS)}. Default: by the file's name.")]


@app.command()
def create(
    name: Name,
    *,
    negative: Annotated[
        bool, typer.Option("--negative", help="A bank of known false matches: it suppresses those of other banks.")
    ] = False,
    origin: Annotated[str, typer.Option(help="Who the signals come from.")] = "own",
    category: Annotated[str, typer.Option(help=f"What it lists: {', '.join(CATEGORIES)}.")] = "other",
    action: Annotated[str, typer.Option(help=f"What policies are suggested: {', '.join(ACTIONS)}.")] = "hold",
    radius: Annotated[int, typer.Option(help="Bits by which PDQ hashes may differ, 0 to 31.")] = PDQ_RADIUS,
    phash_radius: Annotated[int, typer.Option(help="Bits by which pHashes may differ, 0 to 12.")] = PHASH_RADIUS,
    share: Annotated[float, typer.Option(help="Share of images that matches apply to, 0 to 1.")] = 1.0,
    flood_limit: Annotated[
        int,
        typer.Option(help="Images that one entry may newly match in a day before it is quarantined; 0: no limit."),
    ] = FLOOD_LIMIT,
    note: Note = "",
    tenant: Tenant = DEFAULT_TENANT,
) -> None:
    """Make a bank."""
    spec = BankSpec(name, negative, origin, category, action, radius, phash_radius, share, flood_limit, note)
    _app().banks.create(tenant, spec, actor=ACTOR)
    out.print(f"Bank {name} is there. Fill it with `palisade banks add` or `palisade banks import`.", markup=False)


@app.command()
def update(
    name: Name,
    *,
    rename: Annotated[str | None, typer.Option(help="A new name.")] = None,
    origin: Annotated[str | None, typer.Option(help="Who the signals come from.")] = None,
    category: Annotated[str | None, typer.Option(help=f"What it lists: {', '.join(CATEGORIES)}.")] = None,
    action: Annotated[str | None, typer.Option(help=f"What policies are suggested: {', '.join(ACTIONS)}.")] = None,
    radius: Annotated[int | None, typer.Option(help="Bits by which PDQ hashes may differ, 0 to 31.")] = None,
    phash_radius: Annotated[int | None, typer.Option(help="Bits by which pHashes may differ, 0 to 12.")] = None,
    share: Annotated[float | None, typer.Option(help="Share of images that matches apply to, 0 to 1.")] = None,
    flood_limit: Annotated[
        int | None, typer.Option(help="Images that one entry may newly match in a day; 0: no limit.")
    ] = None,
    note: Annotated[str | None, typer.Option(help="Why, for those who work with the list.")] = None,
    tenant: Tenant = DEFAULT_TENANT,
) -> None:
    """Change a bank. What is not given stays as it is."""
    changes = {
        "name": rename,
        "origin": origin,
        "category": category,
        "action_hint": action,
        "radius": radius,
        "phash_radius": phash_radius,
        "enabled_share": share,
        "flood_limit": flood_limit,
        "note": note,
    }
    _app().banks.update(tenant, name, changes, actor=ACTOR)
    out.print(f"Bank {rename or name} is changed.", markup=False)


@app.command("list")
def list_banks(tenant: Tenant = DEFAULT_TENANT, as_json: AsJson = False) -> None:
    """All banks, and how much is in them."""
    banks = _app().banks.banks(tenant)
    if as_json:
        _json([bank.as_dict() for bank in banks])
        return
    table = Table("bank", "category", "suggests", "radius", "entries", "in quarantine", "origin")
    for counted in banks:
        bank = counted.bank
        table.add_row(
            bank.name + (" (negative)" if bank.negative else ""),
            bank.category,
            bank.action_hint,
            str(bank.radius),
            ", ".join(f"{count:,} {kind}" for kind, count in counted.entries.items()) or "none",
            f"{counted.quarantined:,}",
            bank.origin,
        )
    out.print(table)


@app.command()
def show(name: Name, tenant: Tenant = DEFAULT_TENANT) -> None:
    """One bank, as JSON."""
    _json(_app().banks.find(tenant, name).as_dict())


@app.command()
def delete(name: Name, tenant: Tenant = DEFAULT_TENANT) -> None:
    """Delete a bank and all its entries."""
    count = _app().banks.delete(tenant, name, actor=ACTOR)
    out.print(f"Bank {name} and its {count:,} entries are gone.", markup=False)


@app.command()
def add(
    name: Name,
    images: Annotated[list[Path] | None, typer.Argument(help="Image files, listed by their hashes; not kept.")] = None,
    *,
    hashes: Annotated[
        list[str] | None, typer.Option("--hash", help=f"`kind:hex`, such as `pdq:f8f8…`; kinds are {', '.join(KINDS)}.")
    ] = None,
    note: Note = "",
    tenant: Tenant = DEFAULT_TENANT,
) -> None:
    """Add images or hashes to a bank."""
    parts = _app()
    signals = [Signal.parse(*text.split(":", 1)) if ":" in text else Signal.parse("", text) for text in hashes or []]
    for path in images or []:
        found, missing = parts.banks.signals_of(media.open(_read(path), MediaLimits.of(settings()), name=path.name))
        signals += found
        if missing:
            err.print(f"{path.name}: too plain for PDQ (unhashable), listed by its digests alone", markup=False)
    added = parts.banks.add(tenant, name, [NewEntry(signal, note=note) for signal in signals], actor=ACTOR)
    out.print(f"{added} entries added, {len(signals) - added} were there.")


@app.command()
def entries(
    name: Name,
    *,
    state: Annotated[str, typer.Option(help="Only `quarantined` or `disabled` ones.")] = "",
    after: Annotated[int, typer.Option(help="Only entries behind this number.")] = 0,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="How many.")] = 100,
    tenant: Tenant = DEFAULT_TENANT,
    as_json: AsJson = False,
) -> None:
    """Entries of a bank."""
    page = _app().banks.entries(tenant, name, after=after, limit=limit, state=state)
    _show_entries(page, as_json=as_json)


@app.command()
def remove(entry: EntryId, tenant: Tenant = DEFAULT_TENANT) -> None:
    """Delete an entry. It does not match from now on."""
    _app().banks.remove(tenant, entry, actor=ACTOR)
    out.print(f"Entry {entry} is gone.")


@app.command()
def disable(
    entry: EntryId,
    until: Annotated[datetime, typer.Option(formats=["%Y-%m-%d"], help="It does not match before this day.")],
    note: Note = "",
    tenant: Tenant = DEFAULT_TENANT,
) -> None:
    """Let an entry not match until a day."""
    _app().banks.disable(tenant, entry, until.replace(tzinfo=UTC), actor=ACTOR, note=note)
    out.print(f"Entry {entry} does not match before {until:%Y-%m-%d}.")


@app.command()
def enable(entry: EntryId, note: Note = "", tenant: Tenant = DEFAULT_TENANT) -> None:
    """Let a disabled entry match again."""
    _app().banks.disable(tenant, entry, None, actor=ACTOR, note=note)
    out.print(f"Entry {entry} matches.")


@app.command()
def release(entry: EntryId, note: Note = "", tenant: Tenant = DEFAULT_TENANT) -> None:
    """Let an entry match again that was quarantined since it flooded."""
    _app().banks.release(tenant, entry, actor=ACTOR, note=note)
    out.print(f"Entry {entry} matches.")


@app.command()
def search(
    what: Annotated[str, typer.Argument(help="An image file, or `kind:hex`.")],
    tenant: Tenant = DEFAULT_TENANT,
    as_json: AsJson = False,
) -> None:
    """Which entries does an image or a hash match?"""
    parts = _app()
    path = Path(what)
    if path.exists():
        near = parts.banks.search_image(tenant, media.open(_read(path), MediaLimits.of(settings()), name=path.name))
    else:
        near = parts.banks.search(
            tenant, [Probe(Signal.parse(*what.split(":", 1)) if ":" in what else Signal.parse("", what))]
        )
    if as_json:
        found = [{"bank": n.bank.name, "distance": n.distance, **entry_as_dict(n.entry, utc_now())} for n in near]
        _json(found)
        return
    for match in near:
        said = f"{match.bank.name}  entry {match.entry.id}  {match.entry.kind}  {match.distance} bits apart"
        out.print(Text(said))
    if not near:
        out.print("No entry matches.")


@app.command()
def matches(
    name: Name,
    *,
    entry: Annotated[int | None, typer.Option(help="Only of this entry.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="How many.")] = 100,
    tenant: Tenant = DEFAULT_TENANT,
    as_json: AsJson = False,
) -> None:
    """Images that a bank matched, the newest first."""
    found = _app().banks.matches(tenant, name, entry_id=entry, limit=limit)
    if as_json:
        _json([match_as_dict(match) for match in found])
        return
    table = Table("when", "entry", "kind", "bits apart", "scan", "times", "not applied")
    for match in found:
        table.add_row(
            f"{match.last_at:%Y-%m-%d %H:%M}",
            str(match.entry_id),
            match.kind,
            str(match.distance),
            match.scan_id,
            str(match.times),
            match.unapplied,
        )
    out.print(table)


@app.command("import")
def import_list(
    name: Name,
    file: Annotated[str, typer.Argument(help="A list, or `-` for standard input.")],
    *,
    list_format: Format = "",
    kind: Annotated[str, typer.Option(help=f"Kind of rows that do not say theirs: {', '.join(KINDS)}.")] = "",
    all_or_nothing: Annotated[
        bool, typer.Option("--all-or-nothing", help="Load nothing when a row is malformed. Reads the list twice.")
    ] = False,
    tenant: Tenant = DEFAULT_TENANT,
    as_json: AsJson = False,
) -> None:
    """Load a list of any length. Malformed rows are told by line, and the rest is loaded."""
    parts = _app()
    chosen = list_format or format_of(file)
    if all_or_nothing:
        _check(file, chosen, kind)
    with _opened(file) as stream, _progress() as told:
        report = parts.banks.load(tenant, name, read_list(stream, chosen, kind=kind), actor=ACTOR, told=told)
    if as_json:
        _json(report.as_dict())
    else:
        _show_report(report)
    if report.refused:
        raise typer.Exit(2)


@app.command("export")
def export_list(
    name: Name,
    *,
    list_format: Annotated[str, typer.Option("--format", help=f"{', '.join(FORMATS)}.")] = "csv",
    tenant: Tenant = DEFAULT_TENANT,
) -> None:
    """Write a bank as a list to standard output."""
    for part in write_list(_app().banks.all_entries(tenant, name), list_format):
        sys.stdout.write(part)


@app.command("serve-index")
def serve_index(
    shard: Annotated[str, typer.Argument(help="Which share of the entries it holds, such as `0/4`.")],
    *,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on.")] = 8100,
) -> None:
    """Hold a share of the index for other processes, which name it in PALISADE_BANK_SHARDS."""
    parse_shard(shard)
    shard_secret(settings().bank_shard_secret)
    os.environ["PALISADE_INDEX_SHARD"] = shard
    uvicorn.run("api.shard:create_app", factory=True, host=host, port=port, access_log=False, server_header=False)


def _app() -> Application:
    return Application(settings())


def _json(value: object) -> None:
    print(json.dumps(value))  # noqa: T201 - the command's result


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InvalidRequestError(f"{path} cannot be read: {error.strerror}.") from error


@contextlib.contextmanager
def _opened(file: str) -> Iterator[BinaryIO]:
    if file == "-":
        yield sys.stdin.buffer
        return
    try:
        stream = Path(file).open("rb")  # noqa: SIM115 - closed below
    except OSError as error:
        raise InvalidRequestError(f"{file} cannot be read: {error.strerror}.") from error
    with stream:
        yield stream


def _check(file: str, chosen: str, kind: str) -> None:
    if file == "-":
        raise InvalidRequestError("Standard input cannot be read twice.", hint="Save the list to a file first.")
    with _opened(file) as stream:
        for line, row in read_list(stream, chosen, kind=kind):
            if isinstance(row, InvalidRequestError):
                raise InvalidRequestError(f"{file}, line {line}: {row.message} Nothing was loaded.", hint=row.hint)


@contextlib.contextmanager
def _progress() -> Iterator[Any]:
    columns = (
        SpinnerColumn(),
        TextColumn("{task.completed:,} rows"),
        TextColumn("{task.speed}/s"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=err, transient=True) as bar:
        task = bar.add_task("rows", total=None)
        yield lambda rows: bar.advance(task, rows)


def _show_report(report: LoadReport) -> None:
    for line, reason in report.problems:
        err.print(f"line {line}: {reason}", markup=False)
    if report.refused > len(report.problems):
        err.print(f"… and {report.refused - len(report.problems):,} more")
    out.print(f"{report.added:,} entries added, {report.present:,} were there, {report.refused:,} rows refused.")


def _show_entries(page: Any, *, as_json: bool) -> None:
    now = utc_now()
    if as_json:
        _json([entry_as_dict(entry, now) for entry in page])
        return
    table = Table("entry", "kind", "hash", "state", "from", "note")
    for entry in page:
        _add_row(table, entry, now)
    out.print(table)


def _add_row(table: Table, entry: BankEntry, now: datetime) -> None:
    shown = entry_as_dict(entry, now)
    digits = shown["value"] if len(shown["value"]) <= 16 else f"{shown['value'][:16]}…"
    table.add_row(str(entry.id), entry.kind, digits, shown["state"], entry.external_id, Text(entry.note))
