"""`/v1/takedowns`: file notices, decide on them, confirm removals."""

from collections.abc import Sequence
from typing import Annotated

from fastapi import APIRouter, Depends, File, Form, Path, Query, UploadFile

from api.dependencies import ApplicationDep, CallerDep
from api.routes.scans import ERRORS
from api.schemas.takedowns import (
    AcceptedAnswer,
    Confirmation,
    CounterAnswer,
    CounterDecision,
    CounterFiling,
    Decision,
    FiledAnswer,
    FoundCopy,
    ImageOfNotice,
    NoticeAnswer,
    NoticesAnswer,
    Rejection,
    Relation,
    ReportAnswer,
    Sha256,
    State,
    WholeNoticeAnswer,
)
from moderation.keys.service import Caller
from moderation.tables import NoticeImage
from moderation.takedowns.records import MOST_UPLOADS, MOST_URLS, Filing

router = APIRouter(prefix="/v1/takedowns", tags=["takedowns"], responses=ERRORS)


def takedown_caller(caller: CallerDep) -> Caller:
    """The caller, who must have the scope `takedowns`."""
    caller.require("takedowns")
    return caller


TakedownCaller = Annotated[Caller, Depends(takedown_caller)]
NoticeId = Annotated[str, Path(pattern="^notice_[0-9a-z]{1,33}$", description="The notice's id.")]


def filing(
    name: Annotated[str, Form(max_length=200, description="Who files it.")] = "",
    contact: Annotated[str, Form(max_length=320, description="An e-mail address.")] = "",
    *,
    relation: Annotated[Relation, Form(description="For oneself, one's child, or whom one represents.")] = "self",
    represented: Annotated[str, Form(max_length=200, description="For whom, where it is not for oneself.")] = "",
    statement: Annotated[
        str, Form(max_length=5_000, description="What the image shows; that it is without consent.")
    ] = "",
    signature: Annotated[str, Form(max_length=200, description="Their full name, typed.")] = "",
    good_faith: Annotated[bool, Form(description="That they believe this in good faith.")] = False,
    url: Annotated[list[str] | None, Form(max_length=MOST_URLS, description="Addresses of the image.")] = None,
) -> Filing:
    """What is filed, from the form."""
    return Filing(
        name=name,
        contact=contact,
        relation=relation,
        represented=represented,
        statement=statement,
        signature=signature,
        good_faith=good_faith,
        urls=tuple(url or ()),
    )


@router.post("", status_code=201)
def file_notice(
    what: Annotated[Filing, Depends(filing)],
    caller: TakedownCaller,
    app: ApplicationDep,
    image: Annotated[
        list[UploadFile] | None, File(max_length=MOST_UPLOADS, description="Only their hashes are kept.")
    ] = None,
) -> FiledAnswer:
    """File a notice for somebody. What is missing makes it `incomplete`; a valid one starts the 48 hours."""
    notice, token = app.takedowns.file(caller.tenant, what, read(image or []), actor=caller.key_id)
    return FiledAnswer(notice=NoticeAnswer.of(notice), token=token)


@router.get("")
def list_notices(
    caller: TakedownCaller,
    app: ApplicationDep,
    state: Annotated[list[State] | None, Query(description="Only of these states.")] = None,
    after: Annotated[str, Query(max_length=40, pattern="^[0-9a-z_]*$", description="Only behind this one.")] = "",
    limit: Annotated[int, Query(ge=1, le=1_000)] = 100,
) -> NoticesAnswer:
    """Notices by age."""
    found = app.takedowns.notices(caller.tenant, states=state or (), after=after, limit=limit)
    return NoticesAnswer(notices=[NoticeAnswer.of(notice) for notice in found])


@router.get("/report")
def read_report(caller: TakedownCaller, app: ApplicationDep) -> ReportAnswer:
    """How the 48 hours were kept."""
    return ReportAnswer.of(app.takedowns.report(caller.tenant))


