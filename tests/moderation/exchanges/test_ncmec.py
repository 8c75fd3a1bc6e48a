"""NCMEC's hash sharing."""

import json
import time

import pytest

from moderation.exchanges.peers import Change
from tests.moderation.exchanges import servers
from tests.moderation.exchanges.conftest import Exchange
from tests.moderation.exchanges.contract import VALUES, LinkedPeerContract, held, interrupted, values
from tests.moderation.exchanges.servers import Answer

MD5, SHA1 = "c" * 32, "d" * 40


def page_of(xml: str, *, newest: str = 'maxTimestamp="2020-01-01T00:00:00Z"', link: str = "") -> Answer:
    body = f'<queryResult xmlns="https://hashsharing.ncmec.org/hashsharing/v2"><images {newest}>{xml}</images>{link}</queryResult>'
    return Answer(body=body.encode())


class TestNcmec(LinkedPeerContract):
    player = servers.Ncmec
    other_server = "its next page is not a path"

    def start(self, exchange: Exchange) -> str | None:
        """A minute ago: the library pages within short spans, and cuts long ones up."""
        records, exchange.player.records = exchange.player.records, {}
        caught_up = exchange.read()[-1].checkpoint
        exchange.player.records = records
        exchange.server.asked.clear()
        exchange.server.faults.clear()
        return self.again(caught_up)

    def again(self, checkpoint: str) -> str:
        return json.dumps(json.loads(checkpoint) | {"since": int(time.time()) - 60, "page": "", "until": 0, "at": 0})

    def linking(self, exchange: Exchange, url: str) -> Answer:
        return page_of("", link=f"<paging><next>.{url.removeprefix('http://')}/v2/entries</next></paging>")

    def second(self, exchange: Exchange) -> Answer:
        return exchange.server.play(exchange.server.asked[1])

    def test_the_request_is_ncmec_s_own(self, filled: Exchange, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("TZ", "Asia/Tokyo")
        time.tzset()
        try:
            filled.read(self.start(filled))
        finally:
            monkeypatch.undo()
            time.tzset()

        first, second, _ = filled.server.asked
        assert first.path == second.path == "/hashsharing/v2/entries"
        assert abs(servers._stamp(first.query["from"]) - (time.time() - 60)) < 5
        assert abs(servers._stamp(first.query["to"]) - (time.time() - 5)) < 5
        assert second.query == first.query | {"start": "3", "size": "2", "max": "5"}

    def test_a_record_is_told_with_all_it_holds(self, exchange: Exchange) -> None:
        given = f"<md5>{MD5.upper()}</md5><sha1>{SHA1}</sha1><pdna>1,2</pdna><pdq>{VALUES[0]}</pdq>"
        refused = (
            '<feedback lastUpdateTimestamp="2023-06-01T12:48:14Z"><negativeFeedback type="PDQ" '
            'lastUpdateTimestamp="2023-06-01T12:48:14Z"><reasons><reason name="Not apparent" guid="g"/>'
            '<members timestamp="2023-06-01T12:48:14Z"><member id="43">Other</member></members></reasons>'
            "</negativeFeedback></feedback>"
        )
        exchange.player.put("", id="image1", xml=f"<fingerprints>{given}</fingerprints>{refused}", at=1_600_000_000)

        (page, end) = exchange.read()

        assert page.entries() == {
            "42-image1": (
                Change("md5", MD5, "42-image1", False, ("A1", "image"), "member 42"),
                Change("pdq", VALUES[0], "42-image1", False, ("A1", "disputed", "image"), "member 42"),
            )
        }
        assert (end.done, end.changes) == (True, ())

    def test_a_record_that_no_longer_holds_a_signal_withdraws_it(self, exchange: Exchange) -> None:
        both = f"<fingerprints><md5>{MD5}</md5><pdq>{VALUES[0]}</pdq></fingerprints>"
        exchange.player.put("", id="one", xml=both)
        exchange.player.put("", id="two", xml=both.replace(VALUES[0], VALUES[1]))
        first = exchange.read()
        exchange.player.put("", id="one", xml=f"<fingerprints><pdq>{VALUES[0]}</pdq></fingerprints>")
        exchange.player.put("", id="two", xml=f"<fingerprints><sha1>{SHA1}</sha1></fingerprints>")

        later = exchange.read(self.again(first[-1].checkpoint))

        assert values(first) == sorted([MD5, MD5, VALUES[0], VALUES[1]])
        assert values(later, held(first)) == [VALUES[0]]
        assert sum(page.ignored for page in later) == 1

    def test_only_some_members(self, exchange: Exchange) -> None:
        exchange.player.put(VALUES[0], member=42)
        exchange.player.put(VALUES[1], member=43)
        exchange.peer = exchange.connect(only_members=[43])

        pages = exchange.read()

        assert values(pages) == [VALUES[1]]
        assert pages[0].ignored == 1

    def test_malformed_records_are_named_and_the_rest_counts(self, exchange: Exchange) -> None:
        exchange.player.size = 20
        exchange.player.put(VALUES[0], at=10)
        exchange.player.put("", id="short", xml="<fingerprints><pdq>abc</pdq><md5/></fingerprints>", at=11)
        exchange.player.records["x"] = (12, "<image><id>nobody</id></image>")
        exchange.player.records["y"] = (13, '<painting><member id="1">A</member><id>p</id></painting>')
        exchange.player.records["z"] = (14, '<image><member id="one">A</member><id>q</id></image>')
        exchange.player.records["w"] = (15, '<image><member id="1">A</member></image>')

        page = exchange.read()[0]

        assert values([page]) == [VALUES[0]]
        assert page.malformed == (
            "images 3 (nobody): it is not a record",
            "images 4 (p): it is not a record",
            "images 5 (q): it is not a record",
            "images 6 (None): it is not a record",
            "42-short: the pdq value has 3 characters, not 64",
        )

    @pytest.mark.parametrize(
        ("answer", "said"),
        [
            (page_of("<image/>", newest=""), "images have no maxTimestamp that is a time"),
            (page_of("<image/>", newest='maxTimestamp="soon"'), "images have no maxTimestamp that is a time"),
            (Answer(body=b"<html><body>Maintenance</body></html>"), "a 'html', not a 'queryResult'"),
            (
                Answer(body=b'<!DOCTYPE x [<!ENTITY a "aaaa">]><queryResult>&a;</queryResult>'),
                "declares a document type",
            ),
            (Answer(body="<!DOCTYPE x><queryResult/>".encode("utf-16")), "is not XML"),
        ],
    )
    def test_pages_of_another_shape_are_refused(self, exchange: Exchange, answer: Answer, said: str) -> None:
        exchange.server.fail(1, answer)

        _, error = interrupted(exchange, None)

        assert said in error.message

    def test_it_goes_on_within_the_span(self, filled: Exchange) -> None:
        filled.server.fail(3, Answer(500))
        pages, _ = interrupted(filled, self.start_failing(filled, 3))
        time.sleep(1.1)  # the library goes on within a span only once its end is past

        rest = filled.read(pages[-1].checkpoint)

        assert filled.server.asked[3].query["start"] == "5"
        assert values(rest) == VALUES[4:]
        assert values(pages + rest) == VALUES

    def start_failing(self, exchange: Exchange, number: int) -> str | None:
        start = self.start(exchange)
        exchange.server.fail(number, Answer(500))
        return start

    def test_a_forgotten_link_begins_the_span_again(self, filled: Exchange) -> None:
        pages, _ = interrupted(filled, self.start_failing(filled, 2))
        time.sleep(1.1)
        filled.player.links, filled.player.size = False, 9

        rest = filled.read(pages[-1].checkpoint)

        assert "start" in filled.server.asked[2].query
        assert values(rest) == VALUES

    def test_links_that_are_always_forgotten_are_left(self, filled: Exchange) -> None:
        pages, _ = interrupted(filled, self.start_failing(filled, 2))
        time.sleep(1.1)
        filled.player.links = False

        _, error = interrupted(filled, pages[-1].checkpoint)

        assert "status 410" in error.message

    def test_an_old_link_is_not_used(self, filled: Exchange) -> None:
        pages, _ = interrupted(filled, self.start_failing(filled, 2))
        mark = json.loads(pages[-1].checkpoint)
        old = json.dumps(mark | {"at": mark["at"] - 13 * 3_600, "until": mark["until"] - 1})

        rest = filled.read(old)

        assert "start" not in filled.server.asked[2].query
        assert values(rest) == VALUES

    def test_long_spans_are_cut_up_and_nothing_falls_between(self, exchange: Exchange) -> None:
        stamps = range(1_700_000_000, 1_700_000_000 + 40 * 86_400, 4 * 86_400)
        many = [f"{number:08x}" * 8 for number in range(1, len(stamps) + 1)]
        for value, stamp in zip(many, stamps, strict=True):
            exchange.player.put(value, at=stamp)

        pages = exchange.read()

        assert values(pages) == sorted(many)
        assert [page.restarted for page in pages] == [True] + [False] * (len(pages) - 1)

    def test_when_there_is_nothing_new_it_says_so(self, filled: Exchange) -> None:
        first = filled.read(self.start(filled))

        (page,) = filled.read(first[-1].checkpoint)

        assert page.done
        assert json.loads(page.checkpoint)["since"] >= json.loads(first[-1].checkpoint)["since"]
