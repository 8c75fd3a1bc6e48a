"""What was done, by whom and to what, at `/app/audit`: for auditors."""

from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request, Response

from dashboard.clients import application
from dashboard.pages import Behind, page
from dashboard.sessions import signed_in
from moderation import audit
from moderation.roles import Person, Role

router = APIRouter(prefix="/app/audit")

PAGE = 50

Auditor = Annotated[Person, Depends(signed_in(Role.AUDITOR))]
Text = Annotated[str, Query(max_length=200)]


@router.get("")
def trail(
    request: Request,
    person: Auditor,
    *,
    actor: Text = "",
    action: Text = "",
    subject: Text = "",
    after: Behind = "",
) -> Response:
    """The newest first. actor may be the name of an account, too."""
    app = application(request)
    typed = {"actor": actor.strip(), "action": action.strip(), "subject": subject.strip()}
    asked = {**typed, "actor": app.accounts.id_of(person.tenant, typed["actor"]) or typed["actor"]}
    found = audit.page(app.database, person.tenant, **asked, after=after, limit=PAGE + 1)
    people = {record.actor for record in found} | {record.subject for record in found}
    context = {
        "rows": found[:PAGE],
        "more": found[PAGE - 1].id if len(found) > PAGE else "",
        "after": after,
        "typed": {name: value for name, value in typed.items() if value},
        "names": app.accounts.names(person.tenant, people),
    }
    return page(request, "audit.html", context)
