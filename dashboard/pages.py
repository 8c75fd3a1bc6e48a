"""Pages for people with accounts."""

from typing import Annotated, Any

from fastapi import Query, Request, Response

from dashboard import messages
from dashboard.navigation import ROLES, current, places
from dashboard.sessions import form_token, keep_visitor, visitor_token
from dashboard.templating import templates
from moderation.accounts.records import SignedIn
from moderation.errors import ModerationError

PRIVATE = {"Cache-Control": "no-store"}

Behind = Annotated[str, Query(max_length=40, pattern="^[0-9a-z_]*$")]
"""The id of the last row of the page before, '' for the first page."""


def page(request: Request, name: str, context: dict[str, Any] | None = None, *, status: int = 200) -> Response:
    """A page of whoever is signed in: with the bar, the form token, and their display and language."""
    signed: SignedIn = request.state.signed
    messages.language.set(signed.language)
    known = places(signed.person)
    shared = {
        "signed": signed,
        "person": signed.person,
        "display": signed.display,
        "csrf": form_token(signed.token),
        "places": known,
        "here": current(request.url.path, known),
        "role_words": ROLES,
    }
    return templates.TemplateResponse(request, name, {**shared, **(context or {})}, status_code=status, headers=PRIVATE)


def visitor_page(request: Request, name: str, context: dict[str, Any], *, status: int = 200) -> Response:
    """A page before signing in, whose forms are tied to the browser."""
    token = visitor_token(request)
    context = {"csrf": form_token(token), **context}
    response = templates.TemplateResponse(request, name, context, status_code=status, headers=PRIVATE)
    return keep_visitor(request, response, token)


def said(error: ModerationError) -> dict[str, str]:
    """An error as pages show it."""
    return {"message": messages.error_words(error.message), "hint": messages.error_words(error.hint)}
