"""Signing in through a provider, and what is not believed of it."""

import threading
from collections.abc import Callable, Iterator
from typing import Any

import httpx2
import pytest
from fastapi.testclient import TestClient
from joserfc.jwk import ECKey

from dashboard.sessions import SESSION
from moderation.accounts.oidc import Identity
from moderation.application import Application
from moderation.errors import SettingsError
from tests.accounts import CLIENT, someone
from tests.dashboard.conftest import Browser
from tests.moderation.accounts.conftest import MakeParts
from tests.provider import CLIENT_ID, CLIENT_SECRET, LocalProvider, running_provider


@pytest.fixture
def provider() -> Iterator[LocalProvider]:
    with running_provider() as provider:
        yield provider


@pytest.fixture
def make_served(provider: LocalProvider, make_parts: MakeParts) -> Callable[..., Application]:
    def make(**changed: Any) -> Application:
        values = {
            "oidc_issuer": provider.url,
            "oidc_client_id": CLIENT_ID,
            "oidc_client_secret": CLIENT_SECRET,
            "oidc_roles": ("ts=reviewer", "ts-leads=lead"),
            "dashboard_url": "http://testserver",
            "fetch_allowed_networks": "127.0.0.0/8",
        }
        return make_parts(**{**values, **changed})

    return make


@pytest.fixture
def served(make_served: Callable[..., Application]) -> Application:
    return make_served()


def go(browser: TestClient, onward: str = "/app/me") -> str:
    """To the provider and to where it sends back, which is given and not yet visited."""
    leave = browser.get(f"/sign-in/provider?next={onward}")
    assert leave.status_code == 303
    return httpx2.get(leave.headers["location"]).headers["location"]


def test_whoever_the_provider_vouches_for_is_let_in(served: Application, browse: Browser) -> None:
    browser = browse(served)
    assert "/sign-in/provider" in browser.get("/sign-in").text

    back = browser.get(go(browser))

    assert (back.status_code, back.headers["location"]) == (303, "/app/me")
    page = browser.get("/app/me")
    assert "grace" in page.text
    assert "Current password" not in page.text
    assert served.accounts.named("default", "grace").roles == ["reviewer"]


def test_roles_are_those_of_the_last_sign_in(served: Application, provider: LocalProvider, browse: Browser) -> None:
    first, second = browse(served), browse(served)
    first.get(go(first))
    provider.claims["groups"] = ["ts-leads", "unknown"]
    second.get(go(second))

    assert served.accounts.named("default", "grace").roles == ["lead"]
    assert first.get("/app").status_code == 303, "the session with the old roles ended"
    assert second.get("/app").status_code == 200


@pytest.mark.parametrize("groups", [[], ["unknown"], "admin", 7, None, [["ts"]]])
def test_nobody_without_a_role_is_let_in(
    served: Application, provider: LocalProvider, browse: Browser, groups: object
) -> None:
    provider.claims["groups"] = groups
    browser = browse(served)

    back = browser.get(go(browser))

    assert back.status_code == 403
    assert SESSION not in browser.cookies
    assert served.accounts.accounts("default") == []


@pytest.mark.parametrize(
    "lies",
    [{"iss": "https://evil.example"}, {"aud": "another"}, {"aud": ["palisade", "x"], "azp": "x"}, {"exp": 1}, {"nonce": "replayed"}, {"iat": 4_000_000_000}, {"sub": 7}, {"at_hash": "x"}],
)  # fmt: skip
def test_id_tokens_that_do_not_hold_are_refused(
    served: Application, provider: LocalProvider, browse: Browser, lies: dict[str, Any]
) -> None:
    provider.lies = lies
    browser = browse(served)

    back = browser.get(go(browser))

    assert back.status_code == 401
    assert served.accounts.accounts("default") == []


def test_a_token_of_another_key_is_refused(served: Application, provider: LocalProvider, browse: Browser) -> None:
    provider.key = ECKey.generate_key("P-256", {"kid": "k1"})
    browser = browse(served)

    assert browser.get(go(browser)).status_code == 401


def test_an_answer_belongs_to_the_browser_that_asked(served: Application, browse: Browser) -> None:
    victim, attacker = browse(served), browse(served)
    planted = go(attacker)

    assert victim.get(planted).status_code == 401
    go(victim)
    assert victim.get(planted).status_code == 401, "the state is of another sign-in"


def test_a_code_works_once(served: Application, browse: Browser) -> None:
    browser = browse(served)
    back = go(browser)
    assert browser.get(back).status_code == 303

    assert browser.get(back).status_code == 401


def test_an_answer_of_another_provider_is_refused(served: Application, browse: Browser) -> None:
    browser = browse(served)

    assert browser.get(go(browser).partition("&iss=")[0] + "&iss=https://evil.example").status_code == 401


def test_an_account_with_a_password_is_not_handed_over(served: Application, browse: Browser) -> None:
    someone(served, "grace", "admin")
    browser = browse(served)

    assert browser.get(go(browser)).status_code == 409
    assert served.accounts.named("default", "grace").roles == ["admin"]


def test_first_sign_ins_at_once_make_one_account(served: Application) -> None:
    tokens: list[str] = []
    identity = Identity("a" * 64, "grace", ["reviewer"])

    def sign_in() -> None:
        tokens.append(served.signing.provided(identity, "default", CLIENT))

    threads = [threading.Thread(target=sign_in) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert all(served.sessions.find(token) for token in tokens)
    assert len(tokens) == 6
    assert len(served.accounts.accounts("default")) == 1


def test_a_disabled_account_stays_out(served: Application, browse: Browser) -> None:
    someone(served, "ada", "admin")
    browser = browse(served)
    browser.get(go(browser))
    served.accounts.disable("default", served.accounts.named("default", "grace").id, actor="test")

    assert browser.get(go(browser)).status_code == 401


def test_no_other_address_is_led_to(served: Application, browse: Browser) -> None:
    browser = browse(served)

    assert browser.get(go(browser, "https://evil.example")).headers["location"] == "/app"


def test_a_private_provider_has_to_be_allowed(make_served: Callable[..., Application], browse: Browser) -> None:
    page = browse(make_served(fetch_allowed_networks="")).get("/sign-in/provider")

    assert page.status_code == 401
    assert "does not answer" in page.text


def test_without_a_provider_there_is_no_such_page(parts: Application, browse: Browser) -> None:
    assert browse().get("/sign-in/provider").status_code == 404


@pytest.mark.parametrize("roles", ["ts=king", "=reviewer", "reviewer="])
def test_an_unfit_mapping_of_roles_is_a_settings_error(make_served: Callable[..., Application], roles: str) -> None:
    with pytest.raises(SettingsError, match="PALISADE_OIDC_ROLES"):
        _ = make_served(oidc_roles=roles).provider
