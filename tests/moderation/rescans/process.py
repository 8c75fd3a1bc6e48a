"""A worker process of its own: `python -m tests.moderation.rescans.process FOLDER DATABASE PLAN`."""

import sys
import time
from pathlib import Path

from moderation.rescans.paths import PolicyPath
from moderation.rescans.service import RescanService
from tests.moderation.rescans.conftest import make

PAGE = 10
LEASE = 2.0


def main(folder: str, database: str, plan: str) -> None:
    """Work on a plan in small pages until it is done."""
    PolicyPath.size = PAGE
    application = make(Path(folder), database)
    service = RescanService(application.database, application.rescans.paths, shard=5 * PAGE, lease=LEASE)
    print("ready", flush=True)
    while service.find("default", plan).plan.state == "running":
        if not service.advance("process", plan_id=plan):
            time.sleep(0.05)


if __name__ == "__main__":
    main(*sys.argv[1:4])
