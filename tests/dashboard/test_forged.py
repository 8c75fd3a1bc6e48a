"""Every POST of the dashboard, with what another site, another session or another role would send: all of it is refused."""

import re
from pathlib import Path
from typing import Any

import pytest
from fastapi.openapi.utils import get_openapi
from fastapi.testclient import TestClient

from dashboard.app import create_app
from dashboard.sessions import form_token
from moderation.application import Application
from moderation.roles import Role
from tests.accounts import someone
from tests.dashboard.conftest import Browser

WORK, ADMIN = {Role.REVIEWER, Role.SENIOR}, {Role.ADMIN}
ROLES = {
    "/app/queue": WORK,
    "/app/cases": WORK,
    "/app/takedowns": WORK,
    "/app/backtest": {Role.POLICY, Role.LEAD},
    "/app/rescans": {Role.ADMIN, Role.POLICY, Role.LEAD},
    "/app/accounts": ADMIN,
    "/app/me": set(Role),
    "/sign-out": set(Role),
}
"""Who may send anything to the addresses that begin so."""

VISITORS = {"/sign-in", "/sign-in/code", "/welcome/{invitation}", "/welcome/{invitation}/app"}
"""Before there is an account to act for: tied to the browser."""

PUBLIC = {"/notice", "/notice/{token}/complete", "/notice/{token}/withdraw"}
"""Act for nobody who is signed in: the form is anybody's, and a notice's private link is what gives the right."""

VALUES = {
    "notice_id": "notice_01kax1pz7rc5w1m3s0qv9yd2ht",
    "case_id": "case_01kax1pz7rc5w1m3s0qv9yd2ht",
    "plan_id": "rescan_01kax1pz7rc5w1m3s0qv9yd2ht",
    "account_id": "acct_1",
    "session_id": "sess_1",
}


@pytest.fixture
def database_url(tmp_path: Path) -> str:
    """What is refused before anything is read needs one database."""
    return f"sqlite:///{tmp_path / 'palisade.db'}"


def posts(parts: Application) -> list[str]:
    """The paths of everything that takes a POST."""
    known = get_openapi(title="dashboard", version="1", routes=create_app(parts).routes)["paths"]
    found = sorted(path for path, methods in known.items() if "post" in methods)
    assert len(found) > 20
    return found


def filled(path: str) -> str:
    return re.sub(r"\{(\w+)\}", lambda name: VALUES.get(name[1], "x" * 43), path)


def roles_of(path: str) -> set[Role]:
    return next(roles for start, roles in ROLES.items() if path == start or path.startswith(f"{start}/"))


def signed(browse: Browser, parts: Application, name: str, *roles: str) -> tuple[TestClient, str]:
    """Somebody at a browser, and the token of their session."""
    who, browser = someone(parts, name, *roles), browse()
    browser.cookies.set("palisade-session", who.token)
    return browser, who.token


def test_every_post_is_one_that_is_known_here(parts: Application) -> None:
    for path in posts(parts):
        assert path in VISITORS | PUBLIC or roles_of(path), path


def test_no_form_of_another_session_or_site_is_taken(parts: Application, browse: Browser) -> None:
    browser, token = signed(browse, parts, "all@example.org", *(role.value for role in Role))
    _, another = signed(browse, parts, "other@example.org", "admin")
    right = form_token(token)
    forged: list[dict[str, Any]] = [
        {"data": {}},
        {"data": {"csrf": ""}},
        {"data": {"csrf": form_token(another)}},
        {"data": {"csrf": token}},
        {"data": {"csrf": right[:-1]}},
        {"data": {"csrf": right}, "headers": {"sec-fetch-site": "cross-site"}},
        {"data": {"csrf": right}, "headers": {"sec-fetch-site": "same-site"}},
        {"data": {"csrf": right}, "headers": {"x-csrf-token": "wrong"}},
        {"headers": {"x-csrf-token": form_token(another)}},
        {"json": {"csrf": right}},
        {"files": {"csrf": ("a.txt", right.encode())}},
    ]

    for path in set(posts(parts)) - PUBLIC - VISITORS:
        for sent in forged:
            assert browser.post(filled(path), **sent).status_code in (400, 403), (path, sent)
    assert browser.get("/app/me").status_code == 200, "still signed in, and nothing was done"


def test_nobody_acts_without_a_session(parts: Application, browse: Browser) -> None:
    for path in set(posts(parts)) - PUBLIC - VISITORS:
        answer = browse().post(filled(path), data={"csrf": form_token("guess")})
        assert (answer.status_code, answer.headers["location"]) == (303, "/sign-in"), path


def test_visitors_forms_are_tied_to_their_browser(parts: Application, browse: Browser) -> None:
    mine, others = browse(), browse()
    for browser in (mine, others):
        browser.get("/sign-in")
    theirs = form_token(others.cookies["palisade-visitor"])

    for path in VISITORS:
        for sent in ({}, {"csrf": ""}, {"csrf": theirs}):
            assert mine.post(filled(path), data=sent).status_code == 403, path


@pytest.mark.parametrize("role", Role)
def test_no_role_may_do_what_is_anothers(parts: Application, browse: Browser, role: Role) -> None:
    browser, token = signed(browse, parts, f"{role.value}@example.org", role.value)

    for path in set(posts(parts)) - PUBLIC - VISITORS - {"/sign-out"}:
        answer = browser.post(filled(path), data={"csrf": form_token(token), "role": "admin", "roles": "admin"})
        assert (answer.status_code == 403) == (role not in roles_of(path)), (path, answer.status_code)
    account = parts.accounts.named("default", f"{role.value}@example.org")
    assert account.roles == [role.value], "nobody gave themselves a role"


def test_nobody_reaches_an_account_of_another_tenant(parts: Application, browse: Browser) -> None:
    from moderation.tables import Tenant, utc_now

    with parts.database.write() as session:
        session.add(Tenant(id="other", name="Other", created_at=utc_now()))
    theirs = someone(parts, "theirs@example.org", "reviewer", tenant="other")
    browser, token = signed(browse, parts, "ada@example.org", "admin")

    for act in ("roles", "reset", "disable", "enable"):
        sent = {"csrf": form_token(token), "role": "admin"}
        assert browser.post(f"/app/accounts/{theirs.id}/{act}", data=sent).status_code == 404
    assert parts.accounts.find("other", theirs.id).roles == ["reviewer"]
    assert parts.accounts.find("other", theirs.id).disabled_at is None
