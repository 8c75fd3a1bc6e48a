"""Fills a new installation: every verdict is measured and judged by the real service; people and days are made up."""

import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import pyotp

from moderation import media
from moderation.accounts.records import person_of
from moderation.accounts.sessions import Client
from moderation.application import Application
from moderation.banks.records import BankSpec, NewEntry
from moderation.demo import pictures
from moderation.errors import ModerationError
from moderation.media import MediaLimits
from moderation.reviews.appeals import Plea
from moderation.reviews.priority import rank_of
from moderation.reviews.records import Choice
from moderation.reviews.repository import ReviewRepository
from moderation.roles import Person
from moderation.scans.service import HostContext, Upload
from moderation.tables import DEFAULT_TENANT, ReviewCase, Scan
from moderation.takedowns.records import Filing

PICTURES = 54
FEWEST, MOST = 12, 500

PEOPLE = {
    "rita@demo.example": ("reviewer",),
    "ravi@demo.example": ("reviewer",),
    "sol@demo.example": ("senior",),
    "lea@demo.example": ("lead", "policy"),
    "ada@demo.example": ("admin",),
}

LISTED = {5: "campaign-7", 33: "campaign-7", 44: "gravest-demo"}
"""Which pictures are on which list beforehand."""

TEXT = {
    4: {
        "parameters": "a harbour at dawn\nSteps: 24, Sampler: Euler a, CFG scale: 7, Seed: 41, Size: 640x480, Model: demo"
    },
    7: {"Software": "FaceFusion 3.1"},
}
"""What files of every nine say of themselves."""

UPLOADERS = ("u-1041", "u-2093", "u-3307", "u-4410", "u-5528")

CHOICES = (
    Choice("uphold", clause="4.2 Made or changed with AI"),
    Choice("overturn", reason="A drawing, nothing more: the measurement is wrong here."),
    Choice("restrict", clause="3.1 Shown behind a warning"),
    Choice("overturn", reason="Harmless; the uploader says how it was made."),
    Choice("block", clause="2.4 Campaign pictures"),
)
"""What is decided, one after the other."""

CODES_SHOWN = 3

Progress = Callable[[str], None]


@dataclass(frozen=True)
class Login:
    """Someone who may sign in. codes: each stands in for the authenticator app once."""

    name: str
    roles: Sequence[str]
    password: str = field(repr=False)
    codes: Sequence[str] = field(repr=False)


def fill(app: Application, *, count: int = PICTURES, progress: Progress = lambda _words: None) -> list[Login]:
    """Accounts, lists, scans, decisions, appeals and notices. Gives who may sign in. Raises ModerationError."""
    progress("making accounts")
    logins = [_login(app, name, roles) for name, roles in PEOPLE.items()]
    people = [person_of(app.accounts.named(DEFAULT_TENANT, login.name)) for login in logins]
    progress("making lists")
    _make_lists(app)
    scans = [_scan(app, number, count, progress) for number in range(count)]
    progress("deciding what was sent on past days")
    half = len(scans) // 2
    _decide_the_past(app, people, scans[:half])
    for number, scan in enumerate(scans[half:]):
        _move_back(app, scan.id, timedelta(hours=(number * 7) % 50 if number % 3 else number % 4))
    progress("filing appeals and notices")
    _appeal(app, scans)
    _file_notices(app)
    return logins


def _login(app: Application, name: str, roles: Sequence[str]) -> Login:
    """The whole way from the invitation, with an authenticator that is thrown away: the recovery codes are what is left."""
    password = secrets.token_urlsafe(12)
    _, invitation = app.accounts.add(DEFAULT_TENANT, name, roles, actor="demo")
    app.enrolment.choose_password(invitation, password)
    secret = app.enrolment.authenticator(invitation).secret.replace(" ", "")
    token, codes = app.enrolment.finish(invitation, pyotp.TOTP(secret).now(), Client(f"demo {name}", "demo"))
    app.sessions.end(token)
    return Login(name, roles, password, codes)


def _file_of(number: int) -> bytes:
    drawn = pictures.drawn(number)
    words = TEXT.get(number % 9)
    return pictures.png(drawn, words) if words else pictures.jpeg(drawn)


def _make_lists(app: Application) -> None:
    limits = MediaLimits.of(app.settings)
    specs = (
        BankSpec("campaign-7", category="spam", action_hint="hold", note="Drawn pictures of the demo."),
        BankSpec("gravest-demo", category="child_abuse", action_hint="block", note="One abstract drawing of the demo."),
    )
    for spec in specs:
        app.banks.create(DEFAULT_TENANT, spec, actor="demo")
    for number, name in LISTED.items():
        signals, _ = app.banks.signals_of(media.open(_file_of(number), limits))
        app.banks.add(DEFAULT_TENANT, name, [NewEntry(signal) for signal in signals], actor="demo")