@router.get("/{notice_id}")
def read_notice(notice_id: NoticeId, caller: TakedownCaller, app: ApplicationDep) -> WholeNoticeAnswer:
    """A notice with what was filed, the copies that were found, and every step."""
    return WholeNoticeAnswer.of(app.takedowns.find(caller.tenant, notice_id))


@router.post("/{notice_id}/images", status_code=201)
def add_image(
    notice_id: NoticeId, image: Annotated[UploadFile, File()], caller: TakedownCaller, app: ApplicationDep
) -> ImageOfNotice:
    """Attach an image, where an address did not lead to it. Only its hashes are kept."""
    ((name, data),) = read([image])
    return shown(app.takedowns.add_image(caller.tenant, notice_id, name, data, actor=caller.key_id))


@router.post("/{notice_id}/hosted", status_code=201)
def add_hosted(notice_id: NoticeId, image: Sha256, caller: TakedownCaller, app: ApplicationDep) -> ImageOfNotice:
    """Attach an image that was scanned, by its SHA-256: nobody has to open it."""
    return shown(app.takedowns.add_hosted(caller.tenant, notice_id, image.sha256, actor=caller.key_id))


@router.post("/{notice_id}/accept")
def accept_notice(
    notice_id: NoticeId, decision: Decision, caller: TakedownCaller, app: ApplicationDep
) -> AcceptedAnswer:
    """A person finds that the notice holds: its images are listed, and copies searched in all that is hosted."""
    copies = app.takedown_desk.accept(caller.tenant, notice_id, decision.reason, actor=caller.key_id)
    view = app.takedowns.find(caller.tenant, notice_id)
    return AcceptedAnswer(notice=NoticeAnswer.of(view.notice), copies=[FoundCopy.of(copy) for copy in copies])


@router.post("/{notice_id}/reject")
def reject_notice(
    notice_id: NoticeId, decision: Rejection, caller: TakedownCaller, app: ApplicationDep
) -> NoticeAnswer:
    """A person finds that the notice does not hold, or misuses the procedure."""
    about = {"actor": caller.key_id, "abusive": decision.abusive}
    return NoticeAnswer.of(app.takedowns.reject(caller.tenant, notice_id, decision.reason, **about))  # type: ignore[arg-type]


@router.post("/{notice_id}/confirm")
def confirm_removal(
    notice_id: NoticeId, done: Confirmation, caller: TakedownCaller, app: ApplicationDep
) -> NoticeAnswer:
    """The host says which copies are gone. Once none is left open the notice is `removed`, and the clock stops."""
    notice = app.takedown_desk.confirm(
        caller.tenant, notice_id, removed=done.removed, kept=done.kept, actor=caller.key_id
    )
    return NoticeAnswer.of(notice)


@router.post("/{notice_id}/counter-notices", status_code=201)
def counter_notice(
    notice_id: NoticeId, what: CounterFiling, caller: TakedownCaller, app: ApplicationDep
) -> CounterAnswer:
    """File what the uploader, or somebody else, says against a takedown."""
    filed = app.takedowns.counter(caller.tenant, notice_id, Filing(**what.model_dump()), actor=caller.key_id)
    return CounterAnswer.of(filed)


@router.post("/{notice_id}/counter-notices/{counter_id}/decide")
def decide_counter(
    notice_id: NoticeId, counter_id: str, decision: CounterDecision, caller: TakedownCaller, app: ApplicationDep
) -> NoticeAnswer:
    """A person decides on a counter-notice. Where it holds, the images leave the bank at once."""
    notice = app.takedown_desk.decide_counter(
        caller.tenant, notice_id, counter_id, upheld=decision.upheld, reason=decision.reason, actor=caller.key_id
    )
    return NoticeAnswer.of(notice)


def read(files: Sequence[UploadFile]) -> list[tuple[str, bytes]]:
    """Names and bytes of uploads, which are in memory."""
    return [((file.filename or "")[:200], file.file.read()) for file in files]


def shown(image: NoticeImage) -> ImageOfNotice:
    return ImageOfNotice.model_validate({"source": image.source, "sha256": image.sha256, "hashable": bool(image.pdq)})
