"""The page at `/`: drop an image, see what Palisade makes of it."""

from fastapi import APIRouter, Request, Response

from dashboard.templating import templates
from moderation.application import Application

router = APIRouter()


@router.get("/")
def drop(request: Request) -> Response:
    """Scanning happens in the browser, through the API: this page holds no image."""
    application: Application = request.app.state.application
    return templates.TemplateResponse(
        request,
        "drop.html",
        {
            "policies": application.policies.names(),
            "default_policy": application.settings.policy,
            "require_key": application.settings.require_key,
            "max_megabytes": application.settings.max_bytes // 1_000_000,
        },
    )
