"""The API as an ASGI application."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import structlog
from fastapi import FastAPI

import moderation
from api.auth import Gate
from api.errors import add_error_handlers
from api.middleware import BodyLimit, RequestTimes
from api.routes import (
    appeals,
    banks,
    batches,
    cases,
    events,
    health,
    images,
    jobs,
    people,
    prompts,
    rescans,
    scans,
    takedowns,
)
from moderation import tracing
from moderation.application import Application
from moderation.embedded import tell_of_all, working

log = structlog.get_logger(__name__)

FORM_OVERHEAD = 64_000
"""Bytes that a multipart form may add to its files."""


def create_app(application: Application) -> FastAPI:
    """The API of an application. Models are loaded when it starts, so that the first upload does not wait for them."""

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        application.scanner.build()
        problems = application.problems()
        for problem in problems:
            log.warning("not ready", **problem.as_dict())
        every = 0 if application.tasks.is_remote else application.settings.chores_seconds
        with working(application), application.chores.running(every=every):
            if not problems:
                application.idempotency.forget_old()
                tell_of_all(application)
            yield
        application.database.close()
        tracing.stop()

    app = FastAPI(
        title="Palisade",
        version=moderation.__version__,
        summary="Content moderation for image hosts.",
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
    )
    app.state.application = application
    app.state.gate = Gate(application.settings, application.keys)
    for routes in (
        scans, jobs, batches, images, people, prompts, banks, takedowns, cases, appeals, rescans, events, health,
    ):  # fmt: skip
        app.include_router(routes.router)
    add_error_handlers(app)
    limits = application.settings

    def limit(path: str) -> int:
        return (limits.max_batch_bytes if path.endswith(("/batch", "/batches")) else limits.max_bytes) + FORM_OVERHEAD

    app.add_middleware(BodyLimit, limit=limit)
    app.add_middleware(RequestTimes)
    return app
