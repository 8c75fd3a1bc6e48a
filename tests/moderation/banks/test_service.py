"""Banks in the database: filling, finding, holding back."""

import io
import json
import tracemalloc
from datetime import timedelta

import numpy as np
import PIL.Image
import pytest

from detectors.base import Finding
from detectors.known import KnownMatch
from detectors.signals import SignalsDetector
from moderation import audit
from moderation.banks import indexes as module
from moderation.banks.lists import FORMATS, read_list, write_list
from moderation.banks.matcher import Probe
from moderation.banks.records import BankSpec, NewEntry, Signal
from moderation.banks.service import BankService, note_matches
from moderation.database import Database
from moderation.errors import ConflictError, InvalidRequestError, NotFoundError
from moderation.tables import utc_now
from tests.factories import make_image, picture
from tests.moderation.banks.conftest import make_service
from tests.moderation.banks.test_index import near, random_hashes

PHOTO = picture(512, 384, seed=5)


def entry(seed: int = 0, kind: str = "pdq", size: int = 32, **rest: str) -> NewEntry:
    return NewEntry(Signal(kind, random_hashes(1, seed, size).tobytes()), **rest)


def list_photo(service: BankService, bank: str) -> None:
    signals, _ = service.signals_of(make_image(PHOTO))
    service.add("default", bank, [NewEntry(signal) for signal in signals], actor="test")


def matches(service: BankService, pixels: np.ndarray, data: bytes | None = None) -> list[KnownMatch]:  # type: ignore[type-arg]
    (findings,) = service.signals().detect([make_image(pixels, data=data)])
    return service.matcher.matches("default", findings) or []


def findings_of(match: KnownMatch) -> list[Finding]:
    return [Finding("known", "known", evidence={"entry": match.entry, "distance": match.distance})]


@pytest.mark.parametrize("turned", [lambda p: p, np.rot90, np.fliplr, np.flipud, lambda p: np.rot90(np.fliplr(p), 3)])
def test_a_copy_is_found_however_it_is_turned(service: BankService, bank: str, turned) -> None:  # type: ignore[no-untyped-def]
    list_photo(service, bank)
    small = PIL.Image.fromarray(np.ascontiguousarray(turned(PHOTO))).resize((300, 260))
    buffer = io.BytesIO()
    small.save(buffer, "JPEG", quality=60)

    (match,) = matches(service, np.asarray(PIL.Image.open(buffer).convert("RGB")), data=buffer.getvalue())

    assert (match.bank, match.kind, match.category, match.action_hint) == ("ncii", "pdq", "intimate", "block")
    assert match.distance <= 31


def test_the_file_itself_is_found_by_its_digest(service: BankService, bank: str) -> None:
    list_photo(service, bank)

    assert matches(service, PHOTO)[0].distance == 0


def test_another_picture_is_not_found(service: BankService, bank: str) -> None:
    list_photo(service, bank)

    assert matches(service, picture(512, 384, seed=6)) == []


def test_without_banks_nothing_was_looked_up(service: BankService) -> None:
    (findings,) = service.signals().detect([make_image(PHOTO)])

    assert service.matcher.matches("default", findings) is None


def test_a_plain_picture_is_unhashable_and_listed_by_its_digests(service: BankService, bank: str) -> None:
    plain = np.full((64, 64, 3), 200, np.uint8)
    signals, missing = service.signals_of(make_image(plain))

    assert missing == ["pdq"]
    assert [signal.kind for signal in signals] == ["sha256", "md5"]


def test_other_processes_see_additions_within_seconds_and_removals_at_once(
    database: Database, service: BankService, bank: str, signals: SignalsDetector
) -> None:
    other = make_service(database, signals)
    assert matches(other, PHOTO) == []
    list_photo(service, bank)
    clock = other.indexes.clock
    other.indexes.clock = lambda: clock() + 5

    found = matches(other, PHOTO, data=b"another file")
    assert [match.kind for match in found] == ["pdq"]

    service.remove("default", found[0].entry, actor="test")
    other.indexes.clock = clock
    assert matches(other, PHOTO, data=b"another file") == []


