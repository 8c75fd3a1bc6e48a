"""What every exchange behind a URL must do, whatever it speaks."""

import gzip
import json
import time
import traceback
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Any, ClassVar

import pytest

from moderation.errors import ExchangeError
from moderation.exchanges.peers import Change, Page
from tests.moderation.exchanges.conftest import Exchange
from tests.moderation.exchanges.servers import Answer, Asked, serving

VALUES = [f"{number:08x}" * 8 for number in range(1, 6)]


def held(pages: list[Page], before: dict[str, tuple[Change, ...]] | None = None) -> dict[str, tuple[Change, ...]]:
    """What a caller holds after these pages, by record: it applies each and sweeps where a listing is done."""
    kept, seen = dict(before or {}), None
    for page in pages:
        seen = set() if page.restarted else seen
        for entry, changes in page.entries().items():
            kept[entry] = changes
            seen = seen | {entry} if seen is not None else None
        if page.done and seen is not None:
            kept = {entry: changes for entry, changes in kept.items() if entry in seen}
    return {entry: changes for entry, changes in kept.items() if changes}


def values(pages: list[Page], before: dict[str, tuple[Change, ...]] | None = None) -> list[str]:
    return sorted(change.value for changes in held(pages, before).values() for change in changes)


def interrupted(exchange: Exchange, checkpoint: str | None) -> tuple[list[Page], ExchangeError]:
    """The pages that were yielded before the error, and the error."""
    pages: list[Page] = []
    with pytest.raises(ExchangeError) as caught:
        for page in exchange.peer.pages(checkpoint):
            pages.append(page)
    return pages, caught.value


