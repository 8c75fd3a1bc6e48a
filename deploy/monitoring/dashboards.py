"""Writes the Grafana dashboards: `python deploy/monitoring/dashboards.py`. A test fails when they are not what this makes."""

import json
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent / "grafana" / "dashboards"

WIDTH, HEIGHT = 8, 7

Panel = tuple[str, str, str, dict[str, str]]
"""Title, kind (`timeseries` or `stat`), unit, and queries by legend."""

SERVING: list[Panel] = [
    (
        "Requests a second",
        "timeseries",
        "reqps",
        {"{{status}}": "sum by (status) (rate(palisade_request_seconds_count[5m]))"},
    ),
    (
        "Seconds of a scan request",
        "timeseries",
        "s",
        {
            f"p{q}": f'histogram_quantile(0.{q}, sum by (le) (rate(palisade_request_seconds_bucket{{route=~"/v1/scans.*"}}[5m])))'
            for q in (50, 95, 99)
        },
    ),
    (
        "Scans turned away or failed",
        "timeseries",
        "percentunit",
        {
            name: f'sum(rate(palisade_request_seconds_count{{route=~"/v1/scans.*",status=~"{status}"}}[5m]))'
            ' / sum(rate(palisade_request_seconds_count{route=~"/v1/scans.*"}[5m]))'
            for name, status in (("come back later (429)", "429"), ("error of ours (5xx)", "5.."))
        },
    ),
    ("Verdicts a second", "timeseries", "short", {"{{action}}": "sum by (action) (rate(palisade_scans_total[5m]))"}),
    (
        "Share held or blocked",
        "timeseries",
        "percentunit",
        {"last hour": "palisade:stopped:ratio_1h", "week": "avg_over_time(palisade:stopped:ratio_1h[7d])"},
    ),
    (
        "Seconds of each detector (p95)",
        "timeseries",
        "s",
        {
            "{{detector}}": "histogram_quantile(0.95, sum by (le, detector) (rate(palisade_detector_seconds_bucket[5m])))"
        },
    ),
    (
        "Findings that failed, a second",
        "timeseries",
        "short",
        {"{{detector}}": "sum by (detector) (rate(palisade_detector_failures_total[5m]))"},
    ),
    (
        "Uploads refused, a second",
        "timeseries",
        "short",
        {"{{code}}": "sum by (code) (rate(palisade_uploads_refused_total[5m]))"},
    ),
    (
        "Share judged on stored findings",
        "timeseries",
        "percentunit",
        {"reused": 'sum(rate(palisade_scans_total{reused="true"}[5m])) / sum(rate(palisade_scans_total[5m]))'},
    ),
]

DUTIES: list[Panel] = [
    ("Next takedown is due in", "stat", "s", {"due": "min(palisade_takedown_due_seconds)"}),
    ("Takedown notices whose clock runs", "stat", "short", {"open": "max(palisade_takedowns_open)"}),
    ("Events given up", "stat", "short", {"given up": "max(palisade_outbox_given_up)"}),
    ("Events that wait", "timeseries", "short", {"waiting": "max(palisade_outbox_pending)"}),
    ("Oldest event that waits", "timeseries", "s", {"age": "max(palisade_outbox_oldest_seconds)"}),
    (
        "Exchanges: time since the last run",
        "timeseries",
        "s",
        {"{{exchange}}": "max by (exchange) (palisade_exchange_lag_seconds)"},
    ),
    ("Copies of the API", "timeseries", "short", {"up": 'sum(up{job="palisade-api"})'}),
    ("Memory of each copy", "timeseries", "bytes", {"{{instance}}": "process_resident_memory_bytes"}),
    (
        "Disk left",
        "timeseries",
        "percentunit",
        {"{{mountpoint}}": "node_filesystem_avail_bytes / node_filesystem_size_bytes"},
    ),
]