def test_a_tail_is_sorted_into_a_segment_aside(
    service: BankService, bank: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "TAIL", 50)
    monkeypatch.setattr(module, "SEGMENT", 64)
    service.indexes.snapshot("default")
    hashes = random_hashes(200)
    for start in range(0, 200, 40):
        new = [NewEntry(Signal("pdq", row.tobytes())) for row in hashes[start : start + 40]]
        service.add("default", bank, new, actor="test")
        service.indexes.snapshot("default")
        service.indexes.settle("default")

    kind = service.indexes.snapshot("default").kinds["pdq"]
    assert len(kind.index) == 200
    assert sum(len(part) == 64 for part in kind.index.segments) >= 2
    assert all(service.search("default", [Probe(Signal("pdq", row.tobytes()))]) for row in near(hashes, 31))


def test_dead_hashes_are_dropped_by_a_rebuild(service: BankService, bank: str, monkeypatch: pytest.MonkeyPatch) -> None:
    new = [NewEntry(Signal("pdq", row.tobytes())) for row in random_hashes(3_000)]
    service.add("default", bank, new, actor="test")
    assert len(service.indexes.snapshot("default").kinds["pdq"].index) == 3_000
    service.create("default", BankSpec("other"), actor="test")
    service.add("default", "other", [entry(77)], actor="test")
    service.delete("default", bank, actor="test")

    service.indexes.snapshot("default")
    service.indexes.settle("default")

    assert len(service.indexes.snapshot("default").kinds["pdq"].index) == 1


def test_a_disabled_entry_does_not_match_until_then(service: BankService, bank: str) -> None:
    service.add("default", bank, [entry()], actor="test")
    (found,) = service.search("default", [Probe(entry().signal)])

    service.disable("default", found.entry.id, utc_now() + timedelta(days=1), actor="test", note="under review")
    probes = [Probe(entry().signal)]
    listed = service.search("default", probes)
    assert listed[0].entry.note == "under review"
    finding = Finding("signals", "pdq", evidence={"hashable": True, "orientations": [entry().signal.hex]})
    assert service.matcher.matches("default", [finding]) == []

    service.disable("default", found.entry.id, None, actor="test")
    assert len(service.matcher.matches("default", [finding]) or []) == 1


def test_a_negative_bank_suppresses_perceptual_matches_and_not_the_listed_file(service: BankService, bank: str) -> None:
    list_photo(service, bank)
    service.create("default", BankSpec("benign", negative=True), actor="test")
    signals, _ = service.signals_of(make_image(PHOTO, data=b"another file"))
    pdq = [NewEntry(signal) for signal in signals if signal.kind == "pdq"]
    service.add("default", "benign", pdq, actor="test")

    (other_file,) = matches(service, PHOTO, data=b"yet another file")
    (same_file,) = matches(service, PHOTO)

    assert (other_file.kind, other_file.unapplied) == ("pdq", "negative")
    assert (same_file.kind, same_file.unapplied) == ("sha256", "")


@pytest.mark.parametrize(("share", "low", "high"), [(0.0, 0, 0), (0.25, 0.15, 0.35), (1.0, 1, 1)])
def test_a_bank_is_enabled_for_a_share_of_images(
    service: BankService, bank: str, share: float, low: float, high: float
) -> None:
    service.add("default", bank, [entry()], actor="test")
    service.update("default", bank, {"enabled_share": share}, actor="test")
    pdq = Finding("signals", "pdq", evidence={"hashable": True, "orientations": [entry().signal.hex]})

    def applied(number: int) -> bool:
        digest = Finding("signals", "sha256", evidence={"hash": f"{number:064x}"})
        (match,) = service.matcher.matches("default", [pdq, digest]) or []
        return match.unapplied != "share"

    answers = [applied(number) for number in range(200)]
    assert low <= sum(answers) / 200 <= high
    assert answers[:20] == [applied(number) for number in range(20)]


