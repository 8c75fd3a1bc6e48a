"""Pulling models: from folders, a package index and a hub, each played by a local HTTP server."""

import hashlib
import io
import threading
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from detectors.catalogue import CatalogueEntry
from moderation.errors import ModelError
from moderation.registry.pull import Puller, pip_index

CONTENT = bytes(range(256)) * 4096
DIGEST = hashlib.sha256(CONTENT).hexdigest()


def wheel(content: bytes = CONTENT) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("weights/model.onnx", content)
    return buffer.getvalue()


class Server(ThreadingHTTPServer):
    """Serves `files` by path, with ranges; cuts an answer short after `cut` bytes, once."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.files: dict[str, bytes] = {}
        self.cut = 0
        self.ranges: list[str | None] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        content = self.server.files.get(self.path)
        asked = self.headers.get("Range")
        self.server.ranges.append(asked)
        if content is None:
            self.send_error(404)
            return
        start = int(asked.removeprefix("bytes=").removesuffix("-")) if asked else 0
        self.send_response(206 if asked else 200)
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        end = self.server.cut or None
        self.server.cut = 0
        self.wfile.write(content[start:end])
        self.close_connection = True

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    server.files["/simple/some-weights/"] = b'<a href="../../files/some_weights-1.0-py3-none-any.whl#sha256=0">x</a>'
    server.files["/files/some_weights-1.0-py3-none-any.whl"] = wheel()
    server.files[f"/org/repo/resolve/{'a' * 40}/model.onnx"] = CONTENT
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


WHEEL = {"wheel": "some-weights", "version": "1.0", "member": "weights/model.onnx"}
HUB = {"hub": "org/repo", "revision": "a" * 40, "path": "model.onnx"}


def entry(*sources: dict[str, str], sha256: str = DIGEST) -> dict[str, CatalogueEntry]:
    return {
        "model": CatalogueEntry(
            title="t",
            file="model.onnx",
            sha256=sha256,
            bytes=len(CONTENT),
            licence="MIT",
            prepared="as-is",
            sources=sources,
        )
    }


def silent(*_: object) -> None:
    """A progress that nobody watches."""


def puller(server: Server, folder: Path, **rest: Any) -> Puller:
    return Puller(folder / "models", index=f"{server.url}/simple", hub=server.url, **rest)


@pytest.mark.parametrize("source", [WHEEL, HUB])
def test_a_model_is_fetched_checked_and_put_in_place(server: Server, tmp_path: Path, source: dict[str, str]) -> None:
    seen: list[tuple[str, int, int]] = []

    assert puller(server, tmp_path).pull(entry(source), lambda *step: seen.append(step)) == ["model"]

    assert (tmp_path / "models/model.onnx").read_bytes() == CONTENT
    assert sorted(path.name for path in (tmp_path / "models").iterdir()) == ["model.onnx", "model.onnx.json"]
    assert seen[-1][0] == "model"
    assert seen[-1][1] == seen[-1][2] > 0


def test_what_is_there_is_not_fetched_again(server: Server, tmp_path: Path) -> None:
    pull = puller(server, tmp_path)
    pull.pull(entry(WHEEL), silent)
    server.files.clear()

    assert pull.pull(entry(WHEEL), silent) == []


@pytest.mark.parametrize("source", [WHEEL, HUB])
def test_an_interrupted_download_goes_on_where_it_stopped(
    server: Server, tmp_path: Path, source: dict[str, str]
) -> None:
    pull = puller(server, tmp_path)
    if source is WHEEL:
        pull.folder.mkdir(parents=True)
        (pull.folder / "some-weights-1.0.whl.part").write_bytes(wheel()[:100_000])
    else:
        server.cut = 100_000
        with pytest.raises(ModelError):
            pull.pull(entry(source), silent)

    pull.pull(entry(source), silent)

    assert "bytes=100000-" in server.ranges
    assert (tmp_path / "models/model.onnx").read_bytes() == CONTENT


def test_a_differing_digest_is_thrown_away_and_the_next_source_tried(server: Server, tmp_path: Path) -> None:
    server.files["/files/some_weights-1.0-py3-none-any.whl"] = wheel(b"something else")

    puller(server, tmp_path).pull(entry(WHEEL, HUB), silent)

    assert (tmp_path / "models/model.onnx").read_bytes() == CONTENT
    assert sorted(path.name for path in (tmp_path / "models").iterdir()) == ["model.onnx", "model.onnx.json"]


def test_when_no_source_answers_each_is_named_with_its_reason(server: Server, tmp_path: Path) -> None:
    server.files["/files/some_weights-1.0-py3-none-any.whl"] = b"not a wheel"
    del server.files[f"/org/repo/resolve/{'a' * 40}/model.onnx"]

    with pytest.raises(ModelError) as refusal:
        puller(server, tmp_path).pull(entry(WHEEL, HUB), silent)

    for part in ("package index, some-weights 1.0", "model hub, org/repo", "404"):
        assert part in refusal.value.message
    assert DIGEST in refusal.value.hint
    assert [path.name for path in (tmp_path / "models").iterdir()] == []


def test_an_index_without_the_wheel_is_named(server: Server, tmp_path: Path) -> None:
    server.files["/simple/some-weights/"] = b"<html></html>"

    with pytest.raises(ModelError, match=r"lists no wheel some_weights-1\.0-"):
        puller(server, tmp_path).pull(entry(WHEEL), silent)


def test_a_local_folder_comes_first(server: Server, tmp_path: Path) -> None:
    folder = tmp_path / "mirror"
    folder.mkdir()
    (folder / "model.onnx").write_bytes(CONTENT)
    server.files.clear()

    puller(server, tmp_path, folders=(tmp_path / "nowhere", folder)).pull(entry(WHEEL), silent)

    assert (folder / "model.onnx").exists()
    assert (tmp_path / "models/model.onnx").read_bytes() == CONTENT


def test_a_wrong_file_in_a_local_folder_is_named_and_left_alone(server: Server, tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"wrong")
    server.files.clear()

    with pytest.raises(ModelError, match=r"SHA-256"):
        puller(server, tmp_path, folders=(tmp_path,)).pull(entry(WHEEL), silent)

    assert (tmp_path / "model.onnx").read_bytes() == b"wrong"


def test_the_index_is_pips(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_INDEX_URL", "https://mirror.example/simple")

    assert pip_index() == "https://mirror.example/simple"


def test_two_that_pull_at_once_fetch_once(server: Server, tmp_path: Path) -> None:
    fetched: list[str] = []
    threads = [
        threading.Thread(target=lambda: fetched.extend(puller(server, tmp_path).pull(entry(HUB), silent)))
        for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert fetched == ["model"]
    assert (tmp_path / "models/model.onnx").read_bytes() == CONTENT
