"""The tasks, and the Celery application that carries them: through Redis, or through memory to threads of this process.

The broker is a doorbell: what is to be done and what was done is in the database. A message that comes twice, late or never
changes no result; tasks therefore acknowledge late, and keep no result of their own.
"""

import random
import uuid
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

import structlog
from amqp.exceptions import AMQPError
from celery import Celery
from kombu import Queue
from kombu.exceptions import KombuError
from redis.exceptions import RedisError
from sqlalchemy.exc import InterfaceError, OperationalError

from moderation import tracing
from moderation.doorbell import DoorbellError
from moderation.jobs.records import GRACE
from moderation.leases import new_holder
from moderation.settings import Settings

if TYPE_CHECKING:
    from moderation.application import Application

log = structlog.get_logger(__name__)

QUEUES = ("interactive", "bulk", "gpu")
"""By weight, the most urgent first: somebody waits; nobody does; needs a GPU or hours. Workers empty them in this order."""

SCAN_JOB = "palisade.scan_job"
RESCAN_STEP = "palisade.rescan_step"
CHORE = "palisade.chore"

EMBEDDED = "memory://localhost/"

JITTER = random.Random()
"""Of its own: whoever seeds the process's random numbers does not line processes up."""

RETRIES = 6

LONGEST = 3_600
"""Seconds that a chore may take."""

SHIFT = 60.0
"""Seconds that a worker stays with re-scans before it looks for what is more urgent."""

PROMPT = ("events", "takedown clock", "jobs")
"""Chores that are short, and that somebody waits for."""

OUTAGES = (OperationalError, InterfaceError, ConnectionError)
"""The database or the network is away: the task is tried again, and the job's attempts are not counted."""


class Tasks:
    """The Celery application of an application, and the doorbell that jobs are rung by.

    Embedded, messages stay in this process's memory. wake: starts the threads that take them, None where there are none.
    """

    def __init__(self, application: "Application") -> None:
        self.settings = application.settings
        self.wake: Callable[[], None] | None = None
        self.is_remote = bool(self.settings.broker_url)
        # the memory of a process is one broker for all applications in it: each has queues of its own there
        suffix = "" if self.is_remote else f".{uuid.uuid4().hex[:8]}"
        self.queues = {name: f"{name}{suffix}" for name in QUEUES}
        self.celery = Celery("palisade", set_as_current=False)
        self.celery.conf.update(configuration(self.settings, self.queues))
        self.scan_job = self._task(
            SCAN_JOB, lambda job_id: scan_job(application, job_id), seconds=self.settings.job_seconds
        )
        self.rescan_step = self._task(RESCAN_STEP, lambda: rescan_step(application), seconds=LONGEST)
        self.chore = self._task(CHORE, application.chores.run_alone, seconds=LONGEST)
        self.celery.conf.beat_schedule = self._schedule(application.chores.chores)

    def _schedule(self, chores: Iterable[str]) -> dict[str, Any]:
        """What `palisade beat` sends: each chore every so often, which is dropped where no worker took it by the next time."""
        every = self.settings.chores_seconds or 5
        return {
            name: {
                "task": CHORE,
                "args": (name,),
                "schedule": every,
                "options": {"queue": self.queues["interactive" if name in PROMPT else "bulk"], "expires": every},
            }
            for name in chores
        }

    def _task(self, name: str, work: Callable[..., Any], *, seconds: int) -> Any:
        def run(task: Any, *arguments: Any) -> Any:
            parent = (task.request.headers or {}).get("traceparent", "")
            try:
                with tracing.span(f"task {name}", parent=parent):
                    return work(*arguments)
            except OUTAGES as error:
                raise task.retry(exc=error, countdown=countdown(task.request.retries)) from error

        limits = {"soft_time_limit": seconds, "time_limit": seconds + GRACE}
        # not shared: Celery would give it to every other application of the process too
        return self.celery.task(run, name=name, bind=True, shared=False, max_retries=RETRIES, **limits)

    @property
    def can_ring(self) -> bool:
        return self.is_remote or self.wake is not None

    def ring(self, job_id: str, lane: str) -> None:
        """Tell workers of a job. Raises DoorbellError where the broker does not answer."""
        self._send(self.scan_job, (job_id,), lane)

    def ring_rescan(self, queue: str, *, expires: float) -> None:
        """Call a worker of that queue to re-scans, unless none comes within so many seconds. Raises DoorbellError."""
        self._send(self.rescan_step, (), queue, expires=expires)

    def _send(self, task: Any, arguments: tuple[Any, ...], queue: str, **options: Any) -> None:
        if self.wake:
            self.wake()
        try:
            headers = {"traceparent": tracing.traceparent()}
            task.apply_async(arguments, queue=self.queues[queue], retry=False, headers=headers, **options)
        except (KombuError, AMQPError, RedisError, OSError) as error:
            raise DoorbellError(
                f"The broker does not take messages: {type(error).__name__}.",
                hint="Is it running, and is PALISADE_BROKER_URL right? What waits is told when it is back.",
            ) from error


def countdown(retries: int) -> float:
    """Seconds until the next try, with jitter: 1, 2, 4, … 60."""
    return float(min(2**retries, 60) * JITTER.uniform(0.5, 1.5))


def transport_options(settings: Settings) -> dict[str, Any]:
    """How messages are carried: in this process's memory, by Redis, or by RabbitMQ, which answers for each that it took."""
    if not settings.broker_url:
        return {"polling_interval": 0.05}
    if settings.broker_url.startswith("amqp"):
        return {"confirm_publish": True, "connect_timeout": 3, "write_timeout": 10}
    return {
        "visibility_timeout": settings.broker_visibility_seconds,
        "queue_order_strategy": "priority",
        "socket_connect_timeout": 3,
        "socket_timeout": 10,
    }


def configuration(settings: Settings, queues: Mapping[str, str]) -> dict[str, Any]:
    """Celery's settings."""
    return {
        "broker_url": settings.broker_url or EMBEDDED,
        "broker_transport_options": transport_options(settings),
        "broker_connection_retry_on_startup": True,
        "broker_connection_max_retries": None,
        "task_queues": [Queue(name) for name in queues.values()],
        "task_default_queue": queues["bulk"],
        "task_create_missing_queues": False,
        "task_serializer": "json",
        "accept_content": ["json"],
        "result_backend": None,
        "task_ignore_result": True,
        "task_acks_late": True,
        "task_reject_on_worker_lost": True,
        "worker_prefetch_multiplier": 1,
        "worker_max_memory_per_child": settings.worker_memory_mb * 1024,
        "worker_cancel_long_running_tasks_on_connection_loss": False,
        "worker_hijack_root_logger": False,
        "worker_send_task_events": False,
        "worker_enable_remote_control": False,
        "task_send_sent_event": False,
        "enable_utc": True,
    }


def scan_job(application: "Application", job_id: str) -> str:
    """Do a job, and see to it that workers know of the next ones. Gives its state, '' where there was nothing to do."""
    state = application.runner.run(job_id)
    application.recovery.top_up()
    return state


def rescan_step(application: "Application") -> int:
    """Work on re-scans for a while; gives how many shards were worked on. The chore calls again as long as there is work."""
    return application.rescans.work(new_holder(), seconds=SHIFT)