def test_a_smaller_radius_of_the_bank_counts(service: BankService, bank: str) -> None:
    service.update("default", bank, {"radius": 10}, actor="test")
    service.add("default", bank, [entry()], actor="test")
    hashes = np.frombuffer(entry().signal.value, np.uint8)[None]

    assert service.search("default", [Probe(Signal("pdq", near(hashes, 10).tobytes()))])
    assert not service.search("default", [Probe(Signal("pdq", near(hashes, 11).tobytes()))])


def test_tenants_do_not_see_each_other(database: Database, service: BankService, bank: str) -> None:
    from moderation.keys.service import KeyService

    KeyService(database).create("other", ["scan"], tenant="other")
    service.add("default", bank, [entry()], actor="test")

    assert service.search("other", [Probe(entry().signal)]) == []
    assert service.banks("other") == []
    with pytest.raises(NotFoundError):
        service.add("other", bank, [entry(1)], actor="test")
    (found,) = service.search("default", [Probe(entry().signal)])
    with pytest.raises(NotFoundError):
        service.remove("other", found.entry.id, actor="test")


def test_what_is_done_is_on_the_trail(database: Database, service: BankService, bank: str) -> None:
    service.add("default", bank, [entry()], actor="key_1")
    (found,) = service.search("default", [Probe(entry().signal)])
    service.remove("default", found.entry.id, actor="key_2")
    bank_id = service.find("default", bank).bank.id

    trail = audit.trail(database, "default", bank_id)

    assert [(record.action, record.actor) for record in trail] == [
        ("bank.created", "test"),
        ("bank.entries_added", "key_1"),
        ("bank.entry_removed", "key_2"),
    ]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"name": "No Capitals"}, "not a bank's name"),
        ({"radius": 32}, "radius is 32"),
        ({"radius": -1}, "radius is -1"),
        ({"enabled_share": float("nan")}, "enabled_share is nan"),
        ({"category": "nonsense"}, "category is 'nonsense'"),
        ({"action_hint": "delete"}, "action_hint is 'delete'"),
    ],
)
def test_unfit_banks_are_refused(service: BankService, bank: str, changes: dict[str, object], said: str) -> None:
    with pytest.raises(InvalidRequestError, match=said):
        service.update("default", bank, changes, actor="test")


def test_a_name_is_taken_once(service: BankService, bank: str) -> None:
    with pytest.raises(ConflictError):
        service.create("default", BankSpec(bank), actor="test")


@pytest.mark.parametrize(
    ("kind", "text", "said"),
    [
        ("pdq", "ab" * 31, "has 62 digits; a pdq has 64"),
        ("pdq", "xy" * 32, "not hex digits"),
        ("pdq", "", "has 0 digits"),
        ("photodna", "ab" * 32, "not a kind of signal"),
        ("sha256", "é" * 64, "not hex digits"),
    ],
)
def test_what_is_not_a_hash_is_refused(kind: str, text: str, said: str) -> None:
    with pytest.raises(InvalidRequestError, match=said):
        Signal.parse(kind, text)


def test_hashes_in_either_case_and_by_other_names_are_the_same() -> None:
    assert Signal.parse("HASH_PDQ", "AB" * 32) == Signal.parse("pdq", "ab" * 32)


LIST = b"""kind,value,note
pdq,%s,first

pdq,12,short
md5,%s,
pdq,%s,again in capitals
nonsense,00,
""" % (b"ab" * 32, b"0" * 32, b"AB" * 32)


def test_malformed_rows_are_told_by_line_and_the_rest_loads(service: BankService, bank: str) -> None:
    report = service.load("default", bank, read_list(io.BytesIO(LIST), "csv"), actor="test")

    assert (report.added, report.present, report.refused) == (2, 1, 2)
    assert [line for line, _ in report.problems] == [4, 7]
    again = service.load("default", bank, read_list(io.BytesIO(LIST), "csv"), actor="test")
    assert (again.added, again.present) == (0, 3)