WORK: list[Panel] = [
    (
        "Asynchronous scans that wait",
        "timeseries",
        "short",
        {"{{lane}}": 'max by (lane) (palisade_jobs{state="queued"})'},
    ),
    (
        "Oldest scan that waits",
        "timeseries",
        "s",
        {"{{lane}}": 'max by (lane) (palisade_jobs_oldest_seconds{state="queued"})'},
    ),
    ("Scans quarantined", "stat", "short", {"{{lane}}": 'max by (lane) (palisade_jobs{state="quarantined"})'}),
    ("Cases to take", "timeseries", "short", {"{{queue}}": "max by (queue) (palisade_cases)"}),
    ("Oldest case", "timeseries", "s", {"{{queue}}": "max by (queue) (palisade_cases_oldest_seconds)"}),
    ("Cases past their time", "stat", "short", {"{{queue}}": "max by (queue) (palisade_cases_overdue)"}),
    ("Re-scans", "stat", "short", {"{{state}}": "max by (state) (palisade_rescans)"}),
    ("Postings that re-scans have to judge", "timeseries", "short", {"left": "max(palisade_rescan_left)"}),
    ("Postings that could not be judged", "stat", "short", {"failed": "max(palisade_rescan_failed)"}),
    (
        "Tasks a second",
        "timeseries",
        "short",
        {"{{task}}": "sum by (task) (rate(palisade_task_seconds_count[5m]))"},
    ),
    (
        "Seconds of tasks (p95)",
        "timeseries",
        "s",
        {"{{task}}": "histogram_quantile(0.95, sum by (le, task) (rate(palisade_task_seconds_bucket[5m])))"},
    ),
    (
        "Tasks that failed, a second",
        "timeseries",
        "short",
        {"{{task}}": 'sum by (task) (rate(palisade_task_seconds_count{state=~"failure|retry"}[5m]))'},
    ),
    ("Worker processes", "timeseries", "short", {"{{instance}}": "palisade_worker_processes"}),
    ("Memory of the largest process", "timeseries", "bytes", {"{{instance}}": "palisade_worker_resident_bytes"}),
    ("Since beat sent something", "stat", "s", {"beat": "time() - max(palisade_beat_sent_timestamp_seconds)"}),
]


def panel(number: int, spec: Panel) -> dict[str, Any]:
    title, kind, unit, queries = spec
    source = {"type": "prometheus", "uid": "prometheus"}
    return {
        "id": number + 1,
        "title": title,
        "type": kind,
        "datasource": source,
        "gridPos": {"x": number % 3 * WIDTH, "y": number // 3 * HEIGHT, "w": WIDTH, "h": HEIGHT},
        "fieldConfig": {"defaults": {"unit": unit, "min": None if kind == "stat" else 0}, "overrides": []},
        "targets": [
            {"refId": chr(ord("A") + place), "expr": query, "legendFormat": legend, "datasource": source}
            for place, (legend, query) in enumerate(queries.items())
        ],
    }


def dashboard(uid: str, title: str, panels: list[Panel]) -> dict[str, Any]:
    return {
        "uid": uid,
        "title": title,
        "tags": ["palisade"],
        "schemaVersion": 39,
        "version": 1,
        "editable": False,
        "refresh": "30s",
        "time": {"from": "now-6h", "to": "now"},
        "panels": [panel(number, spec) for number, spec in enumerate(panels)],
    }


def files() -> dict[Path, str]:
    """What each file should hold."""
    made = {
        "serving": dashboard("palisade-serving", "Palisade: serving", SERVING),
        "duties": dashboard("palisade-duties", "Palisade: duties and machines", DUTIES),
        "work": dashboard("palisade-work", "Palisade: queues, workers and re-scans", WORK),
    }
    return {FOLDER / f"{name}.json": json.dumps(value, indent=1) + "\n" for name, value in made.items()}


if __name__ == "__main__":
    for path, text in files().items():
        path.write_text(text)
