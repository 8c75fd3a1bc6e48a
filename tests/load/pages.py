"""How fast a reviewer's pages are: `python -m tests.load.pages [--quick]`. The last line is one JSON object.

One reviewer works a queue of ten thousand cases with a hundred thousand hosted images, on SQLite, through the dashboard's own
addresses: claim, page, covered picture, decide. What is measured is the time of each request in the server's own process. Beside
these, a look at the whole picture and the search for images like it. Then, where Chromium is installed, a real browser decides by
keyboard as fast as the pages let it, against a server of its own. Nothing fails by being slow; it does where a case is decided
twice or an answer is not what it should be.
"""

import argparse
import json
import os
import random
import re
import shutil
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import sqlalchemy as sa
from fastapi.testclient import TestClient

from dashboard.app import create_app
from moderation.application import Application
from moderation.commands.keys import new_secret
from moderation.settings import Settings
from moderation.tables import (
    DEFAULT_TENANT,
    CaseImage,
    Decision,
    Measurement,
    ReviewCase,
    Scan,
    StoredImage,
    new_id,
    utc_now,
)
from tests.accounts import Someone, someone
from tests.demo import served
from tests.factories import encode, picture
from tests.load.cases import waiting
from tests.load.queue import percentiles

SIDE = (1600, 1200)
"""Pixels of the pictures that are looked at: 2 megapixels of JPEG, as hosts get them."""

STEPS = ("claim", "page", "picture", "decide")
BESIDE = ("reveal", "whole", "alike")

Rows = dict[Any, list[dict[str, Any]]]


def finding(label: str, detector: str, **more: Any) -> dict[str, Any]:
    empty = {"score": None, "fpr": None, "region": None, "frame": None, "model": None, "reason": ""}
    return {"detector": detector, "label": label, "status": "ok", **empty, "version": "1", "evidence": {}, **more}


def findings(pdq: bytes, numbers: random.Random) -> list[dict[str, Any]]:
    """What is found of an ordinary picture."""
    turned = [bytes(byte ^ turn for byte in pdq).hex() for turn in range(8)]
    return [
        finding("nsfw", "nsfw", score=numbers.uniform(0.6, 0.99), fpr=0.002),
        finding("synthetic", "synthetic", score=numbers.random(), fpr=numbers.random()),
        finding("face", "faces", score=0.9, region={"x": 0.2, "y": 0.1, "width": 0.3, "height": 0.4}),
        finding(
            "pdq", "signals", evidence={"hash": pdq.hex(), "hashable": True, "quality": 100, "orientations": turned}
        ),
        finding("software", "metadata", evidence={"software": "Camera 3.1", "model": "X-100"}),
    ]


def case_rows(numbers: random.Random, rows: Rows) -> None:
    """One case with all that is behind it, as if its scan had come over a day."""
    now, pdq, sha256 = utc_now(), numbers.randbytes(32), numbers.randbytes(32).hex()
    shared = {"tenant_id": DEFAULT_TENANT, "created_at": now}
    image, scan, measurement = (new_id(kind) for kind in ("img", "scan", "msr"))
    found = findings(pdq, numbers)
    reason = {"rule": "nudity-1", "action": "hold", "reason": "Looks explicit.", "queue": None, "priority": 50, "findings": found[:1]}  # fmt: skip
    verdict = {"action": "hold", "reasons": [reason], "undecided": [], "policy": {"name": "mainstream", "version": 1, "digest": ""}}  # fmt: skip
    rows[StoredImage].append(image_row(image, sha256, pdq))
    rows[Measurement].append({**shared, "id": measurement, "image_id": image, "models": "m", "plan": "full", "findings": found, "timings": {}, "warnings": []})  # fmt: skip
    rows[Scan].append({**shared, "id": scan, "image_id": image, "measurement_id": measurement, "reused": False, "action": "hold", "policy": "mainstream", "policy_version": 1, "policy_digest": "", "verdict": verdict, "external_id": f"up-{scan[-8:]}", "uploader": f"u{numbers.randrange(2_000)}"})  # fmt: skip
    row = waiting(numbers, now, queue="explicit", harm="adult", severity=2)
    rows[ReviewCase].append({column.name: getattr(row, column.name) for column in ReviewCase.__table__.columns})
    rows[CaseImage].append({**shared, "id": new_id("cimg"), "case_id": row.id, "image_id": image, "scan_id": scan, "sha256": sha256, "pdq": pdq, "stage": "first", "action": "hold", "times": 1, "consent": False})  # fmt: skip


