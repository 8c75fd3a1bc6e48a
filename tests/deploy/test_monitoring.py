"""Alerts and dashboards ask only for what exists."""

import importlib.util
import json
import re
import subprocess
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

import api.metrics
from api.metrics import BacklogCollector
from moderation.backlog import Backlog, ExchangeLag, Queue, Rescans
from moderation.database import Database
from tests.deploy.conftest import DEPLOY, program

MONITORING = DEPLOY / "monitoring"
ALERTS: dict[str, Any] = yaml.safe_load((MONITORING / "alerts.yaml").read_text())
RULES = [rule for group in ALERTS["groups"] for rule in group["rules"]]
DASHBOARDS = sorted((MONITORING / "grafana" / "dashboards").glob("*.json"))
FOREIGN = {"up", "process_resident_memory_bytes", "node_filesystem_avail_bytes", "node_filesystem_size_bytes"}
"""Of Prometheus itself, of its client library, and of the node exporter that compose.yaml starts."""

OF_WORKERS = {"palisade_worker_processes", "palisade_worker_resident_bytes", "palisade_beat_sent_timestamp_seconds"}


def queries() -> dict[str, str]:
    """Every query of alerts and dashboards by where it stands."""
    found = {rule.get("alert") or rule["record"]: rule["expr"] for rule in RULES}
    for path in DASHBOARDS:
        for panel in json.loads(path.read_text())["panels"]:
            found |= {f"{path.stem}: {panel['title']} {t['refId']}": t["expr"] for t in panel["targets"]}
    return found


@pytest.fixture(scope="module")
def names() -> dict[str, set[str]]:
    """Every series that the API exposes, with its labels, as Prometheus would see it."""
    found: dict[str, set[str]] = {}
    for metric in vars(api.metrics).values():
        for family in getattr(metric, "describe", list)() if hasattr(metric, "_labelnames") else ():
            labels = set(metric._labelnames)
            kinds = {"counter": ["_total"], "histogram": ["_bucket", "_count", "_sum"]}[family.type]
            found |= {family.name + kind: labels | ({"le"} if kind == "_bucket" else set()) for kind in kinds}
    exchange, queue = ExchangeLag("t", "e", 60, 1.0, failing=True), (Queue("q", 1, 1.0, state="queued"),)
    full = Backlog(1, 1.0, 1, 1, 1.0, (exchange,), queue, queue, Rescans({"running": 1}, 1, 1, 1.0))
    parts = (api.metrics._single, api.metrics._exchanges, api.metrics._queues, api.metrics._rescans)
    for family in [family for part in parts for family in part(full)]:
        found[family.name] = set(family.samples[0].labels)
    found["palisade_database_up"] = set()
    # of workers and beat: tests/moderation/test_worker_metrics.py has them said by processes
    found |= {f"palisade_task_seconds_{part}": {"task", "state"} for part in ("count", "sum")}
    found |= {"palisade_task_seconds_bucket": {"task", "state", "le"}, "palisade_beat_sent_total": {"task"}}
    found |= {name: set() for name in OF_WORKERS}
    return found


def test_the_collector_yields_what_is_listed_here(tmp_path: Path) -> None:
    collector = BacklogCollector(Database(f"sqlite:///{tmp_path / 'x.db'}"))

    assert [family.name for family in collector.collect()] == ["palisade_database_up"]


@pytest.mark.parametrize("where", queries())
def test_queries_ask_for_series_and_labels_that_exist(where: str, names: dict[str, set[str]]) -> None:
    query = queries()[where]
    recorded = {rule["record"] for rule in RULES if "record" in rule}
    asked = set(re.findall(r"\b(?:palisade|node|process|up)(?:[_:]\w+)*\b(?=[\[{ )]|$)", query))

    assert asked, query
    assert {name for name in asked if name not in recorded} <= set(names) | FOREIGN
    for name, matchers in re.findall(r"(palisade_\w+)\{([^}]*)\}", query):
        assert set(re.findall(r"(\w+)\s*[=!]", matchers)) <= names[name]


def test_every_alert_says_how_bad_and_what() -> None:
    for rule in RULES:
        if "alert" in rule:
            assert rule["labels"]["severity"] in ("page", "ticket")
            assert rule["annotations"]["summary"].endswith(".")


def test_dashboards_are_what_the_script_makes() -> None:
    for path, text in script().files().items():
        assert path.read_text() == text, "run `python deploy/monitoring/dashboards.py`"


def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("dashboards", MONITORING / "dashboards.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_panels_do_not_cover_each_other() -> None:
    for path in DASHBOARDS:
        panels = json.loads(path.read_text())["panels"]
        assert len({(p["gridPos"]["x"], p["gridPos"]["y"]) for p in panels}) == len(panels)
        assert len({p["id"] for p in panels}) == len(panels)


@pytest.mark.parametrize("args", [["check", "rules", "alerts.yaml"], ["check", "config", "prometheus.yaml"]])
def test_prometheus_takes_them(args: list[str]) -> None:
    promtool = program("promtool", "Debian's package prometheus")
    done = subprocess.run([promtool, *args], cwd=MONITORING, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stdout + done.stderr


def test_alerts_fire_when_they_should(tmp_path: Path) -> None:
    promtool = program("promtool", "Debian's package prometheus")
    done = subprocess.run(
        [promtool, "test", "rules", "alerts_test.yaml"], cwd=MONITORING, capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stdout + done.stderr
