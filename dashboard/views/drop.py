"""The page at `/`: drop an image, see what Palisade makes of it."""

from fastapi import APIRouter, Request, Response

from dashboard.messages import gettext as _
from dashboard.messages import marked
from dashboard.sessions import find
from dashboard.templating import templates
from moderation.application import Application
from moderation.reviews.records import REVIEWERS
from moderation.roles import Person

router = APIRouter()

WORDS = {
    "allow": marked("No rule of the policy objects to this image."),
    "label": marked("It may be shown, with a label."),
    "restrict": marked("It may be shown to a restricted audience."),
    "hold": marked("It waits for a person to decide."),
    "block": marked("It may not be shown."),
    "action_allow": marked("allow"),
    "action_label": marked("label"),
    "action_restrict": marked("restrict"),
    "action_hold": marked("hold"),
    "action_block": marked("block"),
    "judged": marked("Judged by {name}, version {version}."),
    "reused": marked("Measured before, judged anew."),
    "waits": marked("People decide on it in"),
    "decided": marked("People decided on it in"),
    "scanning": marked("Scanning {name} …"),
    "pasted": marked("the pasted image"),
    "no_answer": marked("The server did not answer."),
    "try_again": marked("Is it running? Try again."),
    "frames": marked("{frames} frames"),
    "frame": marked("frame {frame}"),
    "kept": marked("kept encrypted for review"),
    "not_kept": marked("not kept"),
    "no_scores": marked("Nothing with a score was found."),
    "one_in": marked("1 in {number}"),
    "title_c2pa": marked("C2PA content credentials"),
    "title_source_type": marked("Declared source type"),
    "title_generator": marked("Generator metadata"),
    "title_watermark": marked("Invisible watermark"),
    "title_software": marked("Software and camera"),
    "no_provenance": marked(
        "No credentials, generator metadata or watermark in this file. That says nothing about how it was made."
    ),
    "remote": marked("named by the file, kept elsewhere, not fetched"),
    "trusted": marked("trusted signer"),
    "untrusted": marked("signer not on a trust list"),
    "ai_generated": marked("AI-generated"),
    "ai_edited": marked("AI-edited"),
    "quality": marked("quality {quality}"),
    "too_plain": marked("too plain to match"),
    "total": marked("total"),
    "time_of_first": marked("Of the scan that measured these bytes first."),
}
"""What the page's script says, by the names that it knows."""


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
            "words": {name: _(words) for name, words in WORDS.items()},
            "works": _works(signed.person) if signed else None,
        },
    )


def _works(person: Person) -> str | None:
    """The queues whose cases the page links to: '' for all, None for whoever works none."""
    if not person.has(*REVIEWERS):
        return None
    return "" if person.queues is None else ",".join(sorted(person.queues)) or None
