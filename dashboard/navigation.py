"""Where people may go, by what they are."""

from dataclasses import dataclass

from dashboard.messages import marked as _
from moderation.roles import Person, Role

HOME = "/app"


@dataclass(frozen=True)
class Place:
    """A page of the top bar. roles: who sees it, everybody where none are named. about: one line for the home page."""

    title: str
    path: str
    roles: tuple[Role, ...] = ()
    about: str = ""

    def open_to(self, person: Person) -> bool:
        return not self.roles or person.has(*self.roles)


NAVIGATION = [
    Place(_("Home"), HOME),
    Place(
        _("Queue"),
        "/app/queue",
        (Role.REVIEWER, Role.SENIOR),
        _("Take the next case, and decide it."),
    ),
    Place(
        _("Appeals"),
        "/app/appeals",
        (Role.REVIEWER, Role.SENIOR),
        _("What uploaders say against a verdict, decided by somebody else than before."),
    ),
    Place(
        _("Takedowns"),
        "/app/takedowns",
        (Role.REVIEWER, Role.SENIOR),
        _("Decide on notices of people who ask for an image of them to be removed, before the law's time is over."),
    ),
    Place(
        _("Figures"),
        "/app/figures",
        (Role.LEAD, Role.AUDITOR),
        _("See what waits and for how long, what was done, and how well people and detectors did."),
    ),
    Place(
        _("Back-test"),
        "/app/backtest",
        (Role.POLICY, Role.LEAD),
        _("Try a draft policy on past verdicts, before it is in force."),
    ),
    Place(
        _("Re-scans"),
        "/app/rescans",
        (Role.ADMIN, Role.POLICY, Role.LEAD),
        _("Judge everything hosted again, see how far that is, pause it or end it."),
    ),
    Place(
        _("Health"),
        "/app/health",
        (Role.LEAD, Role.ADMIN),
        _("See whether models, lists, takedowns and webhooks are as they should be."),
    ),
    Place(
        _("Audit"),
        "/app/audit",
        (Role.AUDITOR,),
        _("Read what was done, by whom and to what."),
    ),
    Place(
        _("Accounts"),
        "/app/accounts",
        (Role.ADMIN,),
        _("Invite people, set what they may do, take access away."),
    ),
]
"""In the order of the bar."""

ROLES = {
    Role.REVIEWER: (_("Reviewer"), _("Works queues: looks at cases and decides them.")),
    Role.SENIOR: (_("Senior reviewer"), _("Decides what was escalated, and sees the gravest cases.")),
    Role.LEAD: (_("Lead"), _("Sees figures, assigns cases and sets queues up.")),
    Role.POLICY: (_("Policy"), _("Drafts policies, and tries them on past verdicts.")),
    Role.ADMIN: (_("Admin"), _("Gives people access, and takes it away.")),
    Role.AUDITOR: (_("Auditor"), _("Reads everything that was done, and changes nothing.")),
}
"""Of each role: what it is called, and what it may do."""


def places(person: Person) -> list[Place]:
    """What the person sees in the bar."""
    return [place for place in NAVIGATION if place.open_to(person)]


def current(path: str, known: list[Place]) -> str:
    """The path of the place that a page belongs to: the longest that it lies below. Only the home page is the home page's."""
    below = [p.path for p in known if path == p.path or (p.path != HOME and path.startswith(f"{p.path}/"))]
    return max(below, key=len, default="")
