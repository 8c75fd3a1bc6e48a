"""Speed and memory of a scan: `python -m tests.bench.scan [--quick]`. The last line is one JSON object.

overhead     a whole scan in this process (opened, measured, judged, stored) over the bare decode, hashing, C2PA reading
             and model runs that it contains, both timed in turn on the same pictures, one thread
two_clients  scans a second of two concurrent clients of one server over those of one, in turn
ms_light     milliseconds of a scan without the embedding; ms_full with it; medians, one thread
peak_rss_mb  highest resident memory of the server, over all of this and a JPEG of 100 megapixels
"""

import argparse
import hashlib
import io
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import c2pa
import httpx
import imagehash
import numpy as np
import pdqhash
import PIL.Image

from detectors import embedding, nsfw
from detectors.faces import CANVAS
from detectors.image import Frame
from detectors.registry import DETECTORS
from detectors.runtime import Runtime
from moderation.application import Application
from moderation.scanner import Scanner
from moderation.scans.service import ScanService, Upload
from moderation.settings import Settings, settings
from tests.factories import encode, picture

ROOT = Path(__file__).parents[2]


def uploads(count: int, start: int) -> list[bytes]:
    """Different pictures of one megapixel, as hosts get them: JPEG at quality 85."""
    return [encode(picture(1280, 800, seed=start + i), "JPEG", quality=85) for i in range(count)]


def timed(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return (time.perf_counter() - started) * 1000


def bare_parts(runtime: Runtime) -> Callable[[bytes], object]:
    """Just the decode, the hashes, the C2PA reader and the model runs of one scan: no pre- or postprocessing."""
    nsfw_session, clip, yunet = (runtime.session(name) for name in ("open_nsfw", "clip_vit_b16", "yunet"))
    prepared = Frame(0, picture(640, 400))
    nsfw_input, clip_input = nsfw.prepare(prepared)[None], embedding.prepare(prepared)
    canvas = np.zeros((1, 3, CANVAS, CANVAS), dtype=np.float32)

    def parts(data: bytes) -> None:
        image = PIL.Image.open(io.BytesIO(data)).convert("RGB")
        small = image.resize((512, 320), PIL.Image.Resampling.BILINEAR, reducing_gap=2.0)
        hashlib.sha256(data), hashlib.md5(data, usedforsecurity=False)
        pdqhash.compute_dihedral(np.asarray(small))
        imagehash.phash(small), imagehash.dhash(small)
        try:
            c2pa.Reader("image/jpeg", io.BytesIO(data))
        except c2pa.C2paError.ManifestNotFound:
            time.sleep(0)
        nsfw_session.run(None, {"input:0": nsfw_input})
        for _ in range(2):  # a picture without a face is looked at twice
            yunet.run(None, {"input": canvas})
        clip.run(None, {"pixel_values": clip_input})

    return parts


def service(app: Application, *, light: bool = False) -> ScanService:
    """The scan service of an application, with all detectors or without the embedding and what reads it."""
    chosen = [cls for cls in DETECTORS if not (light and {"embedding"} & {cls.name, *cls.needs})]
    scanner = Scanner(app.runtime, detectors=chosen)
    scanner.build()
    found = app.scans
    return ScanService(found.database, scanner, found.policies, found.store, found.limits, intake=found.intake)


def one_process(config: Settings, count: int) -> dict[str, float]:
    """Whole scans, light scans and bare parts in turn, so that the machine's drift falls on all alike."""
    app = Application(config)
    app.database.migrate()
    full, light, parts = service(app), service(app, light=True), bare_parts(app.runtime)
    rows = []
    for i, data in enumerate(uploads(count + 2, start=1000)):
        row = (
            timed(lambda data=data: full.scan("default", Upload(data))),
            timed(lambda data=data: light.scan("default", Upload(data))),
            timed(lambda data=data: parts(data)),
        )
        if i >= 2:
            rows.append(row)
    app.database.close()
    whole, without, bare = (list(column) for column in zip(*rows, strict=True))
    return {
        "overhead": round(statistics.median(w / b for w, b in zip(whole, bare, strict=True)), 3),
        "ms_full": round(statistics.median(whole), 1),
        "ms_light": round(statistics.median(without), 1),
        "ms_bare": round(statistics.median(bare), 1),
    }


@contextmanager
def server(environment: dict[str, str]) -> Iterator[tuple[str, int]]:
    """A server of its own process; its address and process id."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [
        sys.executable,
        "-m",
        "uvicorn",
        "asgi:create_app",
        "--factory",
        "--port",
        str(port),
        "--log-level",
        "error",
    ]
    with subprocess.Popen(command, cwd=ROOT, env={**os.environ, **environment}) as process:
        url = f"http://127.0.0.1:{port}"
        try:
            for _ in range(600):
                try:
                    if httpx.get(f"{url}/readyz").status_code == 200:
                        break
                except httpx.TransportError:
                    time.sleep(0.1)
            yield url, process.pid
        finally:
            process.terminate()


def client(url: str, images: list[bytes]) -> None:
    with httpx.Client(base_url=url, timeout=120) as http:
        for data in images:
            http.post("/v1/scans", content=data, headers={"Content-Type": "image/jpeg"}).raise_for_status()


def rate(url: str, clients: int, images: list[bytes]) -> float:
    """Scans a second of so many concurrent clients, the images shared out among them."""
    threads = [threading.Thread(target=client, args=(url, images[i::clients])) for i in range(clients)]
    started = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return len(images) / (time.perf_counter() - started)


def served(config: Settings, rounds: int, count: int) -> dict[str, Any]:
    environment = {
        "PALISADE_DATA_DIR": str(config.data_dir / "served"),
        "PALISADE_MODELS_DIR": str(config.models),
        "PALISADE_REQUIRE_KEY": "false",
        "PALISADE_POLICY": config.policy,
        "PALISADE_IMAGE_KEYS": config.image_keys.get_secret_value() if config.image_keys else "",
    }
    Application(config.model_copy(update={"data_dir": config.data_dir / "served"})).database.migrate()
    with server(environment) as (url, pid):
        client(url, uploads(2, start=5))
        ratios = []
        for i in range(rounds):
            one = rate(url, 1, uploads(count, start=10_000 + i * 1000))
            two = rate(url, 2, uploads(count, start=20_000 + i * 1000))
            ratios.append((two / one, one, two))
        huge = encode(np.tile(picture(1000, 1000), (10, 10, 1)), "JPEG", quality=80)
        answer = httpx.post(f"{url}/v1/scans", content=huge, headers={"Content-Type": "image/jpeg"}, timeout=120)
        peak = next(line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmHWM"))
    return {
        "two_clients": round(statistics.median(ratio for ratio, _, _ in ratios), 3),
        "one_client_per_s": round(statistics.median(one for _, one, _ in ratios), 2),
        "two_clients_per_s": round(statistics.median(two for _, _, two in ratios), 2),
        "status_100_megapixels": answer.status_code,
        "peak_rss_mb": round(int(peak.split()[1]) / 1024),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer pictures, at most 40 s")
    quick = parser.parse_args().quick
    with tempfile.TemporaryDirectory() as folder:
        key = "bench:" + "QUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUE="
        config = Settings(data_dir=folder, models_dir=settings().models, image_keys=key, inference_threads=1)
        figures = one_process(config, 8 if quick else 40)
        print({"one process": figures}, flush=True)
        figures |= served(config, *((2, 10) if quick else (5, 30)))
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
