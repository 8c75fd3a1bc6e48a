"""Trying a draft policy on past verdicts, at `/app/backtest`."""

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Form, Request, Response

from dashboard.clients import application
from dashboard.messages import gettext as _
from dashboard.pages import page, said
from dashboard.sessions import signed_in
from dashboard.tables import Cell, Table, as_csv
from dashboard.views.leads import DAYS, Period, period_of
from moderation.errors import ConflictError, InvalidRequestError, ModerationError, PolicyError
from moderation.policy.source import MAX_BYTES
from moderation.reviews.backtest import Backtest, Sample
from moderation.roles import Person, Role

router = APIRouter(prefix="/app/backtest")

MOST = 20_000
"""Scans that are judged while somebody waits for the page; the command line takes more."""

AROUND = 2
"""Lines that are shown before and after the one with an error."""

Writer = Annotated[Person, Depends(signed_in(Role.POLICY, Role.LEAD))]

_turn = threading.BoundedSemaphore(1)


@router.get("")
def draft(request: Request, _person: Writer) -> Response:
    """The form, with the policy in it that `policy` names."""
    library, name = application(request).policies, request.query_params.get("policy", "")
    try:
        text = library.text(name) if name else ""
    except ModerationError as error:
        return _page(request, "", period_of({}), error=error)
    return _page(request, text, period_of({}), chosen=name)


@router.post("")
def run(
    request: Request,
    person: Writer,
    *,
    policy: Annotated[str, Form()] = "",
    days: Annotated[str, Form(max_length=20)] = "",
    since: Annotated[str, Form(alias="from", max_length=20)] = "",
    until: Annotated[str, Form(alias="to", max_length=20)] = "",
    form: Annotated[str, Form(alias="as", max_length=10)] = "",
) -> Response:
    """Judge the scans of the period under the draft. Nothing is changed, and the draft is not kept."""
    period = period_of({})
    text = policy.replace("\r\n", "\n")
    try:
        period = period_of({"days": days, "from": since, "to": until})
        _check(text)
        with _one_at_a_time():
            tests = application(request).backtests
            result = tests.run(person.tenant, text, period.since, period.until, most=MOST)
    except ModerationError as error:
        return _page(request, text, period, error=error)
    return as_csv(changes_of(result)) if form == "csv" else _page(request, text, period, result=result)


def changes_of(result: Backtest) -> Table:
    """The samples of every change, with how many scans it is of: one row for each sample."""
    head = (_("Was"), _("Would be"), _("Scans"), _("Scan"), _("SHA-256"), _("Rules before"), _("Rules after"))
    rows: list[Sequence[Cell]] = [
        (before, after, result.counts[before, after], *_cells(sample))
        for (before, after), samples in sorted(result.samples.items())
        for sample in samples
    ]
    return Table("backtest", result.policy, head, rows)


def _cells(sample: Sample) -> tuple[str, ...]:
    return sample.scan, sample.sha256, " ".join(sample.rules_before), " ".join(sample.rules_after)


def _check(text: str) -> None:
    """Raises InvalidRequestError."""
    if not text.strip():
        raise InvalidRequestError(
            "There is no draft.", hint="Paste a policy, or begin with one of those that are there."
        )
    if len(text) > MAX_BYTES:
        raise InvalidRequestError(f"The draft has {len(text):,} characters.", hint=f"At most {MAX_BYTES:,} are taken.")


@contextmanager
def _one_at_a_time() -> Iterator[None]:
    """Raises ConflictError while another is under way in this process: uploads are not to wait for it."""
    if not _turn.acquire(timeout=2):
        raise ConflictError("Another back-test is under way on this server.", hint="Try again in a moment.")
    try:
        yield
    finally:
        _turn.release()


def _page(
    request: Request,
    text: str,
    period: Period,
    *,
    chosen: str = "",
    result: Backtest | None = None,
    error: ModerationError | None = None,
) -> Response:
    context: dict[str, Any] = {
        "text": text,
        "period": period,
        "choices": DAYS,
        "policies": application(request).policies.names(),
        "chosen": chosen,
        "result": result,
        "most": MOST,
        "error": said(error) if error else None,
        "excerpt": excerpt(text, error.line) if isinstance(error, PolicyError) else [],
        "changes": result.as_dict()["counts"] if result else [],
    }
    return page(request, "backtest.html", context, status=error.http_status if error else 200)


def excerpt(text: str, line: int) -> list[Mapping[str, Any]]:
    """The lines around the one with an error; none where the error has no line."""
    lines = text.splitlines()
    if not 1 <= line <= len(lines):
        return []
    numbers = range(max(1, line - AROUND), min(len(lines), line + AROUND) + 1)
    return [{"number": number, "text": lines[number - 1][:200], "wrong": number == line} for number in numbers]
