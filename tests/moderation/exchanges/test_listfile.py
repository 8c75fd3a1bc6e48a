"""Lists in local files."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from moderation.errors import ExchangeError
from moderation.exchanges.peers import Change, Page, Peer, peer
from moderation.fetch import SafeClient
from moderation.settings import Settings
from tests.moderation.exchanges.contract import VALUES, held, values

MD5, SHA256 = "c" * 32, "d" * 64


def listed(path: Path, **config: Any) -> Peer:
    return peer("file", {"path": str(path), **config}, SafeClient(Settings(_env_file=None)), name="my-list")


def read(path: Path, checkpoint: str | None = None, **config: Any) -> list[Page]:
    return list(listed(path, **config).pages(checkpoint))


def refused(path: Path, **config: Any) -> ExchangeError:
    with pytest.raises(ExchangeError) as caught:
        read(path, **config)
    assert caught.value.hint
    assert (caught.value.peer, caught.value.http_status) == ("my-list", 502)
    return caught.value


class TestFormats:
    def test_csv(self, tmp_path: Path) -> None:
        file = tmp_path / "list.csv"
        file.write_text(
            "\ufeffType, value,labels,note,id\r\n"
            f'pdq,{VALUES[0].upper()},b;a,"said ""so"", twice",77\r\n'
            "\r\n"
            f"HASH_MD5,{MD5}\r\n"
            f"sha-256, {SHA256} ,,,\r\n",
            encoding="utf-8",
        )

        (page,) = read(file)

        assert page.malformed == ()
        assert page.changes == (
            Change("pdq", VALUES[0], f"77 pdq:{VALUES[0]}", False, ("a", "b"), 'said "so", twice'),
            Change("md5", MD5, f"md5:{MD5}"),
            Change("sha256", SHA256, f"sha256:{SHA256}"),
        )

    @pytest.mark.parametrize("indent", [None, 2])
    def test_json(self, tmp_path: Path, indent: int | None) -> None:
        rows = [
            {"type": "pdq", "value": VALUES[0], "tags": ["x"]},
            {"signal_type": "md5", "signal": MD5, "extra": {"a": [1]}},
        ]
        file = tmp_path / "list.json"
        file.write_text(json.dumps(rows, indent=indent) + "\n")

        (page,) = read(file)

        assert page.changes == (
            Change("pdq", VALUES[0], f"pdq:{VALUES[0]}", False, ("x",)),
            Change("md5", MD5, f"md5:{MD5}"),
        )

    @pytest.mark.parametrize("name", ["list.jsonl", "list.NDJSON"])
    def test_json_lines(self, tmp_path: Path, name: str) -> None:
        file = tmp_path / name
        file.write_text(f'{{"type": "pdq", "value": "{VALUES[0]}"}}\n\n{{"type": "md5", "value": "{MD5}"}}')

        assert values(read(file)) == [VALUES[0], MD5]

    def test_the_library_s_own_lines(self, tmp_path: Path) -> None:
        file = tmp_path / "list.txt"
        file.write_text(f"pdq {VALUES[0]}\n{VALUES[1]}\n\nmd5 {MD5}\nurl https://x.test/\na b c\n")

        (page,) = read(file, type="pdq")

        assert values([page]) == sorted([VALUES[0], VALUES[1], MD5])
        assert page.ignored == 1
        assert page.malformed == ("row 6: it has more than a type and a value",)

    def test_a_format_may_be_named(self, tmp_path: Path) -> None:
        file = tmp_path / "list"
        file.write_text(f"value\n{VALUES[0]}\n")
        assert "ending that says no format" in refused(file).message

        assert values(read(file, format="csv", type="pdq")) == [VALUES[0]]


class TestRows:
    def test_malformed_rows_are_named_and_the_rest_counts(self, tmp_path: Path) -> None:
        file = tmp_path / "list.csv"
        file.write_text(
            f"type,value\npdq,{VALUES[0]}\npdq,abc\n,{VALUES[1]}\npdq,{'z' * 64}\npdq\npdq,a,b\nphoto,{MD5}\n"
        )

        (page,) = read(file)

        assert values([page]) == [VALUES[0]]
        assert page.ignored == 1
        assert page.malformed == (
            "row 3: the pdq value has 3 characters, not 64",
            "row 4: it names no type, and the exchange has no default one",
            "row 5: the pdq value is not hexadecimal",
            "row 6: the pdq value has 0 characters, not 64",
            "row 7: it has 3 cells, the first line has 2",
        )

    def test_rows_that_share_a_long_id_stay_apart(self, tmp_path: Path) -> None:
        file = tmp_path / "list.jsonl"
        file.write_text("".join(json.dumps({"type": "pdq", "value": one, "id": "x" * 900}) + "\n" for one in VALUES))

        assert values(read(file)) == VALUES

    def test_json_rows_of_another_shape(self, tmp_path: Path) -> None:
        rows = [7, "x", None, [], {"type": "pdq", "value": 8}, {"type": "pdq", "value": VALUES[0], "labels": 3}]
        file = tmp_path / "list.json"
        file.write_text(json.dumps([*rows, {"type": "pdq", "value": VALUES[0]}]))

        (page,) = read(file)

        assert values([page]) == [VALUES[0]]
        assert len(page.malformed) == 6
        assert page.malformed[-2:] == ("row 5: the pdq value is int, not text", "row 6: the tags are int, not a list")

    def test_json_lines_that_are_none(self, tmp_path: Path) -> None:
        file = tmp_path / "list.jsonl"
        file.write_text("{\n" + "[" * 60_000 + "\n" + json.dumps({"type": "pdq", "value": VALUES[0]}))

        (page,) = read(file)

        assert values([page]) == [VALUES[0]]
        assert page.malformed == ("row 1: it is not JSON", "row 2: it is not JSON")

    def test_no_more_reasons_than_anybody_reads(self, tmp_path: Path) -> None:
        file = tmp_path / "list.txt"
        file.write_text("pdq abc\n" * 150 + f"pdq {VALUES[0]}\n")

        (page,) = read(file)

        assert len(page.malformed) == 101
        assert page.malformed[-1] == "and 50 more"


class TestChanges:
    def test_an_unchanged_file_is_not_read_again(self, tmp_path: Path) -> None:
        file = tmp_path / "list.txt"
        file.write_text(f"pdq {VALUES[0]}\n")
        (first,) = read(file)

        (later,) = read(file, first.checkpoint)

        assert (later.changes, later.done, later.restarted) == ((), True, False)
        assert later.checkpoint == first.checkpoint

    def test_what_is_no_longer_listed_has_been_withdrawn(self, tmp_path: Path) -> None:
        file = tmp_path / "list.txt"
        file.write_text("".join(f"pdq {value}\n" for value in VALUES))
        first = read(file)
        file.write_text("".join(f"pdq {value}\n" for value in VALUES[2:]))

        later = read(file, first[-1].checkpoint)

        assert later[0].restarted
        assert values(later, held(first)) == VALUES[2:]

    def test_one_read_half_way_is_read_again_from_its_start(self, tmp_path: Path) -> None:
        file = tmp_path / "list.txt"
        file.write_text("".join(f"pdq {value}\n" for value in VALUES))
        first = next(iter(listed(file, page_size=2).pages(None)))

        pages = read(file, first.checkpoint, page_size=2)

        assert [page.restarted for page in pages] == [True, False, False]
        assert [page.done for page in pages] == [False, False, True]
        assert values(pages) == VALUES

    def test_another_reading_of_the_same_file_begins_anew(self, tmp_path: Path) -> None:
        file = tmp_path / "list.txt"
        file.write_text(f"{VALUES[0]}\n")
        (first,) = read(file, type="pdq")

        assert read(file, first.checkpoint, type="sha256")[0].restarted

    def test_one_that_changes_meanwhile_is_refused(self, tmp_path: Path) -> None:
        file = tmp_path / "list.txt"
        file.write_text("".join(f"pdq {value}\n" for value in VALUES))
        pages = iter(listed(file, page_size=1).pages(None))
        next(pages)
        os.truncate(file, 70)

        with pytest.raises(ExchangeError, match="was changed while it was read"):
            list(pages)


class TestFilesAsAWhole:
    @pytest.mark.parametrize("content", ["", "\n\n", "pdq abc\n", "url x\n"])
    def test_one_without_any_signal_withdraws_nothing(self, tmp_path: Path, content: str) -> None:
        file = tmp_path / "list.txt"
        file.write_text(content)

        assert "holds no signal at all" in refused(file).message

    def test_one_that_is_absent_a_folder_or_a_pipe(self, tmp_path: Path) -> None:
        os.mkfifo(tmp_path / "pipe.csv")

        assert "No such file" in refused(tmp_path / "none.csv").message
        assert "is not a file" in refused(tmp_path).message
        assert "is not a file" in refused(tmp_path / "pipe.csv").message

    @pytest.mark.parametrize(
        ("name", "content", "said"),
        [
            ("a.csv", b"pdq,abc\n", "names no column 'value'"),
            ("a.csv", b"", "names no column 'value'"),
            ("a.csv", b'type,value\npdq,"abc\n', "is not CSV"),
            ("a.csv", b"type,value\npdq,\xff\n", "is not UTF-8"),
            ("a.csv", b"type,value\n" + b"x" * 70_000, "line 2 has more than 65,536 bytes"),
            ("a.json", b'{"entries": []}', "not a JSON array"),
            ("a.json", b"", "not a JSON array"),
            ("a.json", b"[", "not JSON from row 1 on"),
            ("a.json", b"[1", "not JSON from row 1 on"),
            ("a.json", b"[1 2]", "row 1 is followed by neither"),
            ("a.json", b"[1,]", "not JSON from row 2 on"),
            ("a.json", b"[1,2", "not JSON from row 2 on"),
            ("a.json", b'["\xff"]', "is not UTF-8"),
            ("a.json", b"[" * 100_000, "not JSON from row 1 on"),
            ("a.json", b'["' + b"x" * 500_000 + b'"]', "not JSON from row 1 on"),
            ("a.json", b"[]", "holds no signal at all"),
        ],
    )
    def test_broken_ones(self, tmp_path: Path, name: str, content: bytes, said: str) -> None:
        file = tmp_path / name
        file.write_bytes(content)

        assert said in refused(file).message

    def test_a_json_row_across_blocks(self, tmp_path: Path) -> None:
        rows = [{"type": "pdq", "value": f"{number:064x}", "note": "é" * 90} for number in range(2_000)]
        file = tmp_path / "list.json"
        file.write_text(json.dumps(rows, ensure_ascii=False))

        pages = read(file)

        assert len(values(pages)) == 2_000
        assert len(pages) == 3

    @pytest.mark.slow
    @pytest.mark.parametrize("ending", ["csv", "json"])
    def test_a_long_one_streams(self, tmp_path: Path, ending: str) -> None:
        """300,000 rows (some 20 MB) within 16 MB."""
        file = tmp_path / f"list.{ending}"
        with file.open("w") as out:
            out.write("type,value\n" if ending == "csv" else "[")
            for number in range(300_000):
                row = (
                    f"pdq,{number:064x}\n"
                    if ending == "csv"
                    else f'{"," if number else ""}{{"type":"pdq","value":"{number:064x}"}}'
                )
                out.write(row)
            out.write("" if ending == "csv" else "]")
        program = (
            "import resource, sys\n"
            "from moderation.exchanges.peers import peer\n"
            "from moderation.fetch import SafeClient\n"
            "from moderation.settings import Settings\n"
            "made = peer('file', {'path': sys.argv[1]}, SafeClient(Settings(_env_file=None)))\n"
            "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
            "count = sum(len(page.changes) for page in made.pages(None))\n"
            "print(count, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)\n"
        )

        ran = subprocess.run([sys.executable, "-c", program, str(file)], capture_output=True, text=True, check=True)

        count, grown = map(int, ran.stdout.split())
        assert count == 300_000
        assert grown < 16_000  # KB