class PeerContract:
    player: ClassVar[Any]

    def start(self, exchange: Exchange) -> str | None:
        """The checkpoint from which five records come in three pages."""
        return None

    @pytest.fixture
    def filled(self, exchange: Exchange) -> Exchange:
        for value in VALUES:
            exchange.player.put(value)
        return exchange

    def test_every_page_is_read_and_the_last_one_says_so(self, filled: Exchange) -> None:
        pages = filled.read(self.start(filled))

        assert values(pages) == VALUES
        assert [len(page.changes) for page in pages if page.changes] == [2, 2, 1]
        assert [page.done for page in pages] == [False] * (len(pages) - 1) + [True]

    def test_the_first_reading_is_a_listing_and_the_next_is_not(self, filled: Exchange) -> None:
        pages = filled.read()
        assert [page.restarted for page in pages] == [True] + [False] * (len(pages) - 1)

        later = filled.read(pages[-1].checkpoint)
        assert later[-1].done
        assert not any(page.restarted for page in later)

    def test_additions_and_withdrawals_since_are_told(self, filled: Exchange) -> None:
        first = filled.read(self.start(filled))
        new = "f" * 64
        filled.player.put(new)
        filled.player.withdraw(VALUES[1])

        later = filled.read(self.again(first[-1].checkpoint))

        assert values(later, held(first)) == sorted([*VALUES[:1], *VALUES[2:], new])
        assert any(change.withdrawn for page in later for change in page.changes)

    def again(self, checkpoint: str) -> str:
        """The checkpoint for reading what the test has just put."""
        return checkpoint

    def test_a_record_that_comes_back_is_told(self, filled: Exchange) -> None:
        first = filled.read(self.start(filled))
        filled.player.withdraw(VALUES[0])
        second = filled.read(self.again(first[-1].checkpoint))
        filled.player.put(VALUES[0])

        third = filled.read(self.again(second[-1].checkpoint))

        assert values(third, held(second, held(first))) == VALUES

    @pytest.mark.parametrize(
        ("answer", "said"),
        [
            (Answer(dies="reset"), "could not be fetched"),
            (Answer(body=b"x" * 500, dies="cut"), "could not be fetched"),
            (Answer(500, b"oops"), "answered with status 500"),
            (Answer(404), "answered with status 404"),
            (Answer(body=b'{"half": '), "its page is not"),
            (Answer(body=b"<half><page>"), "its page is not"),
            (Answer(body=b"[1, 2]"), "its page is"),
            (Answer(body=b"\xff\xfe\x00"), "its page is not"),
            (Answer(body=b"null"), "its page is"),
            (Answer(401, b"secret"), "refuses the credentials (status 401)"),
            (Answer(403), "refuses the credentials (status 403)"),
            (Answer(302, headers={"location": "/elsewhere"}), "it redirects (status 302)"),
            (Answer(302, headers={"location": "http://169.254.169.254/"}), "it redirects (status 302)"),
            (Answer(body=b"", headers={"content-length": "99000000"}), "larger than 32,000,000 bytes"),
            (Answer(204), "status 204"),
        ],
    )
    def test_one_that_dies_half_way_loses_nothing(self, filled: Exchange, answer: Answer, said: str) -> None:
        start = self.start(filled)
        filled.server.fail(2, answer)

        pages, error = interrupted(filled, start)
        rest = filled.read(pages[-1].checkpoint)

        assert values(pages) == VALUES[:2]
        assert values(pages + rest) == VALUES
        assert (error.peer, error.page, error.http_status) == (filled.peer.name, 2, 502)
        assert f"Exchange {filled.peer.name}: page 2 of this run could not be read: " in error.message
        assert said in error.message
        assert error.hint

    def test_packed_pages_are_unpacked_within_bounds(self, filled: Exchange) -> None:
        start, play = self.start(filled), filled.server.play

        def packed(asked: Asked) -> Answer:
            answer = play(asked)
            return Answer(body=gzip.compress(answer.body), headers={**answer.headers, "content-encoding": "gzip"})

        filled.server.play = packed
        assert values(filled.read(start)) == VALUES
        assert filled.server.asked[0].headers["accept-encoding"] == "gzip"

        bomb = gzip.compress(bytes(50_000_000))
        filled.server.fail(1, Answer(body=bomb, headers={"content-encoding": "gzip"}))
        assert "larger than 32,000,000 bytes" in interrupted(filled, start)[1].message

    def test_one_that_dies_at_once_tells_nothing(self, filled: Exchange) -> None:
        start = self.start(filled)
        filled.server.fail(1, Answer(dies="reset"))

        pages, error = interrupted(filled, start)

        assert pages == []
        assert error.page == 1
        assert values(filled.read(start)) == VALUES

    def test_one_that_is_silent_is_left(self, filled: Exchange) -> None:
        start, filled.peer = self.start(filled), filled.connect(seconds=0.3)
        filled.server.fail(2, Answer(dies="silence"))
        started = time.monotonic()

        pages, error = interrupted(filled, start)

        assert time.monotonic() - started < 2
        assert "did not answer within 0.3 s" in error.message
        assert values(pages) == VALUES[:2]

    @pytest.mark.parametrize("status", [429, 503])
    def test_a_busy_one_is_asked_again_when_it_says(self, filled: Exchange, status: int) -> None:
        start = self.start(filled)
        filled.server.fail(2, Answer(status, headers={"retry-after": "7"}))
        filled.server.fail(3, Answer(status, headers={"retry-after": "0"}))

        assert values(filled.read(start)) == VALUES
        assert filled.clock.naps == [7, 0]

    def test_a_busy_one_may_name_a_date(self, filled: Exchange) -> None:
        start = self.start(filled)
        date = format_datetime(datetime.fromtimestamp(filled.clock.now + 20, UTC), usegmt=True)
        filled.server.fail(1, Answer(429, headers={"retry-after": date}))

        assert values(filled.read(start)) == VALUES
        assert filled.clock.naps == [20]

    @pytest.mark.parametrize("said", [{}, {"retry-after": "soon"}, {"retry-after": "-5"}, {"retry-after": "²"}])
    def test_a_busy_one_that_does_not_say_is_given_longer_and_longer(
        self, filled: Exchange, said: dict[str, str]
    ) -> None:
        start = self.start(filled)
        for number in (1, 2, 3):
            filled.server.fail(number, Answer(429, headers={k: v.encode().decode("latin-1") for k, v in said.items()}))

        assert values(filled.read(start)) == VALUES
        assert filled.clock.naps == [1, 2, 4]

    def test_patience_ends(self, filled: Exchange) -> None:
        start = self.start(filled)
        for number in range(2, 12):
            filled.server.fail(number, Answer(503))

        pages, error = interrupted(filled, start)

        assert values(pages) == VALUES[:2]
        assert "it is busy (status 503)" in error.message
        assert filled.clock.naps == [1, 2, 4, 8, 16]

    def test_a_rest_beyond_patience_is_handed_on(self, filled: Exchange) -> None:
        start = self.start(filled)
        filled.server.fail(2, Answer(429, headers={"retry-after": "3600"}))

        pages, error = interrupted(filled, start)

        assert error.retry_after == 3600
        assert "asks for 3600 s of rest" in error.message
        assert filled.clock.naps == []
        assert values(pages + filled.read(pages[-1].checkpoint)) == VALUES

    def test_private_addresses_are_refused_by_default(self, filled: Exchange) -> None:
        filled.peer = filled.connect(allow="")

        pages, error = interrupted(filled, None)

        assert (pages, filled.server.asked) == ([], [])
        assert "is not a public address" in error.message
        assert "PALISADE_FETCH_ALLOWED_NETWORKS" in error.hint

    def test_pages_that_do_not_end_are_left(self, filled: Exchange) -> None:
        start = self.start(filled)
        filled.read(start)
        before = len(filled.server.asked)
        page = self.second(filled)
        for number in range(2, 6):
            filled.server.fail(number, page)

        _, error = interrupted(filled, start)

        assert "the same page again" in error.message
        assert len(filled.server.asked) <= before + 4

    def second(self, exchange: Exchange) -> Answer:
        """The second page of the last reading, again."""
        return exchange.server.play(exchange.server.asked[-2])

    def test_credentials_are_told_to_nobody_else(
        self, filled: Exchange, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
    ) -> None:
        caplog.set_level("DEBUG")
        start, wrong = self.start(filled), {name: value[:-1] + "X" for name, value in filled.player.secrets.items()}
        filled.peer = filled.connect(secrets=wrong)

        _, error = interrupted(filled, start)
        shown = "".join(
            (repr(filled.peer), str(filled.peer), json.dumps(error.as_dict()), caplog.text, *capfd.readouterr())
        )
        shown += "".join(traceback.format_exception(error))

        assert "refuses the credentials" in error.message
        for secret in wrong.values():
            assert secret not in shown
            assert secret.split("|")[-1] not in shown

    def test_credentials_are_not_kept_in_checkpoints(self, filled: Exchange) -> None:
        kept = "".join(page.checkpoint for page in filled.read(self.start(filled)))

        for secret in filled.player.secrets.values():
            assert secret not in kept
            assert secret.split("|")[-1] not in kept

    def test_checkpoints_that_do_not_fit_begin_a_new_listing(self, filled: Exchange) -> None:
        other = json.loads(filled.read()[-1].checkpoint) | {"of": "another"}

        for text in ("", "nonsense", "{}", "[]", json.dumps(other)):
            first = next(iter(filled.peer.pages(text)))
            assert first.restarted

    def test_nothing_is_taken_from_the_environment(self, filled: Exchange, monkeypatch: pytest.MonkeyPatch) -> None:
        for name in ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, "http://127.0.0.1:9")

        assert values(filled.read(self.start(filled))) == VALUES


class LinkedPeerContract(PeerContract):
    """For those whose pages name the next one by its URL."""

    other_server: ClassVar[str]

    def test_a_page_on_another_server_is_not_asked_for(self, filled: Exchange) -> None:
        start = self.start(filled)
        with serving(lambda asked: Answer(500)) as stranger:
            answer = self.linking(filled, stranger.url)
            filled.server.fail(1, answer)
            _, error = interrupted(filled, start)

        assert stranger.asked == []
        assert self.other_server in error.message

    def linking(self, exchange: Exchange, url: str) -> Answer:
        """A page that names that server's page as the next one."""
        raise NotImplementedError
