"""`/v1/prompts`: check prompts before an image is generated."""

from typing import Annotated

from fastapi import APIRouter, Depends

from api.dependencies import ApplicationDep, CallerDep
from api.routes.scans import ERRORS
from api.schemas.prompts import PromptAnswer, PromptRequest
from moderation.keys.service import Caller

router = APIRouter(prefix="/v1/prompts", tags=["prompts"], responses=ERRORS)


def prompts_caller(caller: CallerDep) -> Caller:
    """The caller, who must have the scope `prompts`."""
    caller.require("prompts")
    return caller


@router.post("/check")
def check_prompt(
    request: PromptRequest, caller: Annotated[Caller, Depends(prompts_caller)], app: ApplicationDep
) -> PromptAnswer:
    """May this prompt run? Refused are sexual content with minors, and with people who may be real or are enrolled.

    Nothing of the prompt is kept or logged. What a negative prompt names is excluded, so it is not held against it.
    """
    return PromptAnswer.of(app.prompts.check(caller.tenant, request.prompt, request.negative_prompt))
