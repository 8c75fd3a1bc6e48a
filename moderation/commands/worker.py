"""`palisade worker` and `palisade beat`: the work that servers leave, through Redis."""

from typing import Annotated, Any

import typer
from celery.apps.worker import install_worker_term_hard_handler
from celery.signals import setup_logging, worker_process_init, worker_shutting_down

from moderation import tracing
from moderation.application import Application
from moderation.commands import metrics
from moderation.commands.console import err
from moderation.errors import InvalidRequestError, SettingsError
from moderation.logs import configure_logs
from moderation.settings import settings
from moderation.tasks import QUEUES

MetricsPort = Annotated[
    int, typer.Option(min=0, max=65_535, help="Where Prometheus may ask what was done, at /metrics; 0: nowhere.")
]
MetricsHost = Annotated[str, typer.Option(help="The address of that port.")]


def worker(
    queues: Annotated[
        str, typer.Option(help=f"What to work on, comma-separated, the most urgent first: {', '.join(QUEUES)}.")
    ] = "interactive,bulk",
    concurrency: Annotated[int, typer.Option(min=1, max=256, help="Processes, each with its own models.")] = 1,
    metrics_port: MetricsPort = 0,
    metrics_host: MetricsHost = "127.0.0.1",
) -> None:
    """Work on asynchronous scans and on what is due, until it is told to end.

    SIGTERM and SIGINT let it finish what it has begun; a second one hands that back to other workers at once.
    """
    wanted = [name.strip() for name in queues.split(",") if name.strip()]
    unknown = sorted(set(wanted) - set(QUEUES))
    if unknown or not wanted:
        raise InvalidRequestError(
            f"{', '.join(unknown) or 'Nothing'} is not a queue.", hint=f"Queues are {', '.join(QUEUES)}."
        )
    application = ready()
    _prepare_children(application)
    if metrics_port:
        metrics.serve_worker(metrics_host, metrics_port)
    err.print(f"Working on {', '.join(wanted)} in {concurrency} processes")
    run: Any = application.tasks.celery.Worker(
        queues=[application.tasks.queues[name] for name in wanted],
        concurrency=concurrency,
        loglevel=application.settings.log_level.upper(),
        quiet=True,
        without_gossip=True,
        without_mingle=True,
        without_heartbeat=True,
    )
    _heed_a_second_signal(run)
    run.start()
    raise typer.Exit(run.exitcode or 0)


def beat(metrics_port: MetricsPort = 0, metrics_host: MetricsHost = "127.0.0.1") -> None:
    """Send what is due to workers every so often: events, clocks, sweeps, exchanges, lost scans.

    One is enough; with several, each chore is still done by one worker at a time.
    """
    application = ready()
    _log_as_we_do(application)
    if metrics_port:
        metrics.serve_beat(metrics_host, metrics_port)
    schedule: Any = application.tasks.celery.Beat(
        scheduler="celery.beat:Scheduler", loglevel=application.settings.log_level.upper(), quiet=True
    )
    err.print(f"Sending {', '.join(application.chores.chores)}")
    schedule.run()


def ready() -> Application:
    """The application, checked by another one: the engine of this one is for the processes that are forked from it.

    Raises SettingsError where no broker is set, SchemaError, DatabaseError, ModelError.
    """
    config = settings()
    if not config.broker_url:
        raise SettingsError(
            "PALISADE_BROKER_URL names no broker: the server does this work itself.",
            hint="Set it to a Redis or RabbitMQ, such as `redis://localhost:6379/0`, for servers and workers alike.",
        )
    check = Application(config)
    problems = check.problems()
    check.database.close()
    if problems:
        raise problems[0]
    return Application(config)


def _prepare_children(application: Application) -> None:
    """Load the models in each process when it starts, so that the first job does not wait for them."""

    def prepare(**_: Any) -> None:
        configure_logs(application.settings.log_level)
        tracing.start(application.settings.otlp_endpoint)
        application.scanner.build()

    worker_process_init.connect(prepare, weak=False)
    _log_as_we_do(application)


def _heed_a_second_signal(run: Any) -> None:
    """Celery passes over a second SIGTERM: after the first one it means what a second SIGINT does."""

    def told(how: str, **_: Any) -> None:
        if how == "Warm":
            install_worker_term_hard_handler(run, sig="SIGTERM")

    worker_shutting_down.connect(told, weak=False)


def _log_as_we_do(application: Application) -> None:
    def logs(**_: Any) -> None:
        configure_logs(application.settings.log_level)

    setup_logging.connect(logs, weak=False)
