"""The `palisade` command with what a test makes go wrong in it: `python -m tests.faults.process COMMAND …`.

FAULTS, in the environment, is JSON: `page` and `shard`, postings of each on the path of policies; `images`, by SHA-256, what opening
an image does to its process: `dies` (as a decoder that crashes), `hangs` (in code that signals do not interrupt), `sleeps` (in code
that they do), `eats` (300 MB that are never given back).
"""

import hashlib
import json
import os
import signal
import time
from typing import Any

from moderation import media
from moderation.cli import main
from moderation.media import MediaLimits
from moderation.rescans import service
from moderation.rescans.paths import PolicyPath

KEPT: list[bytes] = []


def install(faults: dict[str, Any]) -> None:
    if "page" in faults:
        PolicyPath.size = faults["page"]
    if "shard" in faults:
        service.RescanService.__init__.__kwdefaults__["shard"] = faults["shard"]
    if "images" in faults:
        harm(faults["images"])


def harm(images: dict[str, str]) -> None:
    """Make opening these images harmful."""
    opened = media.open

    def harmful(data: bytes, limits: MediaLimits, **said: Any) -> Any:
        what = images.get(hashlib.sha256(data).hexdigest(), "")
        if what == "dies":
            os.kill(os.getpid(), signal.SIGKILL)
        if what == "hangs":
            signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})
        if what in ("hangs", "sleeps"):
            time.sleep(600)
        if what == "eats":
            KEPT.append(os.urandom(1) * 300_000_000)
        return opened(data, limits, **said)

    media.open = harmful


if __name__ == "__main__":
    install(json.loads(os.environ.get("FAULTS", "{}")))
    main()
