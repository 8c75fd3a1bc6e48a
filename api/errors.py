"""One JSON shape for every error: `{"error": {"code", "message", "hint"}}`."""

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from sqlalchemy.exc import InterfaceError, OperationalError
from starlette.exceptions import HTTPException

from moderation.errors import ModerationError, RateLimitError

log = structlog.get_logger(__name__)

CODES = {404: "not_found", 405: "method_not_allowed", 413: "too_large", 400: "request_invalid"}


def error_response(status: int, code: str, message: str, hint: str = "", **headers: str) -> JSONResponse:
    """An error in the one shape."""
    body = {"error": {"code": code, "message": message, "hint": hint}}
    return JSONResponse(body, status_code=status, headers={k.replace("_", "-"): v for k, v in headers.items()})


def add_error_handlers(app: FastAPI) -> None:
    """Make every error of the app take the one shape."""
    app.add_exception_handler(ModerationError, _moderation)
    app.add_exception_handler(RequestValidationError, _validation)
    app.add_exception_handler(HTTPException, _http)
    for outage in (OperationalError, InterfaceError):
        app.add_exception_handler(outage, _outage)
    app.add_exception_handler(Exception, _unexpected)


async def _moderation(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, ModerationError)  # noqa: S101 - registered for this class only
    headers = {"Retry_After": str(error.retry_after)} if isinstance(error, RateLimitError) else {}
    if error.http_status == 401:
        headers["WWW_Authenticate"] = "Bearer"
    return error_response(error.http_status, error.error_code, error.message, error.hint, **headers)


async def _validation(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)  # noqa: S101 - registered for this class only
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"])
    return error_response(422, "request_invalid", f"{where}: {first['msg']}", "See docs/api.md, or /openapi.json.")


async def _http(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)  # noqa: S101 - registered for this class only
    code = CODES.get(error.status_code, "http_error")
    return error_response(error.status_code, code, str(error.detail), **(error.headers or {}))


async def _outage(_request: Request, error: Exception) -> JSONResponse:
    log.error("the database failed", error=str(getattr(error, "orig", error)))
    message = "The database does not answer, or has no room: nothing of this request was kept."
    return error_response(503, "database_unavailable", message, "Send it again later.")


async def _unexpected(_request: Request, error: Exception) -> JSONResponse:
    log.error("request failed", exc_info=error)
    return error_response(500, "internal", "Something failed on our side.", "It is logged; send the request again.")
