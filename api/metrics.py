"""What Prometheus may read at `/metrics`."""

from collections.abc import Iterator

import structlog
from prometheus_client import REGISTRY, Counter, Histogram, generate_latest
from prometheus_client.core import CollectorRegistry, GaugeMetricFamily
from prometheus_client.registry import Collector
from sqlalchemy.exc import SQLAlchemyError

from moderation.backlog import Backlog, read_backlog
from moderation.database import Database

log = structlog.get_logger(__name__)

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)

REQUEST_SECONDS = Histogram(
    "palisade_request_seconds", "Seconds that requests took.", ("method", "route", "status"), buckets=SECONDS
)
SCANS = Counter("palisade_scans_total", "Scans by verdict.", ("policy", "action", "reused"))
SCAN_SECONDS = Histogram("palisade_scan_seconds", "Seconds from bytes to verdict, measured anew.", buckets=SECONDS)
DETECTOR_SECONDS = Histogram("palisade_detector_seconds", "Seconds of one detector.", ("detector",), buckets=SECONDS)
DETECTOR_FAILURES = Counter("palisade_detector_failures_total", "Findings that failed.", ("detector",))
REFUSED = Counter("palisade_uploads_refused_total", "Uploads that were not scanned.", ("code",))


class BacklogCollector(Collector):
    """What waits in the database, read anew at each scrape. Every copy of the API says the same: take the largest.

    A figure that does not exist (the age of the oldest event where none waits) is left out, never 0.
    """

    def __init__(self, database: Database) -> None:
        self.database = database

    def collect(self) -> Iterator[GaugeMetricFamily]:
        up = GaugeMetricFamily("palisade_database_up", "Whether the database answered this scrape.")
        try:
            backlog = read_backlog(self.database)
        except SQLAlchemyError as error:
            log.warning("backlog not read", error=type(error).__name__)
            up.add_metric([], 0)
            yield up
            return
        up.add_metric([], 1)
        yield up
        yield from _single(backlog)
        yield from _exchanges(backlog)
        yield from _queues(backlog)
        yield from _rescans(backlog)


def exposition(database: Database) -> bytes:
    """The text that Prometheus reads: what this process counted, and what waits in the database."""
    registry = CollectorRegistry()
    registry.register(BacklogCollector(database))
    return generate_latest(REGISTRY) + generate_latest(registry)


def _single(backlog: Backlog) -> Iterator[GaugeMetricFamily]:
    figures = (
        ("palisade_outbox_pending", "Events that the host is still to be told.", backlog.events),
        ("palisade_outbox_oldest_seconds", "Age of the oldest of them.", backlog.oldest_event_seconds),
        ("palisade_outbox_given_up", "Events that were given up.", backlog.events_given_up),
        ("palisade_takedowns_open", "Takedown notices whose clock runs.", backlog.notices),
        ("palisade_takedown_due_seconds", "Until the first is due; below 0 it is overdue.", backlog.notice_due_seconds),
    )
    for name, text, value in figures:
        family = GaugeMetricFamily(name, text)
        if value is not None:
            family.add_metric([], value)
        yield family


def _exchanges(backlog: Backlog) -> Iterator[GaugeMetricFamily]:
    labels = ("tenant", "exchange")
    lag = GaugeMetricFamily("palisade_exchange_lag_seconds", "Since an exchange was last followed.", labels=labels)
    every = GaugeMetricFamily("palisade_exchange_every_seconds", "How often it should be.", labels=labels)
    failing = GaugeMetricFamily("palisade_exchange_failing", "Whether its last run ended early.", labels=labels)
    for exchange in backlog.exchanges:
        names = [exchange.tenant, exchange.name]
        lag.add_metric(names, exchange.lag_seconds)
        every.add_metric(names, exchange.every_seconds)
        failing.add_metric(names, float(exchange.failing))
    yield from (lag, every, failing)


def _queues(backlog: Backlog) -> Iterator[GaugeMetricFamily]:
    jobs = GaugeMetricFamily("palisade_jobs", "Asynchronous scans that are not done.", labels=("lane", "state"))
    age = GaugeMetricFamily("palisade_jobs_oldest_seconds", "Since the oldest was sent.", labels=("lane", "state"))
    for job in backlog.jobs:
        jobs.add_metric([job.name, job.state], job.count)
        age.add_metric([job.name, job.state], job.oldest_seconds)
    cases = GaugeMetricFamily("palisade_cases", "Cases that somebody has to take.", labels=("queue",))
    opened = GaugeMetricFamily("palisade_cases_oldest_seconds", "Since the oldest was opened.", labels=("queue",))
    overdue = GaugeMetricFamily("palisade_cases_overdue", "Of them, those past their time.", labels=("queue",))
    for queue in backlog.cases:
        cases.add_metric([queue.name], queue.count)
        opened.add_metric([queue.name], queue.oldest_seconds)
        overdue.add_metric([queue.name], queue.overdue)
    yield from (jobs, age, cases, opened, overdue)


def _rescans(backlog: Backlog) -> Iterator[GaugeMetricFamily]:
    plans = GaugeMetricFamily("palisade_rescans", "Re-scans that are open.", labels=("state",))
    for state in ("running", "paused", "stopped"):
        plans.add_metric([state], backlog.rescans.open.get(state, 0))
    left = GaugeMetricFamily("palisade_rescan_left", "Postings that the running ones have still to judge.")
    left.add_metric([], backlog.rescans.left)
    failed = GaugeMetricFamily("palisade_rescan_failed", "Postings given up by open ones, and those of the last day.")
    failed.add_metric([], backlog.rescans.failed)
    oldest = GaugeMetricFamily("palisade_rescan_oldest_seconds", "Since the oldest that runs was begun.")
    if backlog.rescans.oldest_seconds is not None:
        oldest.add_metric([], backlog.rescans.oldest_seconds)
    yield from (plans, left, failed, oldest)