def _scan(app: Application, number: int, count: int, progress: Progress) -> Scan:
    """One upload through the real service; every sixth is sent again, smaller, by somebody else."""
    progress(f"scanning picture {number + 1} of {count}")
    context = HostContext(f"post-{7000 + number}", UPLOADERS[number % len(UPLOADERS)], "post", "en")
    upload = Upload(_file_of(number), context=context, reach=(number * 37) % 900, consent=number % 2 == 0)
    scan = app.scans.scan(DEFAULT_TENANT, upload)
    if number % 6 == 2:
        again = pictures.jpeg(pictures.smaller(pictures.drawn(number)), quality=70)
        context = HostContext(f"post-{8000 + number}", UPLOADERS[(number + 2) % len(UPLOADERS)], "post", "en")
        app.scans.scan(DEFAULT_TENANT, Upload(again, context=context))
    return scan


def _decide_the_past(app: Application, people: Sequence[Person], scans: Sequence[Scan]) -> None:
    """These were sent over the last two weeks; reviewers decide on them as they would have."""
    for number, scan in enumerate(scans):
        days = 1 + (number * 13) // len(scans)
        case_id = _move_back(app, scan.id, timedelta(days=days, hours=number % 5))
        if case_id:
            _decide(app, people, case_id, number)
    app.decisions.release()


def _move_back(app: Application, scan_id: str, by: timedelta) -> str:
    """Make a scan and its case older; gives the case, '' where there is none or it is for seniors."""
    with app.database.write() as session:
        repository = ReviewRepository(session, DEFAULT_TENANT)
        scan, case = repository.scan(scan_id), repository.case_of_scan(scan_id)
        if scan is not None:
            scan.created_at -= by
        if case is None or case.tier == "senior":
            return ""
        case.created_at -= by
        case.due_at -= by
        case.rank = rank_of(case)
    return case.id


def _decide(app: Application, people: Sequence[Person], case_id: str, number: int) -> None:
    """By one reviewer; by a second where two have to; by a senior where they disagree."""
    choice = CHOICES[number % len(CHOICES)]
    other = CHOICES[(number + 1) % len(CHOICES)] if number % 4 == 3 else choice
    first, second, senior = (people[place] for place in ((number % 2), 1 - (number % 2), 2))
    for person, said in ((first, choice), (second, other), (senior, choice)):
        with app.database.read() as session:
            case = session.get(ReviewCase, case_id)
        if case is None or case.rank is None:
            return
        at = case.created_at + timedelta(minutes=25 + 11 * (number % 9))
        claim = app.reviews.take(person, case_id, now=at)
        seconds = timedelta(seconds=4 + (number * 7) % 23)
        app.decisions.decide(person, case_id, claim.case.token, said, now=at + seconds)


def _appeal(app: Application, scans: Sequence[Scan]) -> None:
    """Two uploaders do not agree with what is in force."""
    words = ("I painted this myself, with brushes. Please look again.", "This is my holiday picture, not spam.")
    filed = 0
    for scan in scans:
        if filed == len(words):
            return
        try:
            app.appeals.file(DEFAULT_TENANT, Plea(words[filed], scan_id=scan.id, locale="en"), actor="demo")
        except ModerationError:
            continue  # still waits for its first decision, or is shown: there is nothing to appeal against
        filed += 1


def _file_notices(app: Application) -> None:
    """One that is complete and runs against the clock, and one that lacks its signature."""
    whole = Filing(
        name="A. Person",
        contact="a.person@demo.example",
        statement="This is a picture of me that I never agreed to.",
        signature="A. Person",
        good_faith=True,
    )
    upload = [("picture.jpg", _file_of(2))]
    app.takedowns.file(DEFAULT_TENANT, whole, upload)
    partly = Filing(name="B. Person", contact="b.person@demo.example", statement="Somebody posted my picture.")
    app.takedowns.file(DEFAULT_TENANT, partly, [("other.jpg", _file_of(3))])


def accounts_text(logins: Sequence[Login], url: str) -> str:
    """What is kept beside the database for whoever looks at the demo."""
    lines = [f"{url}/sign-in", ""]
    for login in logins:
        lines += [f"{login.name} ({', '.join(login.roles)})", f"  password {login.password}", *_codes(login.codes), ""]
    return "\n".join(lines)


def _codes(codes: Sequence[str]) -> list[str]:
    return ["  one-time codes, instead of an authenticator app:", *(f"    {code}" for code in codes)]


def policy_file() -> Path:
    """The demo's own policy."""
    return Path(__file__).with_name("policy.yaml")
