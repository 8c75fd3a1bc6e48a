"""Whether a server leaks: `python -m tests.load.leak [--requests 10000]`. The last line is one JSON object.

Sends hostile files, and a share of new photographs, to a server of its own process, and compares its resident memory
after a tenth of the requests with that at the end: `growth` must stay below 0.05.
"""

import argparse
import json
import tempfile
from pathlib import Path

import httpx

from moderation.application import Application
from moderation.commands.keys import new_secret
from moderation.settings import Settings, settings
from tests.bench.scan import server
from tests.factories import encode, picture
from tests.hostile import corpus


def resident(pid: int) -> int:
    """Resident memory of a process, in kB."""
    status = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(line for line in status if line.startswith("VmRSS")).split()[1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=10_000)
    parser.add_argument("--photos", type=float, default=0.05, help="share of requests that are new photographs")
    arguments = parser.parse_args()
    hostile = [data for _, data in corpus() if len(data) < 300_000]
    statuses: dict[int, int] = {}
    with tempfile.TemporaryDirectory() as folder:
        environment = {
            "PALISADE_DATA_DIR": folder,
            "PALISADE_MODELS_DIR": str(settings().models),
            "PALISADE_REQUIRE_KEY": "false",
            "PALISADE_IMAGE_KEYS": new_secret("load"),
            "PALISADE_PEOPLE_KEYS": new_secret("load"),
        }
        Application(Settings(data_dir=Path(folder))).database.migrate()
        with server(environment) as (url, pid), httpx.Client(base_url=url, timeout=120) as client:
            every = round(1 / arguments.photos)
            for number in range(arguments.requests):
                photo = number % every == 0
                data = encode(picture(320, 240, seed=number), "JPEG") if photo else hostile[number % len(hostile)]
                status = client.post("/v1/scans", content=data).status_code
                statuses[status] = statuses.get(status, 0) + 1
                if number == arguments.requests // 10:
                    first = resident(pid)
            last = resident(pid)
    figures = {"first_mb": first // 1024, "last_mb": last // 1024, "growth": round(last / first - 1, 4)}
    print(json.dumps({"requests": arguments.requests, "statuses": statuses, **figures}))


if __name__ == "__main__":
    main()
