"""The page at `/`: drop an image, see what Palisade makes of it."""

from fastapi import APIRouter, Request, Response

from dashboard.sessions import find
from dashboard.templating import templates
from moderation.application import Application
from moderation.reviews.records import REVIEWERS
from moderation.roles import Person

router = APIRouter()


@router.get("/")
def drop(request: Request) -> Response:
    """Scanning happens in the browser, through the API: this page holds no image."""
    application: Application = request.app.state.application
    signed = find(request)
    return templates.TemplateResponse(
        request,
        "drop.html",
        {
            "policies": application.policies.names(),
            "default_policy": application.settings.policy,
            "require_key": application.settings.require_key,
            "max_megabytes": application.settings.max_bytes // 1_000_000,
            "works": _works(signed.person) if signed else None,
        },
    )


def _works(person: Person) -> str | None:
    """The queues whose cases the page links to: '' for all, None for whoever works none."""
    if not person.has(*REVIEWERS):
        return None
    return "" if person.queues is None else ",".join(sorted(person.queues)) or None
