"""Signing in through the host's OpenID Connect provider."""

from fastapi import APIRouter, Request, Response
from fastapi.responses import RedirectResponse

from dashboard.clients import application, client
from dashboard.sessions import carried_attempt, drop_attempt, keep_attempt, keep_session, safe_next
from dashboard.views.sign_in import sign_in_form
from moderation.errors import ModerationError, NotFoundError

router = APIRouter(prefix="/sign-in/provider")


@router.get("")
def leave(request: Request) -> Response:
    """To the provider. A link, not a form: the policy on forms would keep the browser from following."""
    onward = safe_next(request.query_params.get("next", ""))
    try:
        url, carried = application(request).provider.start(onward)
    except NotFoundError:
        raise
    except ModerationError as error:
        return sign_in_form(request, onward, error=error)
    return keep_attempt(request, RedirectResponse(url, status_code=303), carried)


@router.get("/back")
def come_back(request: Request) -> Response:
    """From the provider: signed in, or back at the form with the reason."""
    app = application(request)
    try:
        identity, onward = app.provider.finish(carried_attempt(request), request.query_params)
        token = app.signing.provided(identity, app.settings.oidc_tenant, client(request))
    except NotFoundError:
        raise
    except ModerationError as error:
        return drop_attempt(request, sign_in_form(request, "/app", error=error))
    return drop_attempt(request, keep_session(request, RedirectResponse(safe_next(onward), status_code=303), token))
