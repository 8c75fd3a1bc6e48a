"""What every request passes: a limit on its body, and the count of requests and their seconds."""

import time
from collections.abc import Callable

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.errors import error_response
from api.metrics import REQUEST_SECONDS
from moderation import tracing


class BodyLimit:
    """Refuses bodies above a limit: at once where the length is declared, else as soon as they pass it."""

    def __init__(self, app: ASGIApp, limit: Callable[[str], int]) -> None:
        self.app = app
        self.limit = limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        limit = self.limit(scope["path"])
        declared = dict(scope["headers"]).get(b"content-length", b"0")
        if declared.isdigit() and int(declared) > limit:
            await self._refuse(limit, int(declared), scope, receive, send)
            return
        seen = 0
        started = False

        async def counted() -> Message:
            nonlocal seen
            message = await receive()
            seen += len(message.get("body", b""))
            if seen > limit:
                raise _TooLarge
            return message

        async def watched(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            await self.app(scope, counted, watched)
        except _TooLarge:
            if not started:
                await self._refuse(limit, seen, scope, receive, send)

    @staticmethod
    async def _refuse(limit: int, size: int, scope: Scope, receive: Receive, send: Send) -> None:
        message = f"The body has at least {size:,} bytes; at most {limit:,} are taken."
        response = error_response(413, "too_many_bytes", message, "Send a smaller file, or raise PALISADE_MAX_BYTES.")
        await response(scope, receive, send)


class _TooLarge(BaseException):
    """Passes through the app's own error handlers, up to `BodyLimit`."""


class RequestTimes:
    """Observes how long requests take, by route and status, and traces them, below the trace that the client says."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started, status = time.perf_counter(), 500

        async def watched(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        parent = dict(scope["headers"]).get(b"traceparent", b"").decode("latin-1")
        try:
            with tracing.span("request", parent=parent) as span:
                await self.app(scope, receive, watched)
                span.note(f"{scope['method']} {_route(scope)}", status=status)
        finally:
            route = _route(scope)
            REQUEST_SECONDS.labels(scope["method"], route, str(status)).observe(time.perf_counter() - started)


def _route(scope: Scope) -> str:
    """The route's pattern, never the path: paths hold ids."""
    return getattr(scope.get("route"), "path", "other")
