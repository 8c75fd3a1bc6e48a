"""Pages for leads: figures of the reviews at `/app/figures`, and how the parts are at `/app/health`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request, Response

from dashboard import charts
from dashboard.charts import Bar, Point
from dashboard.clients import application
from dashboard.messages import gettext as _
from dashboard.pages import page, said
from dashboard.sessions import signed_in
from dashboard.tables import Table, as_csv
from moderation.application import Application
from moderation.errors import InvalidRequestError, ModerationError, NotFoundError
from moderation.registry.records import CHANGED
from moderation.registry.service import KINDS
from moderation.reviews.agreement import Agreement
from moderation.reviews.figures import AGES, Figures
from moderation.roles import Person, Role
from moderation.tables import utc_now

router = APIRouter()

DAYS = (1, 7, 30, 90, 365)
USUAL = 30
MOST_DAYS = 3_650

Reader = Annotated[Person, Depends(signed_in(Role.LEAD, Role.AUDITOR))]
Keeper = Annotated[Person, Depends(signed_in(Role.LEAD, Role.ADMIN))]


@dataclass(frozen=True)
class Period:
    """Whole days in UTC, both included: what was chosen, and the moments between which that is."""

    first: date
    last: date
    days: int = 0

    @property
    def since(self) -> datetime:
        return datetime.combine(self.first, time(), UTC)

    @property
    def until(self) -> datetime:
        return datetime.combine(self.last, time(), UTC) + timedelta(days=1)

    @property
    def query(self) -> str:
        return f"days={self.days}" if self.days else f"from={self.first}&to={self.last}"


def period_of(values: Mapping[str, Any]) -> Period:
    """The period that a form asks for: `days` until today, or `from` and `to`. Raises InvalidRequestError."""
    today = utc_now().date()
    try:
        if values.get("from") or values.get("to"):
            last = date.fromisoformat(str(values.get("to") or today))
            first = date.fromisoformat(str(values.get("from") or last))
            days = 0
        else:
            days = int(values.get("days") or USUAL)
            last, first = today, today - timedelta(days=days - 1)
    except (ValueError, OverflowError):
        raise InvalidRequestError("The period is not one.", hint="Choose days, such as 2026-05-31.") from None
    if not 0 <= (last - first).days < MOST_DAYS or not date(2000, 1, 1) <= first <= last <= today + timedelta(days=1):
        raise InvalidRequestError(
            f"The period from {first} to {last} cannot be shown.",
            hint=f"It begins before it ends, has at most {MOST_DAYS:,} days, and is not in the future.",
        )
    return Period(first, last, days)


@router.get("/app/figures")
def figures(request: Request, person: Reader) -> Response:
    """What waits, what was done, how well people agree and detectors do."""
    period, error = _chosen(request)
    found = _figures(application(request), person, period)
    tables = tables_of(found, names_of(application(request), person.tenant, found))
    context = {"period": period, "choices": DAYS, "figures": found, "tables": tables, "error": error}
    context |= {"charts": _charts(found, period), "waiting": sum(queue.open for queue in found.queues)}
    context["overdue"] = sum(queue.overdue for queue in found.queues)
    return page(request, "figures.html", context, status=422 if error else 200)


@router.get("/app/figures/{name}.csv")
def table(name: str, request: Request, person: Reader) -> Response:
    """One of the tables, as CSV."""
    app, period = application(request), period_of(request.query_params)
    found = _figures(app, person, period)
    tables = tables_of(found, names_of(app, person.tenant, found))
    if name not in tables:
        raise NotFoundError(f"There is no table {name[:40]!r}.")
    return as_csv(tables[name])


def _figures(app: Application, person: Person, period: Period) -> Figures:
    return app.review_figures.figures(person.tenant, period.since, period.until, reader=person)


def _chosen(request: Request) -> tuple[Period, dict[str, str] | None]:
    try:
        return period_of(request.query_params), None
    except ModerationError as error:
        return period_of({}), said(error)


def names_of(app: Application, tenant: str, found: Figures) -> Mapping[str, str]:
    """What people are called, by the id that decisions keep; somebody of another tool is not among them."""
    reviewers = {who.reviewer for who in found.reviewers} | set(found.agreement_by_reviewer)
    return app.accounts.names(tenant, reviewers)


def tables_of(found: Figures, names: Mapping[str, str]) -> dict[str, Table]:
    """Everything of the page that is counted, by name."""
    per_day = [(day, count) for day, count in found.per_day.items()]
    precision = [(row.label, row.cases, row.held_true, row.precision) for row in found.precision]
    by_queue = _agreements(found.agreement_by_queue, {})
    by_reviewer = _agreements(found.agreement_by_reviewer, names)
    who, kappa = (_("Reviewer"), _("Queue")), (_("Decided twice"), _("Agreed"), _("Kappa"))
    made = [
        Table("queues", _("Queues"), _queue_head(), _queue_rows(found)),
        Table("days", _("Decisions by day"), (_("Day"), _("Decisions")), per_day),
        Table("reviewers", _("Reviewers"), _reviewer_head(), _reviewer_rows(found, names)),
        Table("agreement-queues", _("Agreement by queue"), (who[1], *kappa), by_queue),
        Table("agreement-reviewers", _("Agreement by reviewer"), (who[0], *kappa), by_reviewer),
        Table("precision", _("Detectors"), (_("Label"), _("Cases"), _("Held true"), _("Precision")), precision),
    ]
    return {table.name: table for table in made}


def _queue_head() -> Sequence[str]:
    ages = [_("under %(hours)d h") % {"hours": hours} for hours in AGES]
    older = _("older")
    names = (_("Queue"), _("Waiting"), _("Overdue"), _("Held"), _("Second look"), _("Escalated"), _("Oldest, hours"))
    return (*names, *ages, older, _("Next due"))


def _queue_rows(found: Figures) -> Sequence[Sequence[Any]]:
    return [
        (
            q.queue,
            q.open,
            q.overdue,
            q.held,
            q.second,
            q.escalated,
            round(q.oldest_hours, 1),
            *q.ages,
            _moment(q.next_due),
        )
        for q in found.queues
    ]


def _moment(at: datetime | None) -> str:
    return f"{at:%Y-%m-%d %H:%M}" if at else ""


def _reviewer_head() -> Sequence[str]:
    return (_("Reviewer"), _("Decisions"), _("Median seconds"), _("Undone"), _("Late"), _("Golden"), _("Golden right"))


def _reviewer_rows(found: Figures, names: Mapping[str, str]) -> Sequence[Sequence[Any]]:
    return [
        (
            names.get(row.reviewer, row.reviewer),
            row.decisions,
            None if row.median_seconds is None else round(row.median_seconds, 1),
            row.undone,
            row.late,
            row.golden,
            row.golden_right,
        )
        for row in found.reviewers
    ]


def _agreements(found: Mapping[str, Agreement], names: Mapping[str, str]) -> Sequence[Sequence[Any]]:
    return [(names.get(name, name), row.cases, row.observed, row.kappa) for name, row in found.items()]


def _charts(found: Figures, period: Period) -> dict[str, Any]:
    late = [sum(queue.overdue_then[place] for queue in found.queues) for place in range(len(AGES))]
    horizon = [Point(_("now"), 0, sum(queue.overdue for queue in found.queues))]
    # Places are not hours: the next hour would vanish beside three days.
    horizon += [
        Point(_("in %(hours)d h") % {"hours": hours}, place, value)
        for place, (hours, value) in enumerate(zip(AGES, late, strict=True), start=1)
    ]
    queues = [Bar(q.queue, q.open, q.overdue, _queue_words(q.open, q.overdue)) for q in found.queues]
    precision = [Bar(row.label, row.precision, words=f"{row.precision:.0%}") for row in found.precision]
    return {
        "queues": charts.rows(_("Cases waiting, by queue"), queues),
        "horizon": charts.line(_("Cases overdue, were nobody to work"), horizon),
        "days": charts.columns(_("Decisions by day"), _every_day(found.per_day, period)),
        "precision": charts.rows(_("Share of cases in which people found a concern, by label"), precision, top=1),
    }


def _queue_words(waiting: int, overdue: int) -> str:
    return _("%(waiting)d, %(overdue)d late") % {"waiting": waiting, "overdue": overdue} if overdue else str(waiting)


def _every_day(per_day: Mapping[str, int], period: Period) -> list[Bar]:
    """Also days on which nothing was decided: a gap is a fact."""
    days = (period.first + timedelta(days=number) for number in range((period.last - period.first).days + 1))
    return [Bar(f"{day:%m-%d}", per_day.get(day.isoformat(), 0)) for day in days]


@router.get("/app/health")
def health(request: Request, person: Keeper) -> Response:
    """Models, banks, the takedown clock, webhooks and re-scans."""
    app, tenant = application(request), person.tenant
    followed = {exchange.bank_id: exchange for exchange in app.exchanges.exchanges(tenant)}
    context = {
        "detectors": [_detector(app, name) for name in KINDS],
        "banks": [(count, followed.get(count.bank.id)) for count in app.banks.banks(tenant)],
        "takedowns": app.takedowns.report(tenant).as_dict(),
        "outbox": app.outbox.backlog(tenant),
        "rescans": sorted(app.rescans.plans(tenant), key=lambda view: view.plan.id, reverse=True)[:10],
        "problems": [said(problem) for problem in app.problems()],
        "changed_at": CHANGED,
    }
    return page(request, "health.html", context)


@router.get("/app/health/{name}.csv")
def health_table(name: str, request: Request, person: Keeper) -> Response:
    """The models, or the lists, as CSV."""
    app = application(request)
    if name == "models":
        return as_csv(_models(app))
    if name == "banks":
        return as_csv(_banks(app, person.tenant))
    raise NotFoundError(f"There is no table {name[:40]!r}.")


def _models(app: Application) -> Table:
    head = (_("Detector"), _("Model"), _("State"), _("Since"))
    rows = [
        (name, model.identity, model.state, _moment(model.changed_at))
        for name in KINDS
        for model in app.registry.models(name)
    ]
    return Table("models", _("Models"), head, rows)


def _banks(app: Application, tenant: str) -> Table:
    followed = {exchange.bank_id: exchange for exchange in app.exchanges.exchanges(tenant)}
    head = (_("Bank"), _("Category"), _("Entries"), _("Quarantined"), _("Follows"), _("Last synchronised"), _("Error"))
    rows = []
    for count in app.banks.banks(tenant):
        exchange = followed.get(count.bank.id)
        about = (exchange.kind, _moment(exchange.synced_at), exchange.error or "") if exchange else ("", "", "")
        rows.append((count.bank.name, count.bank.category, sum(count.entries.values()), count.quarantined, *about))
    return Table("banks", _("Lists of known pictures"), head, rows)


def _detector(app: Application, name: str) -> dict[str, Any]:
    registered = app.registry.models(name)
    return {
        "name": name,
        "models": [model for model in registered if model.state != "retired"],
        "retired": sum(model.state == "retired" for model in registered),
        "drift": app.registry.drift(name),
        "disagreement": app.registry.disagreement(name),
    }
