"""An index process as an ASGI application: `palisade banks serve-index`."""

import os

from fastapi import FastAPI, Request
from starlette.concurrency import run_in_threadpool

from api.errors import add_error_handlers
from api.middleware import BodyLimit
from moderation.application import Application
from moderation.banks.indexes import BankIndexes
from moderation.banks.shards import ShardServer, parse_shard
from moderation.logs import configure_logs
from moderation.settings import settings

QUESTION_BYTES = 1_000_000

SHARD = "PALISADE_INDEX_SHARD"
"""Which share this process holds; set by the command."""


def create_app() -> FastAPI:
    """The index process of this process's settings. Raises SettingsError."""
    configure_logs(settings().log_level)
    return shard_app(Application(settings()), parse_shard(os.environ.get(SHARD, "0/1")))


def shard_app(application: Application, shard: tuple[int, int]) -> FastAPI:
    """Answers which entries of its share lie near hashes, to processes that know the secret."""
    server = ShardServer(BankIndexes(application.database, shard=shard), application.settings.bank_shard_secret)
    app = FastAPI(openapi_url=None, docs_url=None, redoc_url=None)

    @app.post("/search")
    async def search(request: Request) -> dict[str, list[int]]:
        body = await request.body()
        return {"ids": await run_in_threadpool(server.answer, request.headers.get("authorization", ""), body)}

    @app.get("/healthz")
    def health() -> dict[str, str]:
        return {"status": "ok", "shard": f"{shard[0]}/{shard[1]}"}

    add_error_handlers(app)
    app.add_middleware(BodyLimit, limit=lambda _path: QUESTION_BYTES)
    return app