def image_row(name: str, sha256: str, pdq: bytes) -> dict[str, Any]:
    width, height = SIDE
    about = {"format": "JPEG", "size": 400_000, "width": width, "height": height, "frames": 1, "kept_at": utc_now()}
    return {"id": name, "tenant_id": DEFAULT_TENANT, "created_at": utc_now(), "sha256": sha256, "pdq": pdq, **about}


def fill(app: Application, cases: int, images: int) -> None:
    numbers, rows = random.Random(6), defaultdict(list)
    for _ in range(images - cases):
        rows[StoredImage].append(image_row(new_id("img"), numbers.randbytes(32).hex(), numbers.randbytes(32)))
    for _ in range(cases):
        case_rows(numbers, rows)
    with app.database.write() as session:
        for table in (StoredImage, Measurement, Scan, ReviewCase, CaseImage):
            session.execute(sa.insert(table), rows[table])


class Clocked:
    """An ASGI application, and what its last request took: by the clock and by the processor, in milliseconds."""

    def __init__(self, app: Any) -> None:
        self.app = app
        self.took = 0.0, 0.0

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        started, spent = time.perf_counter(), time.process_time()
        await self.app(scope, receive, send)
        self.took = (time.perf_counter() - started) * 1000, (time.process_time() - spent) * 1000


class Desk:
    """A signed-in reviewer's requests, each timed."""

    def __init__(self, app: Application, who: Someone) -> None:
        self.app = app
        self.server = Clocked(create_app(app))
        self.browser = TestClient(self.server, follow_redirects=False, cookies={"palisade-session": who.token})
        self.csrf = self._field(self.browser.get("/app/me").text, "csrf")
        self.times: dict[str, list[float]] = defaultdict(list)
        self.spent: dict[str, list[float]] = defaultdict(list)
        self.photo = encode(picture(*SIDE, seed=3), "JPEG", quality=88)

    @staticmethod
    def _field(page: str, name: str) -> str:
        found = re.search(rf'name="{name}" (?:content|value)="([^"]*)"', page)
        if found is None:
            raise SystemExit(f"the page has no {name}")
        return found[1]

    def timed(self, step: str, ask: Callable[[], httpx2.Response]) -> httpx2.Response:
        answer = ask()
        for kept, taken in zip((self.times, self.spent), self.server.took, strict=True):
            kept[step].append(taken)
        if answer.status_code != 200:
            raise SystemExit(f"{step}: {answer.status_code} {answer.text[:400]}")
        return answer

    def post(self, step: str, path: str, **fields: Any) -> Any:
        headers = {"x-csrf-token": self.csrf, "accept": "application/json"}
        return self.timed(step, lambda: self.browser.post(path, data=fields, headers=headers)).json()

    def get(self, step: str, path: str) -> httpx2.Response:
        return self.timed(step, lambda: self.browser.get(path))

    def work(self) -> None:
        """One case from the claim to the decision, as the script of the page goes about it."""
        path = self.post("claim", "/app/queue/next")["path"]
        with self.app.database.read() as session:
            query = sa.select(CaseImage.sha256).where(CaseImage.case_id == path.rpartition("/")[2])
            sha256 = session.scalars(query).one()
        self.app.store.put(DEFAULT_TENANT, sha256, self.photo)
        page = self.get("page", path).text
        self.get("picture", f"{path}/image?sha256={sha256}")
        self.get("alike", f"{path}/alike")
        self.post("reveal", f"{path}/reveal", sha256=sha256, how="whole")
        self.get("whole", f"{path}/image?sha256={sha256}&reveal=whole")
        self.post("decide", f"{path}/decide", token=self._field(page, "token"), outcome="uphold", clause="nudity-1")

    def figures(self) -> dict[str, Any]:
        """By step, and of the four that make a decision. cpu: the processor's time, which other work on the machine does not add to."""
        figures = {}
        for name, taken in (("ms", self.times), ("cpu_ms", self.spent)):
            whole = [sum(times) for times in zip(*(taken[step] for step in STEPS), strict=True)]
            figures[f"decision_{name}"] = percentiles(whole)
            figures |= {f"{step}_{name}": percentiles(taken[step]) for step in (*STEPS, *BESIDE)}
        return figures


