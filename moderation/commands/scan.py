"""`palisade scan`: verdicts on files, folders and URLs, without a server or a database."""

import json
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Annotated, Any

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from detectors.base import Finding
from moderation import media
from moderation.application import Application
from moderation.commands.console import COLOURS, err, out, say_error
from moderation.errors import InvalidRequestError, ModerationError
from moderation.media import MediaLimits
from moderation.media.formats import EXTENSIONS, OPENED
from moderation.policy import Policy, Verdict
from moderation.scanner import image_facts
from moderation.settings import settings

EXIT_CODES = {"allow": 0, "label": 0, "restrict": 10, "hold": 11, "block": 12}
EXIT_ERROR = 9

SUFFIXES = frozenset(f".{extension}" for extension, format in EXTENSIONS.items() if format in OPENED)


@dataclass(frozen=True)
class Outcome:
    """What came of one file: a verdict with its findings, or an error."""

    file: str
    sha256: str = ""
    verdict: Verdict | None = None
    findings: tuple[Finding, ...] = ()
    timings: dict[str, float] | None = None
    error: ModerationError | None = None

    @property
    def exit_code(self) -> int:
        return EXIT_CODES[self.verdict.action] if self.verdict else EXIT_ERROR

    def as_dict(self) -> dict[str, Any]:
        """The line that `--json` prints."""
        if self.error or not self.verdict:
            return {"file": self.file, "error": self.error.as_dict() if self.error else None}
        return {
            "file": self.file,
            "sha256": self.sha256,
            "verdict": self.verdict.as_dict(),
            "findings": [finding.as_dict() for finding in self.findings],
            "timings": self.timings,
        }


def scan(
    targets: Annotated[list[str], typer.Argument(help="Files, folders (with all below) and http(s) URLs.")],
    policy: Annotated[str, typer.Option(help="A policy's name or file. Default: PALISADE_POLICY.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object a line.")] = False,
    surface: Annotated[str, typer.Option(help="Where the images would be shown, for policies that ask.")] = "",
) -> None:
    """Scan images and print verdicts with what they rest on.

    Exit code by the worst: 0 allow or label, 10 restrict, 11 hold, 12 block; 9 when a file could not be scanned and
    nothing was worse.
    """
    app = Application(settings())
    rules = app.policies.read(policy) if policy else app.policies.get("")
    app.scanner.check(rules)
    files = list(expand(targets))
    worst = 0
    for outcome in _outcomes(app, rules, files, {"surface": surface} if surface else {}):
        worst = max(worst, outcome.exit_code)
        if as_json:
            print(json.dumps(outcome.as_dict()), flush=True)  # noqa: T201 - the command's result
        else:
            show(outcome)
    raise typer.Exit(worst)


def expand(targets: Sequence[str]) -> Iterator[str]:
    """The files behind the arguments: folders give every image-like file below, in order. Raises InvalidRequestError."""
    for target in targets:
        if target.startswith(("http://", "https://")):
            yield target
            continue
        path = Path(target)
        if path.is_dir():
            yield from (str(p) for p in sorted(path.rglob("*")) if p.is_file() and p.suffix.lower() in SUFFIXES)
        elif path.exists():
            yield target
        else:
            raise InvalidRequestError(f"There is no file or folder {target!r}.")


def _outcomes(app: Application, policy: Policy, files: Sequence[str], context: dict[str, str]) -> Iterator[Outcome]:
    """The outcomes in the order of the files, as many scans at once as the settings allow."""
    with (
        Progress(
            TextColumn("scanning"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            console=err,
            transient=True,
            disable=len(files) < 2 or not err.is_terminal,
        ) as bar,
        ThreadPoolExecutor(app.scanner.concurrency) as pool,
    ):
        task = bar.add_task("scan", total=len(files))
        for outcome in pool.map(lambda file: scan_file(app, policy, file, context), files):
            bar.advance(task)
            yield outcome


def scan_file(app: Application, policy: Policy, file: str, context: dict[str, str]) -> Outcome:
    """Open, measure and judge one file or URL."""
    started = perf_counter()
    try:
        data, name = _read(app, file)
        image = media.open(data, MediaLimits.of(app.settings), name=name)
        opened = round((perf_counter() - started) * 1000, 2)
        measured = app.scanner.measure(image, policy, context)
    except ModerationError as error:
        return Outcome(file, error=error)
    verdict = policy.decide(measured.findings, context, image_facts(image))
    timings = {"open": opened, **measured.timings, "total": round((perf_counter() - started) * 1000, 2)}
    return Outcome(file, image.sha256, verdict, measured.findings, timings)


def _read(app: Application, file: str) -> tuple[bytes, str | None]:
    limit = app.settings.max_bytes
    if file.startswith(("http://", "https://")):
        return app.client.fetch(file, max_bytes=limit).data, None
    try:
        with Path(file).open("rb") as stream:
            return stream.read(limit + 1), Path(file).name
    except OSError as error:
        raise InvalidRequestError(f"{file} cannot be read: {error.strerror}.") from error


def show(outcome: Outcome) -> None:
    """The outcome as a table, for a person."""
    if outcome.error or not outcome.verdict:
        out.print(Text(outcome.file, "bold"))
        if outcome.error:
            say_error(outcome.error)
        return
    verdict = outcome.verdict
    total = (outcome.timings or {}).get("total", 0)
    action = (verdict.action.upper(), f"bold {COLOURS[verdict.action]}")
    out.print(Text.assemble((outcome.file, "bold"), "  ", action, (f"  {total:.0f} ms", "dim")))
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim", expand=True)
    for column, width in (("finding", 12), ("score", 6), ("fpr", 8)):
        table.add_column(column, width=width, no_wrap=True)
    table.add_column("evidence", overflow="ellipsis", no_wrap=True, ratio=1)
    for finding in outcome.findings:
        table.add_row(*_row(finding))
    for reason in verdict.reasons:
        out.print(Text.assemble(("▸ ", COLOURS[reason.action]), (reason.rule, "bold"), f": {reason.reason}"))
    for open_rule in verdict.undecided:
        if open_rule.effect != "none":
            out.print(Text.assemble(("? ", "yellow"), (open_rule.rule, "bold"), f": undecided, {open_rule.why}"))
    out.print(table)
    out.print()


def _row(finding: Finding) -> tuple[Text, str, str, Text]:
    if finding.status != "ok":
        return Text(finding.label, "dim"), "", "", Text(f"{finding.status}: {finding.reason}", "dim")
    score = "" if finding.score is None else f"{finding.score:.3f}"
    fpr = "" if finding.fpr is None else f"{finding.fpr:.2g}"
    said = {key: value for key, value in finding.evidence.items() if isinstance(value, str | int) and value != ""}
    evidence = Text("  ").join(
        Text.assemble((f"{key} ", "dim"), f"{value:.16}…" if key == "hash" else f"{value}"[:200])
        for key, value in said.items()
    )
    return Text(finding.label, "bold"), score, fpr, evidence
