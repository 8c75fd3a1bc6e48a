"""`/v1/appeals`: what uploaders say against verdicts. They are decided as cases of the queue `appeals`."""

from typing import Annotated

from fastapi import APIRouter, Path, Query

from api.dependencies import ApplicationDep
from api.routes.cases import ReviewCaller
from api.routes.scans import ERRORS
from api.schemas.reviews import AppealAnswer, AppealRequest, AppealsAnswer, AppealState
from moderation.application import Application
from moderation.tables import Appeal

router = APIRouter(prefix="/v1/appeals", tags=["reviews"], responses=ERRORS)


@router.post("", status_code=201)
def file_appeal(what: AppealRequest, caller: ReviewCaller, app: ApplicationDep) -> AppealAnswer:
    """File an appeal for an uploader. Somebody decides who did not decide before; the host is told by webhook."""
    return _answer(app, app.appeals.file(caller.tenant, what.plea(), actor=caller.key_id))


@router.get("")
def list_appeals(
    caller: ReviewCaller,
    app: ApplicationDep,
    state: Annotated[list[AppealState] | None, Query(description="Only of these states.")] = None,
    after: Annotated[str, Query(max_length=40, pattern="^[0-9a-z_]*$", description="Only behind this one.")] = "",
    limit: Annotated[int, Query(ge=1, le=1_000)] = 100,
) -> AppealsAnswer:
    """Appeals by age."""
    found = app.appeals.appeals(caller.tenant, states=state or (), after=after, limit=limit)
    return AppealsAnswer(appeals=[_answer(app, appeal) for appeal in found])


@router.get("/{appeal_id}")
def read_appeal(
    appeal_id: Annotated[str, Path(pattern="^appeal_[0-9a-z]{1,33}$", description="The appeal's id.")],
    caller: ReviewCaller,
    app: ApplicationDep,
) -> AppealAnswer:
    """An appeal, and what came of it."""
    return _answer(app, app.appeals.find(caller.tenant, appeal_id))


def _answer(app: Application, appeal: Appeal) -> AppealAnswer:
    return AppealAnswer.of(appeal, app.appeals.statement(appeal))
