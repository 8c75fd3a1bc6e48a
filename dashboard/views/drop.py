"""The page at `/`: drop an image, see what Palisade makes of it."""

from pathlib import Path

from fastapi import APIRouter, Request, Response
from fastapi.templating import Jinja2Templates

from moderation.application import Application

router = APIRouter()
templates = Jinja2Templates(directory=Path(__file__).parents[1] / "templates")


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
