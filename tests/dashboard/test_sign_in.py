"""Signing in through the pages, and what hostile requests get."""

from datetime import timedelta

import pyotp
import pytest
import sqlalchemy as sa
from fastapi.testclient import TestClient

from dashboard.sessions import SESSION, VISITOR, form_token, safe_next
from moderation.application import Application
from moderation.tables import Account, AccountSession, utc_now
from tests.accounts import PASSWORD, Someone, someone
from tests.dashboard.conftest import Browser, field, submit
from tests.moderation.accounts.conftest import MakeParts


def sign_in(browser: TestClient, parts: Application, who: Someone, onward: str = "/app") -> None:
    assert submit(browser, "/sign-in", name=who.name, password=who.password, next=onward).status_code == 303
    done = submit(browser, "/sign-in/code", code=who.code(parts), next=onward)
    assert (done.status_code, done.headers["location"]) == (303, onward)


def test_the_way_from_an_invitation_to_the_home_page(parts: Application, browse: Browser) -> None:
    _, invitation = parts.accounts.add("default", "ada@example.org", ["reviewer"], actor="test")
    browser, path = browse(), f"/welcome/{invitation}"

    assert "ada@example.org" in browser.get(path).text
    assert submit(browser, path, password=PASSWORD, repeated="another").status_code == 422
    assert submit(browser, path, password=PASSWORD, repeated=PASSWORD).headers["location"] == f"{path}/app"
    assert browser.get("/app").status_code == 303, "not signed in before the app is set up"
    secret = parts.enrolment.authenticator(invitation).secret
    assert "<svg" in browser.get(f"{path}/app").text
    assert submit(browser, f"{path}/app", code="000000x").status_code == 401
    done = submit(browser, f"{path}/app", code=pyotp.TOTP(secret.replace(" ", "")).now())

    assert done.text.count("<li><code>") == 10
    assert "ada@example.org" in browser.get("/app").text
    assert browse().get(path).status_code == 404, "an invitation works once"


def test_signing_in_leads_back_to_where_one_wanted_to_go(parts: Application, browse: Browser) -> None:
    ada, browser = someone(parts), browse()

    assert browser.get("/app/me?done=display").headers["location"] == "/sign-in?next=%2Fapp%2Fme%3Fdone%3Ddisplay"
    assert field(browser.get("/sign-in?next=%2Fapp%2Fme"), "next") == "/app/me"
    sign_in(browser, parts, ada, "/app/me")
    page = browser.get("/app/me")

    assert page.status_code == 200
    assert page.headers["cache-control"] == "no-store"
    assert browser.get("/sign-in").headers["location"] == "/app"


@pytest.mark.parametrize(
    "target",
    ["https://evil.example", "//evil.example", "/app//evil.example", "/\\evil.example", "/app/../x\n", "javascript:alert(1)", "/appx", "", "https:/app", "/app\\..\\x", "\t//evil.example/app"],
)  # fmt: skip
def test_no_other_address_is_led_to(target: str) -> None:
    assert safe_next(target) == "/app"


def test_the_password_alone_opens_no_page(parts: Application, browse: Browser) -> None:
    ada, browser = someone(parts), browse()
    submit(browser, "/sign-in", name=ada.name, password=PASSWORD)

    for path in ("/app", "/app/me", "/app/accounts"):
        assert browser.get(path).status_code == 303


def test_a_session_is_not_one_that_somebody_planted(parts: Application, browse: Browser) -> None:
    ada, browser = someone(parts), browse()
    browser.cookies.set(SESSION, "planted", domain="testserver.local", path="/")
    submit(browser, "/sign-in", name=ada.name, password=PASSWORD)
    pending = browser.cookies.get(SESSION, domain="testserver.local")
    submit(browser, "/sign-in/code", code=ada.code(parts))
    token = browser.cookies.get(SESSION, domain="testserver.local")

    assert len({"planted", pending, token}) == 3
    assert parts.sessions.find(pending or "") is None
    assert parts.sessions.find(token or "")


def test_a_stolen_token_is_of_no_use_after_signing_out(parts: Application, browse: Browser) -> None:
    ada, browser, thief = someone(parts), browse(), browse()
    sign_in(browser, parts, ada)
    stolen = browser.cookies.get(SESSION)
    thief.cookies.set(SESSION, stolen or "")
    assert thief.get("/app").status_code == 200

    out = submit(browser, "/app", "/sign-out")

    assert out.headers["location"] == "/sign-in"
    assert thief.get("/app").status_code == 303


def test_two_servers_agree(make_parts: MakeParts, browse: Browser) -> None:
    one, other = make_parts(), make_parts()
    ada, first, second = someone(one), browse(one), browse(other)
    submit(first, "/sign-in", name=ada.name, password=PASSWORD)
    second.cookies.update(first.cookies)
    submit(second, "/sign-in/code", code=ada.code(other))
    first.cookies.clear()
    first.cookies.update(second.cookies)

    assert first.get("/app").status_code == 200
    submit(second, "/app", "/sign-out")
    assert first.get("/app").status_code == 303


@pytest.mark.parametrize("path", ["/sign-in", "/sign-in/code"])
def test_forms_before_signing_in_are_tied_to_the_browser(browse: Browser, path: str) -> None:
    browser = browse()
    other = field(browse().get("/sign-in"))

    for forged in ("", "x", other, form_token("")):
        assert browser.post(path, data={"csrf": forged}).status_code == 403
    browser.get("/sign-in")
    assert browser.post(path, data={"csrf": other}).status_code == 403


