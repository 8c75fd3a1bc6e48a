"""A person's own account, at `/app/me`."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Form, Request, Response
from fastapi.responses import RedirectResponse

from dashboard.clients import application, browser_words, client
from dashboard.pages import page, said
from dashboard.sessions import Signed, keep_session, signed_in
from moderation.accounts.passwords import SHORTEST
from moderation.accounts.records import BLURS, LANGUAGES, Display
from moderation.accounts.service import must_match
from moderation.errors import ModerationError

router = APIRouter(prefix="/app/me", dependencies=[Depends(signed_in())])

Secret = Annotated[str, Form(max_length=1_000)]


@router.get("")
def me(request: Request) -> Response:
    return _page(request)


@router.post("/password")
def change_password(
    request: Request, signed: Signed, current: Secret = "", password: Secret = "", repeated: Secret = ""
) -> Response:
    """A new password; the other sessions end."""
    try:
        must_match(password, repeated)
        token = application(request).signing.change_password(signed, current, password, client(request))
    except ModerationError as error:
        return _page(request, "password", error)
    return keep_session(request, RedirectResponse("/app/me?done=password", status_code=303), token)


@router.post("/recovery")
def renew_recovery_codes(request: Request, signed: Signed, code: Annotated[str, Form(max_length=100)] = "") -> Response:
    """New recovery codes, shown this once."""
    try:
        codes = application(request).signing.renew_recovery_codes(signed, code)
    except ModerationError as error:
        return _page(request, "recovery", error)
    return page(request, "recovery_codes.html", {"codes": codes})


@router.post("/sessions/others")
def end_others(request: Request, signed: Signed) -> Response:
    application(request).sessions.end_others(signed)
    return RedirectResponse("/app/me?done=sessions", status_code=303)


@router.post("/sessions/{session_id}")
def end_session(session_id: str, request: Request, signed: Signed) -> Response:
    application(request).sessions.end_one(signed.account, session_id)
    return RedirectResponse("/app/me?done=sessions", status_code=303)


@router.post("/display")
def prefer(
    request: Request,
    signed: Signed,
    *,
    blur: Annotated[str, Form(max_length=10)] = "0",
    grey: Annotated[str, Form(max_length=10)] = "",
    small: Annotated[str, Form(max_length=10)] = "",
    language: Annotated[str, Form(max_length=10)] = "en",
) -> Response:
    """How images are shown to this person: what is less safe than the team's has no effect."""
    try:
        application(request).signing.prefer(signed, blur, grey=grey == "yes", small=small == "yes", language=language)
    except ModerationError as error:
        return _page(request, "display", error)
    return RedirectResponse("/app/me?done=display", status_code=303)


def _page(request: Request, part: str = "", error: ModerationError | None = None) -> Response:
    app, signed = application(request), request.state.signed
    team = Display.of(app.settings)
    context: dict[str, Any] = {
        "sessions": [(row, browser_words(row.agent)) for row in app.sessions.of(signed.account)],
        "codes_left": app.signing.recovery_codes_left(signed),
        "team": team,
        "blurs": sorted({team.blur, *(blur for blur in BLURS if blur > team.blur)}),
        "languages": LANGUAGES,
        "shortest": SHORTEST,
        "done": request.query_params.get("done", ""),
        "part": part,
        "error": said(error) if error else None,
    }
    return page(request, "me.html", context, status=error.http_status if error else 200)
