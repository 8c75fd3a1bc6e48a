"""Who is signed in, and that a form was sent by them and not by another site."""

import hashlib
import hmac
import secrets
from collections.abc import Awaitable, Callable
from typing import Annotated
from urllib.parse import quote, urlsplit

from fastapi import Depends, Request, Response
from starlette.concurrency import run_in_threadpool

from dashboard.clients import application, is_https
from dashboard.navigation import HOME
from moderation.accounts.records import SignedIn
from moderation.errors import ForbiddenError
from moderation.roles import Person, Role

SESSION, VISITOR, ATTEMPT = "palisade-session", "palisade-visitor", "palisade-provider"

SAFE = ("GET", "HEAD", "OPTIONS")

HEADER = "x-csrf-token"
"""How `fetch` sends the token of the page's `<meta name="csrf">`; forms have a hidden field `csrf`."""


class SignInNeeded(Exception):
    """Nobody is signed in. path: where to go on afterwards."""

    def __init__(self, path: str = HOME) -> None:
        super().__init__(path)
        self.path = path


def signed_in(*roles: Role) -> Callable[[Request], Awaitable[Person]]:
    """A dependency that gives the person who is signed in and has one of the roles (any, where none is named).

    Nobody is: SignInNeeded, which leads to the sign-in page and back. The role is missing, or a form's token is: ForbiddenError.
    The session is at `request.state.signed` then.
    """

    async def person(request: Request) -> Person:
        signed = await run_in_threadpool(find, request)
        if signed is None:
            raise SignInNeeded(_path(request) if request.method in SAFE else HOME)
        if request.method not in SAFE:
            await check_token(request, signed.token)
        request.state.signed = signed
        if roles and not signed.person.has(*roles):
            names = ", ".join(role.value for role in roles)
            raise ForbiddenError("Your account may not do this.", hint=f"It takes one of the roles: {names}.")
        return signed.person

    return person


def signed(request: Request) -> SignedIn:
    """The session that `signed_in` found."""
    found: SignedIn = request.state.signed
    return found


Signed = Annotated[SignedIn, Depends(signed)]


def find(request: Request, *, stage: str = "full") -> SignedIn | None:
    """Who has the request's cookie."""
    token = request.cookies.get(_name(SESSION, request), "")
    return application(request).sessions.find(token, stage=stage) if token else None


def session_token(request: Request) -> str:
    return request.cookies.get(_name(SESSION, request), "")


def keep_session(request: Request, response: Response, token: str) -> Response:
    """Give the browser a session; what it held as a visitor is of no use any more."""
    _set(request, response, SESSION, token)
    _drop(request, response, VISITOR)
    return response


def drop_session(request: Request, response: Response) -> Response:
    _drop(request, response, SESSION)
    return response


def keep_attempt(request: Request, response: Response, carried: str) -> Response:
    """Give the browser what it carries to the sign-in provider and back."""
    _set(request, response, ATTEMPT, carried)
    return response


def carried_attempt(request: Request) -> str:
    return request.cookies.get(_name(ATTEMPT, request), "")


def drop_attempt(request: Request, response: Response) -> Response:
    _drop(request, response, ATTEMPT)
    return response


def visitor_token(request: Request) -> str:
    """What ties the forms before signing in to this browser: its cookie's value, or a new one."""
    return request.cookies.get(_name(VISITOR, request), "") or secrets.token_urlsafe(32)


def keep_visitor(request: Request, response: Response, token: str) -> Response:
    _set(request, response, VISITOR, token)
    return response


async def visitor_form(request: Request) -> None:
    """A dependency of forms before signing in: raises ForbiddenError for one that another site sent."""
    await check_token(request, request.cookies.get(_name(VISITOR, request), ""))


def form_token(token: str) -> str:
    """What a page's forms carry: it shows that the page was read, and does not give the cookie away."""
    return hashlib.sha256(f"form\0{token}".encode()).hexdigest() if token else ""


async def check_token(request: Request, token: str) -> None:
    """Raises ForbiddenError unless the request carries the form token of a cookie's value."""
    given = request.headers.get(HEADER)
    if given is None:
        sent = (await request.form(max_files=0, max_fields=100)).get("csrf", "")
        given = sent if isinstance(sent, str) else ""
    elsewhere = request.headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none")
    if elsewhere or not token or not hmac.compare_digest(given.encode(), form_token(token).encode()):
        raise ForbiddenError("The form has expired, or came from another site.", hint="Open the page again and retry.")


def safe_next(path: str) -> str:
    """Where to go after signing in: a page of ours, or the home page for everything else."""
    parts = urlsplit(path)
    ours = parts.path == HOME or parts.path.startswith(f"{HOME}/")
    plain = path.isprintable() and "\\" not in path and "//" not in path
    return path if ours and plain and not parts.scheme and not parts.netloc else HOME


def sign_in_path(path: str) -> str:
    return "/sign-in" if path == HOME else f"/sign-in?next={quote(path, safe='')}"


def _path(request: Request) -> str:
    query = request.url.query
    return request.url.path + (f"?{query}" if query else "")


def _name(name: str, request: Request) -> str:
    """`__Host-` has the browser refuse the cookie from a neighbouring host; it takes HTTPS."""
    return f"__Host-{name}" if is_https(request) else name


def _drop(request: Request, response: Response, name: str) -> None:
    cookie = _name(name, request)
    response.delete_cookie(cookie, path="/", secure=is_https(request), httponly=True, samesite="lax")


def _set(request: Request, response: Response, name: str, token: str) -> None:
    response.set_cookie(_name(name, request), token, path="/", secure=is_https(request), httponly=True, samesite="lax")