@pytest.mark.parametrize(
    "path",
    ["/sign-out", "/app/me/display", "/app/me/password", "/app/me/recovery", "/app/me/sessions/others", "/app/me/sessions/x", "/app/accounts", "/app/accounts/x/disable"],
)  # fmt: skip
def test_forged_forms_are_refused(parts: Application, browse: Browser, path: str) -> None:
    ada, browser = someone(parts, "ada", "admin"), browse()
    visitor = field(browser.get("/sign-in"))
    sign_in(browser, parts, ada)

    for forged in ("", "x", visitor):
        assert browser.post(path, data={"csrf": forged}).status_code == 403
    token = field(browser.get("/app"))
    cross = browser.post(path, data={"csrf": token}, headers={"Sec-Fetch-Site": "cross-site"})
    assert cross.status_code == 403
    assert browser.get("/app").status_code == 200


def test_a_script_sends_the_token_as_a_header_and_is_told_in_json(parts: Application, browse: Browser) -> None:
    ada, browser = someone(parts), browse()
    sign_in(browser, parts, ada)
    token = field(browser.get("/app"))

    assert browser.post("/app/me/display", headers={"X-CSRF-Token": token}).status_code == 303
    forged = browser.post("/app/me/display", headers={"X-CSRF-Token": "x"})
    assert (forged.status_code, forged.json()["error"]["code"]) == (403, "forbidden")
    gone = browse().get("/app", headers={"Accept": "application/json"})
    assert (gone.status_code, gone.json()["error"]["code"]) == (401, "unauthenticated")


def test_roles_are_not_a_form_field(parts: Application, browse: Browser) -> None:
    ada, browser = someone(parts), browse()
    sign_in(browser, parts, ada)

    submit(browser, "/app/me", "/app/me/display", blur="40", role="admin", roles="admin", tenant_id="other")
    refused = submit(browser, "/app", f"/app/accounts/{ada.id}/roles", role="admin")

    assert refused.status_code == 403
    page = browser.get("/app/accounts")
    assert page.status_code == 403
    assert "Sign out" in page.text, "in the frame of whoever is signed in"
    assert browser.get(f"/app/accounts/{ada.id}").status_code == 403
    assert parts.accounts.find("default", ada.id).roles == ["reviewer"]


def test_cookies_are_out_of_reach_of_scripts_and_other_hosts(parts: Application, browse: Browser) -> None:
    ada, plain = someone(parts), browse()
    secure = browse(base_url="https://testserver")
    page = secure.get("/sign-in")

    cookie = page.headers["set-cookie"]
    assert cookie.startswith(f"__Host-{VISITOR}=")
    assert {"HttpOnly", "Secure", "SameSite=lax", "Path=/"} <= set(cookie.split("; "))
    assert "Secure" not in plain.get("/sign-in").headers["set-cookie"]
    done = submit(secure, "/sign-in", name=ada.name, password=PASSWORD)
    assert f"__Host-{SESSION}=" in done.headers["set-cookie"]


def test_a_trusted_proxy_says_that_the_browser_speaks_https(make_parts: MakeParts, browse: Browser) -> None:
    said = {"X-Forwarded-Proto": "https"}

    assert "Secure" in browse(make_parts(trusted_proxies=1)).get("/sign-in", headers=said).headers["set-cookie"]
    assert "Secure" not in browse(make_parts()).get("/sign-in", headers=said).headers["set-cookie"]


@pytest.mark.parametrize("over", [{"seen_at": timedelta(minutes=61)}, {"ends_at": timedelta(seconds=1)}])
def test_sessions_end(parts: Application, browse: Browser, over: dict[str, timedelta]) -> None:
    ada, browser = someone(parts), browse()
    sign_in(browser, parts, ada)
    with parts.database.write() as session:
        values = {name: utc_now() - ago for name, ago in over.items()}
        session.execute(sa.update(AccountSession).values(values))

    assert browser.get("/app").status_code == 303
    assert parts.sessions.forget() >= 1


def test_changed_roles_and_disabling_sign_out(parts: Application, browse: Browser) -> None:
    ada, browser = someone(parts), browse()
    sign_in(browser, parts, ada)
    parts.accounts.change("default", ada.id, ["lead"], actor="test")
    assert browser.get("/app").status_code == 303

    sign_in(browser, parts, ada)
    parts.accounts.disable("default", ada.id, actor="test")
    assert browser.get("/app").status_code == 303
    assert submit(browser, "/sign-in", name=ada.name, password=PASSWORD).status_code == 401


def test_without_an_api_key_people_still_sign_in(make_parts: MakeParts, browse: Browser) -> None:
    browser = browse(make_parts(require_key=False))

    assert browser.get("/app").headers["location"] == "/sign-in"


def test_hostile_words_stay_words(parts: Application, browse: Browser) -> None:
    hostile = '"><script>alert(1)</script>'
    ada, browser = someone(parts, "ada", "admin"), browse()
    page = submit(browser, "/sign-in", name=hostile, password="x", next=hostile)
    assert "<script>" not in page.text

    submit(browser, "/sign-in", name=ada.name, password=PASSWORD)
    browser.headers["User-Agent"] = hostile
    submit(browser, "/sign-in/code", code=ada.code(parts))
    assert "<script>" not in browser.get("/app/me").text
    assert "<script>" not in submit(browser, "/app/accounts", name=hostile, role=hostile, queues=hostile).text


def test_a_reset_account_cannot_be_entered_by_its_old_password(parts: Application, browse: Browser) -> None:
    ada, browser = someone(parts), browse()
    parts.accounts.reset("default", ada.id, actor="test")

    assert submit(browser, "/sign-in", name=ada.name, password=PASSWORD).status_code == 401
    with parts.database.read() as session:
        account = session.get(Account, ada.id)
    assert account is not None
    assert (account.password, account.totp_secret) == ("", None)