def by_keyboard(
    folder: Path, app: Application, secrets: dict[str, str], who: Someone, decisions: int
) -> dict[str, Any]:
    """A browser that decides with one key after the other; none where Chromium is not installed."""
    if not shutil.which("chromium") or not shutil.which("chromedriver"):
        return {"keyboard": "chromium is not installed"}
    from selenium.webdriver.common.action_chains import ActionChains
    from selenium.webdriver.support.ui import WebDriverWait

    from tests.screenshots import chromium

    browser = chromium()
    try:
        with served(folder, folder / "log", **secrets) as url:
            browser.get(f"{url}/sign-in")
            browser.add_cookie({"name": "palisade-session", "value": who.token, "path": "/"})
            browser.get(f"{url}/app/queue")
            at, since = "", time.perf_counter()
            shown = "return document.getElementById('decide') && document.getElementById('case').dataset.case"
            for number in range(decisions + 1):
                ActionChains(browser).send_keys("u" if number else "n").perform()
                at = WebDriverWait(browser, 60, 0.01).until(
                    lambda b, before=at, shown=shown: (now := b.execute_script(shown)) and now != before and now
                )
                since = since if number else time.perf_counter()
            seconds = time.perf_counter() - since
            WebDriverWait(browser, 60).until(lambda b: b.execute_script("return !sessionStorage.length"))
    finally:
        browser.quit()
    return {"keyboard_decisions": decisions, "keyboard_decisions_a_minute": round(60 * decisions / seconds, 1)}


@contextmanager
def application(folder: Path) -> Iterator[tuple[Application, dict[str, str]]]:
    secrets = {f"PALISADE_{name}_KEYS": new_secret("load") for name in ("IMAGE", "ACCOUNT")}
    secrets["PALISADE_REVIEW_EXPOSURES"] = "10000"
    keys = {"image_keys": secrets["PALISADE_IMAGE_KEYS"], "account_keys": secrets["PALISADE_ACCOUNT_KEYS"]}
    app = Application(Settings(_env_file=None, data_dir=folder, review_exposures=10_000, **keys))  # type: ignore[call-arg]
    app.database.migrate()
    yield app, secrets
    app.database.close()


def check(app: Application, decisions: int) -> None:
    """Every decision is there once. Raises SystemExit."""
    with app.database.read() as session:
        cases = session.scalars(sa.select(Decision.case_id)).all()
    if len(cases) != len(set(cases)) or len(cases) != decisions:
        sys.exit(f"{len(cases)} decisions on {len(set(cases))} cases; {decisions} were made")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=10_000)
    parser.add_argument("--images", type=int, default=100_000)
    parser.add_argument("--decisions", type=int, default=300)
    parser.add_argument("--quick", action="store_true", help="a tenth of it, in less than 40 seconds")
    asked = parser.parse_args()
    cases, images, decisions = (1_000, 10_000, 40) if asked.quick else (asked.cases, asked.images, asked.decisions)
    with tempfile.TemporaryDirectory() as made, application(Path(made)) as (app, secrets):
        fill(app, cases, images)
        print(f"{cases:,} cases and {images:,} images", file=sys.stderr, flush=True)
        who = someone(app, "load@example.org")
        desk = Desk(app, who)
        for number in range(decisions):
            desk.work()
            if number % 20 == 19:
                print(f"{number + 1} of {decisions} decisions", file=sys.stderr, flush=True)
        figures = {"cases": cases, "images": images, "decisions": decisions, **desk.figures()}
        figures["first_alike_ms"] = round(desk.times["alike"][0], 1)
        by_key = 20 if asked.quick else 60
        figures |= by_keyboard(Path(made), app, secrets, who, by_key)
        check(app, decisions + figures.get("keyboard_decisions", 0))
    figures["load"] = round(os.getloadavg()[0], 1)
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
