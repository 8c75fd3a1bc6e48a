"""Whether bulk work delays uploads: `python -m tests.load.bulk [--quick]`. The last line is one JSON object.

One server does both, with its own threads. Uploads of new photographs are sent one after the other, in turns of a few seconds
without and with a batch that never runs out, so that the machine's drift falls on both alike.

p95_alone_ms, p95_bulk_ms   95th percentile of an upload's time, medians in p50_…; ratio  of the 95th percentiles
bulk_per_s                  scans a second of the batch meanwhile, all turns together
"""

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import httpx
import numpy as np

from moderation.application import Application
from moderation.commands.keys import new_secret
from moderation.settings import Settings, settings
from tests.bench.scan import server, uploads
from tests.factories import encode, picture
from tests.hosts import Host, running_host


def send(client: httpx.Client, images: list[bytes], pause: float) -> list[float]:
    """Milliseconds of each upload."""
    times = []
    for data in images:
        started = time.perf_counter()
        client.post("/v1/scans", content=data, headers={"Content-Type": "image/jpeg"}).raise_for_status()
        times.append((time.perf_counter() - started) * 1000)
        time.sleep(pause)
    return times


def begin(client: httpx.Client, host: Host, count: int, start: int) -> str:
    """A batch of so many new photographs; its address."""
    paths = [f"/{start + number}.jpg" for number in range(count)]
    host.files |= {path: encode(picture(640, 400, seed=50_000 + start + i), "JPEG") for i, path in enumerate(paths)}
    manifest = "".join(f"{json.dumps({'url': host.url + path})}\n" for path in paths)
    answer = client.post("/v1/batches", content=manifest, headers={"Content-Type": "application/x-ndjson"})
    return f"/v1/batches/{answer.raise_for_status().json()['id']}"


def settle(client: httpx.Client, batch: str) -> int:
    """Wait for a batch; how many were scanned."""
    while (found := client.get(batch).json())["left"]:
        time.sleep(0.1)
    return int(found["done"])


def measure(client: httpx.Client, host: Host, rounds: int, count: int, jobs: int) -> dict[str, Any]:
    alone: list[float] = []
    beside: list[float] = []
    done = seconds = 0.0
    send(client, uploads(3, start=1), 0.0)
    settle(client, begin(client, host, 2, 90_000))
    for number in range(rounds):
        alone += send(client, uploads(count, start=1_000 * (number + 1)), 0.05)
        batch = begin(client, host, jobs, 1_000 * number)
        started = time.perf_counter()
        beside += send(client, uploads(count, start=1_000 * (number + 1) + 500), 0.05)
        seconds += time.perf_counter() - started
        found = client.get(batch).json()
        done += found["done"]
        if not found["left"]:
            print({"round": number, "note": "the batch ended before the uploads did"}, flush=True)
        settle(client, batch)
    first, second = (float(np.percentile(times, 95)) for times in (alone, beside))
    return {
        "p95_alone_ms": round(first, 1),
        "p95_bulk_ms": round(second, 1),
        "p50_alone_ms": round(float(np.median(alone)), 1),
        "p50_bulk_ms": round(float(np.median(beside)), 1),
        "ratio": round(second / first, 3),
        "bulk_per_s": round(done / seconds, 2),
        "uploads": len(beside),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer uploads, about 40 s on a quiet machine")
    quick = parser.parse_args().quick
    with tempfile.TemporaryDirectory() as folder, running_host("whsec_" + "QUFB" * 8) as host:
        environment = {
            "PALISADE_DATA_DIR": folder,
            "PALISADE_MODELS_DIR": str(settings().models),
            "PALISADE_REQUIRE_KEY": "false",
            "PALISADE_IMAGE_KEYS": new_secret("load"),
            "PALISADE_PEOPLE_KEYS": new_secret("load"),
            "PALISADE_FETCH_ALLOWED_NETWORKS": "127.0.0.0/8",
        }
        Application(Settings(data_dir=Path(folder))).database.migrate()
        with server(environment) as (url, _), httpx.Client(base_url=url, timeout=120) as client:
            figures = measure(client, host, *((2, 12, 14) if quick else (6, 30, 40)))
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