@pytest.mark.parametrize("format", FORMATS)
def test_a_list_comes_back_as_it_went(service: BankService, bank: str, format: str) -> None:
    service.create("default", BankSpec("copy"), actor="test")
    for kind, size in (("sha256", 32), ("md5", 16), ("pdq", 32), ("phash", 8)):
        service.add(
            "default", bank, [entry(3, kind, size, external_id=f"r-{kind}", note="=a note, 'quoted'\n")], actor="t"
        )

    text = "".join(write_list(service.all_entries("default", bank), format)).encode()
    report = service.load("default", "copy", read_list(io.BytesIO(text), format), actor="test")

    assert (report.added, report.refused) == (4, 0)
    copied = list(service.all_entries("default", "copy"))
    assert [(e.kind, e.value) for e in copied] == [(e.kind, e.value) for e in service.all_entries("default", bank)]
    if format != "hma":
        assert {(e.external_id, e.note) for e in copied} == {
            (e.external_id, e.note) for e in service.all_entries("default", bank)
        }


@pytest.mark.parametrize(
    "text",
    [
        json.dumps([{"pdq": "ab" * 32, "md5": "0" * 32}]),
        json.dumps([{"signals": {"pdq": "ab" * 32, "md5": "0" * 32}}]),
        json.dumps(
            {
                "data": [
                    {"id": "1", "indicator": {"type": "HASH_PDQ", "indicator": "AB" * 32}},
                    {"id": "2", "type": "HASH_MD5", "raw_indicator": "0" * 32},
                ]
            }
        ),
    ],
)
def test_other_systems_shapes_are_read(text: str) -> None:
    rows = [row for _, row in read_list(io.BytesIO(text.encode()), "json")]

    signals = {(row.signal.kind, row.signal.hex) for row in rows if isinstance(row, NewEntry)}
    assert signals == {("pdq", "ab" * 32), ("md5", "0" * 32)}


def test_a_list_that_breaks_off_keeps_what_came_before() -> None:
    text = json.dumps([{"kind": "md5", "value": "0" * 32}] * 3)[:-20]

    rows = list(read_list(io.BytesIO(text.encode()), "json"))

    assert [isinstance(row, NewEntry) for _, row in rows] == [True, True, False]


def test_bare_hashes_take_the_kind_that_is_given() -> None:
    rows = list(read_list(io.BytesIO(b"0" * 32 + b"\n" + b"1" * 32 + b"\n"), "csv", kind="md5"))

    assert [isinstance(row, NewEntry) for _, row in rows] == [True, True]


def test_a_file_without_hashes_is_refused() -> None:
    with pytest.raises(InvalidRequestError, match="no column of hashes"):
        list(read_list(io.BytesIO(b"name,age\nx,1\n"), "csv"))


def test_a_line_without_end_does_not_fill_the_memory() -> None:
    rows = list(read_list(io.BytesIO(b"kind,value\n" + b"x" * 300_000), "csv"))

    assert rows
    assert not any(isinstance(row, NewEntry) for _, row in rows)


@pytest.mark.parametrize("format", ["csv", "jsonl", "json"])
def test_a_long_list_streams(format: str) -> None:
    rows = [{"kind": "pdq", "value": f"{number:064x}"} for number in range(60_000)]
    texts = {
        "csv": "kind,value\n" + "".join(f"{row['kind']},{row['value']}\n" for row in rows),
        "jsonl": "".join(f"{json.dumps(row)}\n" for row in rows),
        "json": json.dumps(rows),
    }
    stream = io.BytesIO(texts[format].encode())
    tracemalloc.start()
    try:
        count = sum(isinstance(row, NewEntry) for _, row in read_list(stream, format))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert count == 60_000
    assert peak < 2_000_000


def test_an_entry_that_is_deleted_while_its_match_is_noted_is_no_error(
    database: Database, service: BankService, bank: str
) -> None:
    gone = KnownMatch(999, bank, "bank_1", "pdq", 3, "intimate", "block")

    with database.write() as session:
        note_matches(session, "default", "img_1", "scan_1", findings_of(gone))

    assert service.matches("default", bank) == []
