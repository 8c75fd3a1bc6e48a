"""The public pages of takedown notices: the form at `/notice`, and the private page of each notice."""

from collections.abc import Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Request, Response
from fastapi.responses import RedirectResponse
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import FormData, UploadFile
from starlette.formparsers import MultiPartParser

from dashboard.clients import address, application
from dashboard.messages import gettext as _
from dashboard.messages import marked
from dashboard.pages import said
from dashboard.templating import templates
from dashboard.words import moment_words
from moderation.application import Application
from moderation.errors import InvalidRequestError, ModerationError, NotFoundError, RateLimitError
from moderation.rates import Rate
from moderation.settings import Settings
from moderation.tables import AuditRecord, Notice
from moderation.takedowns.records import MISSING, MOST_UPLOADS, Filing
from moderation.takedowns.service import NoticeView

router = APIRouter()

# Uploads stay in memory: their plain bytes are never written to a disk. The server's body limit bounds them.
MultiPartParser.spool_max_size = 1 << 40

LINK = "[A-Za-z0-9_-]{20,64}"

WORDS = {
    "takedown.filed": marked("You filed the notice."),
    "takedown.completed": marked("You added what was missing."),
    "takedown.duplicate": marked("The notice was found to repeat an earlier one of yours, which goes on."),
    "takedown.valid": marked("The notice is complete. The time to act began."),
    "takedown.due": marked("The site was reminded that the time is running out."),
    "takedown.overdue": marked("The time is over. The site was told so."),
    "takedown.accepted": marked("A person at the site agreed with you. The image can no longer be uploaded."),
    "takedown.swept": marked("Everything on the site was searched for copies."),
    "takedown.confirmed": marked("The site confirmed the removal of copies."),
    "takedown.removed": marked("The image and its copies are gone."),
    "takedown.rejected": marked("A person at the site decided against the notice."),
    "takedown.abusive": marked("A person at the site found that the notice misuses this procedure."),
    "takedown.withdrawn": marked("You took the notice back."),
    "takedown.countered": marked("Somebody objected to the removal. A person will decide, and you will read it here."),
    "takedown.counter_dismissed": marked("The objection was dismissed. The image stays removed."),
    "takedown.counter_upheld": marked("The objection was upheld. The removal was taken back."),
}
"""What whoever filed a notice reads of its steps; other steps are the site's own."""

TITLES = {
    "incomplete": marked("Something is missing"),
    "valid": marked("Your notice is being looked at"),
    "duplicate": marked("You filed this before"),
    "accepted": marked("Your notice was accepted"),
    "removed": marked("The image is removed"),
    "rejected": marked("Your notice was not accepted"),
    "abusive": marked("Your notice was not accepted"),
    "reversed": marked("The removal was taken back"),
    "withdrawn": marked("You took the notice back"),
}


@dataclass(frozen=True)
class Step:
    at: str
    words: str
    reason: str


def rate_of(settings: Settings) -> Rate:
    """How often one address may file. Raises SettingsError."""
    return Rate(settings.notice_rate_limit, settings.rate_limit_storage, setting="PALISADE_NOTICE_RATE_LIMIT")


App = Annotated[Application, Depends(application)]
Token = Annotated[str, Path(pattern=f"^{LINK}$")]


@router.get("/notice")
def notice_form(request: Request, app: App) -> Response:
    """The form."""
    return _form_page(request, app, {}, [])


@router.post("/notice")
async def file_notice(request: Request, app: App) -> Response:
    """File what was filled in; then the private page. What is missing is said above the form, which keeps what was typed."""
    async with _form(request) as form:
        values = {name: value for name, value in form.items() if isinstance(value, str)}
        try:
            filing, uploads = _filing(form), await _uploads(form)
            missing = filing.missing(len(uploads))
            if missing:
                return _form_page(request, app, values, [_(MISSING[code]) for code in missing], status=422)
            await run_in_threadpool(request.app.state.notice_rate.count, address(request), what="Notices were filed")
            _notice, token = await run_in_threadpool(app.takedowns.file, app.settings.notice_tenant, filing, uploads)
        except ModerationError as error:
            return _form_page(request, app, values, [_said(error)], status=error.http_status)
    return RedirectResponse(f"/notice/{token}", status_code=303)


@router.get("/notice/{token}")
def notice_status(token: Token, request: Request, app: App) -> Response:
    """How a notice stands, for whoever has its private link."""
    return _status_page(request, app, token)


