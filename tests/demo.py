"""`make demo`: one takedown from the public form to the report, on a server of its own, with a host that is told.

Everything is real: the server, the webhooks and their signatures, the database; the pictures are drawn. Prints each step.
"""

import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2

from moderation.application import Application
from moderation.commands.keys import new_secret
from moderation.settings import Settings, settings
from tests.factories import encode, picture
from tests.hosts import Host, running_host

ROOT = Path(__file__).parents[1]
SECRET = "whsec_" + "ZGVtb25zdHJhdGlvbiBzZWNyZXQgb2Ygd2ViaG9va3M="

FORM = {
    "name": "A. Person",
    "contact": "a.person@example.org",
    "statement": "This is a picture of me that I never agreed to.",
    "signature": "A. Person",
    "good_faith": "yes",
    "relation": "self",
}


@contextmanager
def served(folder: Path, log: Path, **more: str) -> Iterator[str]:
    """`palisade serve` without keys on a new database in a folder; gives its address once it is ready."""
    environment = {
        "PALISADE_DATA_DIR": str(folder),
        "PALISADE_MODELS_DIR": str(settings().models),
        "PALISADE_REQUIRE_KEY": "false",
        "PALISADE_CHORES_SECONDS": "0.5",
        **{f"PALISADE_{name}_KEYS": new_secret("demo") for name in ("IMAGE", "PEOPLE", "TAKEDOWN", "ACCOUNT")},
        **more,
    }
    database = Application(Settings(_env_file=None, data_dir=folder)).database
    database.migrate()
    database.close()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "moderation", "serve", "--port", str(port)]
    with (
        log.open("w") as stream,
        subprocess.Popen(command, cwd=ROOT, env={**os.environ, **environment}, stdout=stream, stderr=stream) as process,
    ):
        try:
            wait_until_ready(f"http://127.0.0.1:{port}", process, log)
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()


def wait_until_ready(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    """Raises RuntimeError with the end of the log when the server does not get ready within a minute."""
    for _ in range(300):
        if process.poll() is not None:
            break
        try:
            if httpx2.get(f"{url}/readyz").status_code == 200:
                return
        except httpx2.TransportError:
            time.sleep(0.2)
    raise RuntimeError(f"the server did not get ready:\n{log.read_text()[-4000:]}")


def webhooks(host: Host) -> dict[str, str]:
    """The settings by which a server tells the host, and may fetch its images."""
    return {
        "PALISADE_WEBHOOK_URL": f"{host.url}/hook",
        "PALISADE_WEBHOOK_SECRETS": host.secret,
        "PALISADE_FETCH_ALLOWED_NETWORKS": "127.0.0.0/8",
    }


def told(host: Host, kind: str) -> dict[str, Any]:
    """The first event of a kind that the host was told, within ten seconds."""
    for _ in range(100):
        if host.of(kind):
            return dict(host.of(kind)[0])
        time.sleep(0.1)
    raise RuntimeError(f"the host was not told of {kind}; its webhooks refused: {host.refused}")


def upload(client: httpx2.Client, data: bytes, external_id: str) -> dict[str, Any]:
    answer = client.post(f"/v1/scans?external_id={external_id}", content=data, headers={"Content-Type": "image/jpeg"})
    answer.raise_for_status()
    return dict(answer.json())


def run(url: str, host: Host) -> None:
    with httpx2.Client(base_url=url, timeout=60) as client:
        walk(client, host)


def walk(client: httpx2.Client, host: Host) -> None:
    photo = picture(640, 480, seed=99)
    say("Two copies of a picture are hosted, one of them turned and recompressed.")
    upload(client, encode(photo, "JPEG", quality=90), "upload-1")
    upload(client, encode(photo.swapaxes(0, 1), "JPEG", quality=55), "upload-2")
    host.files["/i/1.jpg"] = encode(photo, "JPEG", quality=90)

    say("Somebody files a notice in the public form.")
    page = client.post("/notice", data={**FORM, "urls": f"{host.url}/i/1.jpg"})
    link = page.headers["location"]
    say(f"  private page: {link}")
    notice = told(host, "takedown.filed")["notice"]
    say(f"  the host is told of {notice}")

    say("A person at the host accepts it.")
    answer = client.post(f"/v1/takedowns/{notice}/accept", json={"reason": "She is recognisable and did not agree."})
    answer.raise_for_status()
    bank = client.get("/v1/banks/takedowns").json()
    say(f"  bank `takedowns`: {bank['entries']}")
    copies = told(host, "takedown.copies")["remove"]
    for copy in copies:
        say(
            f"  the host is told to remove {', '.join(copy['external_ids'])} ({copy['stage']}, {copy['distance']} bits apart)"
        )

    say("The picture is uploaded again, smaller and recompressed.")
    again = upload(client, encode(picture(640, 480, seed=99)[::2, ::2], "JPEG", quality=70), "upload-3")
    say(f"  verdict: {again['verdict']['action']}")

    say("The host confirms the removal.")
    done = client.post(f"/v1/takedowns/{notice}/confirm", json={"removed": [copy["sha256"] for copy in copies]})
    say(f"  the notice is {done.json()['state']}; {told(host, 'takedown.removed')}")
    status = client.get(link).text
    say(f"  the private page says: {status.split('<h1>')[1].split('</h1>')[0]}")
    report = client.get("/v1/takedowns/report").json()
    say(f"  report: {report}")
    if again["verdict"]["action"] != "block" or report["removed"] != 1:
        raise SystemExit("the demo did not end as it should")


def say(text: str) -> None:
    print(text, flush=True)


def main() -> None:
    with (
        tempfile.TemporaryDirectory() as folder,
        running_host(SECRET) as host,
        served(Path(folder), Path(folder) / "log", **webhooks(host)) as url,
    ):
        run(url, host)


if __name__ == "__main__":
    main()
