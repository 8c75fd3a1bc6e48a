"""Which exchanges there are, and what each needs to be told."""

import json
from typing import Any

import pytest
from pydantic import SecretStr

from moderation.errors import InvalidRequestError
from moderation.exchanges.changes import Change, MalformedError, Page, signal, text
from moderation.exchanges.peers import CONFIGS, SECRETS, peer
from moderation.fetch import SafeClient
from moderation.settings import Settings
from tests.moderation.exchanges import servers

SAFE = SafeClient(Settings(_env_file=None))
KEYS: dict[str, dict[str, str]] = {
    one.kind: one.secrets for one in (servers.StopNcii, servers.Ncmec, servers.ThreatExchange)
}
GOOD: dict[str, dict[str, Any]] = {
    "file": {"path": "/srv/list.csv"},
    "ncmec": {"environment": "Industry"},
    "stopncii": {},
    "threatexchange": {"privacy_group": 1},
}


def refused(kind: str, config: dict[str, Any], secrets: Any = None) -> InvalidRequestError:
    with pytest.raises(InvalidRequestError) as caught:
        peer(kind, config, SAFE, KEYS.get(kind, {}) if secrets is None else secrets)
    assert caught.value.error_code == "exchange_invalid"
    assert caught.value.hint
    return caught.value


class TestConfiguring:
    @pytest.mark.parametrize("kind", sorted(GOOD))
    def test_the_least_that_each_needs(self, kind: str) -> None:
        secrets = {name: SecretStr(value) for name, value in KEYS.get(kind, {}).items()}

        made = peer(kind, GOOD[kind], SAFE, secrets)

        assert made.name == kind
        assert set(GOOD) == set(CONFIGS) == set(SECRETS)

    def test_an_unknown_kind(self) -> None:
        error = refused("hma", {})

        assert "no exchange of the kind 'hma'" in error.message
        assert "file, ncmec, stopncii, threatexchange" in error.hint

    @pytest.mark.parametrize(
        ("kind", "config", "said"),
        [
            ("file", {}, "path: Field required"),
            ("file", {"path": "list.csv"}, "path: Value error, it must be absolute"),
            ("file", {"path": "/a.csv", "type": "photodna"}, "type: Input should be 'pdq', 'md5' or 'sha256'"),
            ("ncmec", {}, "environment: Field required"),
            ("ncmec", {"environment": "Everything"}, "environment: Input should be 'Industry'"),
            ("ncmec", {"environment": "NGO", "only_members": ["x"]}, "only_members.0: Input should be a valid integer"),
            ("threatexchange", {"privacy_group": 0}, "privacy_group: Input should be greater than or equal to 1"),
            ("stopncii", {"password": "hunter2"}, "password: Extra inputs are not permitted"),
            ("stopncii", {"page_size": 0}, "page_size: Input should be greater"),
            ("stopncii", {"seconds": 0}, "seconds: Input should be greater than 0"),
            ("stopncii", {"max_bytes": 10**12}, "max_bytes: Input should be less"),
            ("stopncii", {"url": "ftp://x.test"}, "url: Value error, it must be an https URL"),
            ("stopncii", {"url": "https://"}, "url: Value error, it must be an https URL"),
            ("stopncii", {"url": "https://user:hunter2@x.test"}, "url: Value error, it must be an https URL"),
            ("stopncii", {"url": "https://x.test/?code=hunter2"}, "url: Value error, it must be an https URL"),
            ("stopncii", {"url": "http://x.test/v1"}, "credentials are sent over https only"),
            ("stopncii", {"url": "http://8.8.8.8/v1"}, "credentials are sent over https only"),
        ],
    )
    def test_what_cannot_be_used_is_named(self, kind: str, config: dict[str, Any], said: str) -> None:
        error = refused(kind, config)

        assert f"The configuration of the {kind} exchange cannot be used" in error.message
        assert said in error.message
        assert "hunter2" not in json.dumps(error.as_dict())

    @pytest.mark.parametrize(
        "url", ["http://127.0.0.1:8/v1", "http://10.1.2.3", "http://[::1]:80/v1/", "https://x.test/v1/"]
    )
    def test_where_it_may_be(self, url: str) -> None:
        peer("stopncii", {"url": url}, SAFE, KEYS["stopncii"])

    @pytest.mark.parametrize(
        ("kind", "secrets", "said"),
        [
            ("ncmec", {}, "user: Field required; password: Field required"),
            ("ncmec", {"user": "", "password": "hunter2"}, "user: Value should have at least 1 item"),
            ("stopncii", {"subscription_key": "hunter2"}, "fetch_function_key: Field required"),
            ("threatexchange", {"api_token": "hunter2"}, "api_token: Value error, it is not an app token"),
            ("file", {"api_token": "hunter2"}, "api_token: Extra inputs are not permitted"),
        ],
    )
    def test_missing_credentials_are_named_and_none_is_shown(
        self, kind: str, secrets: dict[str, str], said: str
    ) -> None:
        error = refused(kind, GOOD[kind], secrets)

        assert f"The credentials of the {kind} exchange cannot be used" in error.message
        assert said in error.message
        assert "hunter2" not in json.dumps(error.as_dict())


class TestChanges:
    def test_a_page_tells_what_each_record_holds_from_now_on(self) -> None:
        page = Page(
            (
                Change("pdq", "1", "a"),
                Change("md5", "2", "a"),
                Change("pdq", "3", "b", withdrawn=True),
                Change("", "", "c", withdrawn=True),
                Change("pdq", "4", "d"),
                Change("pdq", "4", "d", withdrawn=True),
                Change("pdq", "5", "e"),
                Change("", "", "e", withdrawn=True),
                Change("pdq", "6", "e"),
            ),
            "{}",
            done=True,
        )

        held = {entry: [change.value for change in changes] for entry, changes in page.entries().items()}

        assert held == {"a": ["1", "2"], "b": [], "c": [], "d": [], "e": ["6"]}

    def test_values_are_brought_to_lower_case(self) -> None:
        assert signal("md5", f" {'AB' * 16}\n") == "ab" * 16
        for bad in ("", "ab", "é" * 32, "٣" * 32, None, b"ab"):
            with pytest.raises(MalformedError):
                signal("md5", bad)

    def test_texts_are_bounded_and_of_one_line(self) -> None:
        assert text("a\n\x1b[31mb\u202e  c") == "a [31mb c"
        assert len(text("x" * 10_000)) == 200