@router.post("/notice/{token}/complete")
async def complete_notice(token: Token, request: Request, app: App) -> Response:
    """Add what was missing."""
    async with _form(request) as form:
        try:
            await run_in_threadpool(request.app.state.notice_rate.count, address(request), what="Notices were filed")
            filing, uploads = _filing(form), await _uploads(form)
            changes = {
                name: value for name, value in filing.as_dict().items() if (value and name in form) or name == "urls"
            }
            await run_in_threadpool(app.takedowns.complete, app.settings.notice_tenant, token, changes, uploads)
        except NotFoundError:
            raise
        except ModerationError as error:
            return await run_in_threadpool(_status_page, request, app, token, _said(error), error.http_status)
    return RedirectResponse(f"/notice/{token}", status_code=303)


@router.post("/notice/{token}/withdraw")
def withdraw_notice(token: Token, request: Request, app: App) -> Response:
    """Take the notice back."""
    try:
        app.takedowns.withdraw(app.settings.notice_tenant, token)
    except NotFoundError:
        raise
    except ModerationError as error:
        return _status_page(request, app, token, _said(error), error.http_status)
    return RedirectResponse(f"/notice/{token}", status_code=303)


@asynccontextmanager
async def _form(request: Request):  # type: ignore[no-untyped-def]
    form = await request.form(max_files=MOST_UPLOADS, max_fields=40)
    try:
        yield form
    finally:
        await form.close()


def _filing(form: FormData) -> Filing:
    """Raises InvalidRequestError."""
    texts = {name: _text(form, name) for name in ("name", "contact", "represented", "statement", "signature")}
    urls = tuple(line.strip() for line in _text(form, "urls").splitlines() if line.strip())
    relation = _text(form, "relation") or "self"
    return Filing(**texts, relation=relation, good_faith=_text(form, "good_faith") == "yes", urls=urls)


def _text(form: FormData, name: str) -> str:
    value = form.get(name)
    return value.strip() if isinstance(value, str) else ""


async def _uploads(form: FormData) -> list[tuple[str, bytes]]:
    files = [value for key, value in form.multi_items() if key == "image" and isinstance(value, UploadFile)]
    return [((file.filename or "")[:200], data) for file in files if (data := await file.read())]


def _said(error: ModerationError) -> str:
    if isinstance(error, RateLimitError):
        return _("Too many notices came from your network. Please try again in an hour, or write to the site.")
    words = said(error)
    return f"{words['message']} {words['hint']}".strip() if isinstance(error, InvalidRequestError) else words["message"]


def _form_page(
    request: Request, app: Application, values: Mapping[str, str], problems: Sequence[str], *, status: int = 200
) -> Response:
    context = {
        "values": values,
        "problems": problems,
        "hours": app.settings.takedown_hours,
        "most_uploads": MOST_UPLOADS,
        "max_megabytes": app.settings.max_bytes // 1_000_000,
        "ready": app.settings.takedown_keys is not None,
    }
    return templates.TemplateResponse(request, "notice.html", context, status_code=status)


def _status_page(request: Request, app: Application, token: str, problem: str = "", status: int = 200) -> Response:
    tenant = app.settings.notice_tenant
    notice = app.takedowns.by_token(tenant, token)
    view = app.takedowns.find(tenant, notice.id)
    context: dict[str, Any] = {
        "title": TITLES[notice.state],
        "notice": notice,
        "token": token,
        "link": str(request.url_for("notice_status", token=token)),
        "missing": [(code, MISSING[code]) for code in notice.reasons],
        "steps": [step for record in view.steps if (step := _step(record))],
        "copies": _copies(view),
        "first": _first(app, view),
        "problem": problem,
        "can_withdraw": notice.state in ("incomplete", "valid", "duplicate"),
    }
    private = {"Cache-Control": "no-store"}
    return templates.TemplateResponse(request, "notice_status.html", context, status_code=status, headers=private)


def _step(record: AuditRecord) -> Step | None:
    words = WORDS.get(record.action)
    reason = record.note.get("reason", "") if record.action != "takedown.accepted" else ""
    return Step(moment_words(record.created_at), words, str(reason)) if words else None


def _copies(view: NoticeView) -> dict[str, int]:
    same = [copy for copy, _image in view.copies if copy.stage != "similar"]
    return {"found": len(same), "removed": sum(copy.state == "removed" for copy in same)}


def _first(app: Application, view: NoticeView) -> Notice | None:
    """The notice that this one repeats."""
    first = view.notice.duplicate_of
    return app.takedowns.find(view.notice.tenant_id, first).notice if first else None
