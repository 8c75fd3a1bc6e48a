"""`/v1/rescans`: judge again what is hosted."""

from typing import Annotated

from fastapi import APIRouter, Depends, Path, Query

from api.dependencies import ApplicationDep, CallerDep
from api.routes.scans import ERRORS
from api.schemas.rescans import (
    DryRunAnswer,
    FailureAnswer,
    FailuresAnswer,
    NewCeiling,
    NewRescan,
    RescanAnswer,
    RescansAnswer,
)
from moderation.keys.service import Caller

router = APIRouter(prefix="/v1/rescans", tags=["rescans"], responses=ERRORS)


def rescan_caller(caller: CallerDep) -> Caller:
    """The caller, who must have the scope `rescans`."""
    caller.require("rescans")
    return caller


RescanCaller = Annotated[Caller, Depends(rescan_caller)]
PlanId = Annotated[str, Path(pattern="^rescan_[0-9a-z]{1,33}$", description="The re-scan's id.")]
After = Annotated[str, Query(max_length=40, pattern="^[0-9a-z_]*$", description="Only behind this one.")]


@router.post("", status_code=201)
def plan_rescan(what: NewRescan, caller: RescanCaller, app: ApplicationDep) -> RescanAnswer:
    """Plan a re-scan. Palisade takes the cheapest path that is exact; workers take it up from now on."""
    plan = app.rescans.plan(caller.tenant, what.spec(), actor=caller.key_id)
    return RescanAnswer.of(app.rescans.find(caller.tenant, plan.id))


@router.post("/dry-run")
def dry_run(what: NewRescan, caller: RescanCaller, app: ApplicationDep) -> DryRunAnswer:
    """Judge a sample, say what the whole would cost and change, and write nothing."""
    return DryRunAnswer.of(app.rescans.dry_run(caller.tenant, what.spec()))


@router.get("")
def list_rescans(
    caller: RescanCaller, app: ApplicationDep, after: After = "", limit: Annotated[int, Query(ge=1, le=1_000)] = 100
) -> RescansAnswer:
    """Re-scans, the newest first."""
    found = app.rescans.plans(caller.tenant, after=after, limit=limit)
    return RescansAnswer(rescans=[RescanAnswer.of(view) for view in found])


@router.get("/{plan_id}")
def read_rescan(plan_id: PlanId, caller: RescanCaller, app: ApplicationDep) -> RescanAnswer:
    """A re-scan, and how far it is."""
    return RescanAnswer.of(app.rescans.find(caller.tenant, plan_id))


@router.post("/{plan_id}/pause")
def pause_rescan(plan_id: PlanId, caller: RescanCaller, app: ApplicationDep) -> RescanAnswer:
    """Let workers stop after the page they are at."""
    app.rescans.pause(caller.tenant, plan_id, actor=caller.key_id)
    return RescanAnswer.of(app.rescans.find(caller.tenant, plan_id))


@router.post("/{plan_id}/resume")
def resume_rescan(plan_id: PlanId, ceiling: NewCeiling, caller: RescanCaller, app: ApplicationDep) -> RescanAnswer:
    """Go on where it was paused, or stopped by its ceiling."""
    app.rescans.resume(caller.tenant, plan_id, actor=caller.key_id, max_changed=ceiling.max_changed)
    return RescanAnswer.of(app.rescans.find(caller.tenant, plan_id))


@router.post("/{plan_id}/cancel")
def cancel_rescan(plan_id: PlanId, caller: RescanCaller, app: ApplicationDep) -> RescanAnswer:
    """End a re-scan for good. What was judged stays judged."""
    app.rescans.cancel(caller.tenant, plan_id, actor=caller.key_id)
    return RescanAnswer.of(app.rescans.find(caller.tenant, plan_id))


@router.get("/{plan_id}/failures")
def list_failures(
    plan_id: PlanId,
    caller: RescanCaller,
    app: ApplicationDep,
    after: After = "",
    limit: Annotated[int, Query(ge=1, le=1_000)] = 100,
) -> FailuresAnswer:
    """Images that could not be judged, those that are tried again among them."""
    found = app.rescans.failures(caller.tenant, plan_id, after=after, limit=limit)
    return FailuresAnswer(failures=[FailureAnswer.of(failure) for failure in found])
