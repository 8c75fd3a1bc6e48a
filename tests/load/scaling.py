"""The arithmetic of deploy/scaling.md: `python -m tests.load.scaling [--core-hour 0.04 --gb-month 0.10]`. Prints its table, then one JSON object.

What was measured is in deploy/measured.json; everything here is derived from it, linearly but for workers: those that wait for each
other for a share of their time (`serial`, from what two did against one) never do more than 1 / serial of them.
`python -m tests.load.scaling_runs` runs what can be run on one machine.
"""

import argparse
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

MEASURED = Path(__file__).parents[2] / "deploy" / "measured.json"

SIZES = ((1_000_000, "1 million", 2), (100_000_000, "100 million", 64), (10_000_000_000, "10 billion", 2_000))
"""Images, as the page says them, and the cores that scan them."""

UPLOADS_PER_DAY = 1_000_000

PEAK = 3
"""Of uploads, over the day's mean."""


WORKERS = (4, 8, 16, 64)

TWO = (1.8, 1.9, 1.98)
"""What two workers may do against one (`python -m tests.bench.rescan_workers`)."""


@dataclass(frozen=True)
class Prices:
    """Dollars for a core and hour, and for a gigabyte of database disk and month."""

    core_hour: float = 0.04
    gb_month: float = 0.10


def measured() -> dict[str, float]:
    found: dict[str, float] = json.loads(MEASURED.read_text())
    return found


def row(images: int, cores: int, figures: dict[str, float], prices: Prices) -> dict[str, float]:
    """What so many images need. Hours are of the whole first scan, gigabytes 10⁹ bytes, one copy of the database."""
    core_hours = images / figures["scans_per_core_s"] / 3600
    database = images * figures["postgresql_bytes_per_image"] / 1e9
    return {
        "images": images,
        "core_hours": core_hours,
        "cores": cores,
        "hours": core_hours / cores,
        "database_gb": database,
        "sqlite_gb": images * figures["sqlite_bytes_per_image"] / 1e9,
        "embeddings_gb": images * figures["embedding_bytes"] / 1e9,
        "scan_dollars": core_hours * prices.core_hour,
        "month_dollars": database * prices.gb_month,
        "sweep_gb": images * figures["sweep_bytes_per_image"] / 1e9,
        "sweep_hours": images / 1e6 * figures["sweep_core_s_per_million"] / 3600,
    }


def table(figures: dict[str, float], prices: Prices) -> list[str]:
    """The rows of the page's table."""
    lines = []
    for images, name, cores in SIZES:
        r = row(images, cores, figures, prices)
        sqlite = f" (SQLite: {size(r['sqlite_gb'])})" if images <= 1_000_000 else ""
        cells = (
            name,
            f"{rounded(r['core_hours'])} core-hours",
            f"{cores:,} cores",
            span(r["hours"]),
            size(r["database_gb"]) + sqlite,
            size(r["embeddings_gb"]),
            f"{rounded(r['scan_dollars'])} $ / {rounded(r['month_dollars'])} $",
        )
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def rounded(number: float) -> str:
    """Two digits, so that nobody reads more out of it."""
    return f"{float(f'{number:.2g}'):,.0f}"


def size(gigabytes: float) -> str:
    unit, number = ("TB", gigabytes / 1000) if gigabytes >= 1000 else ("GB", gigabytes)
    return f"{float(f'{number:.2g}'):g} {unit}"


def span(hours: float) -> str:
    return f"{float(f'{hours:.2g}'):g} h" if hours < 72 else f"{float(f'{hours / 24:.2g}'):g} days"


def serial(two: float) -> float:
    """The share of a worker's time in which it waits for others, from what two did against one (Amdahl's law)."""
    return max(0.0, 2 / two - 1)


def speedup(workers: int, two: float) -> float:
    """What so many workers do against one."""
    return workers / (1 + serial(two) * (workers - 1))


def uploads(figures: dict[str, float]) -> dict[str, float]:
    """Cores for a day's uploads, on average and for the peak."""
    each = UPLOADS_PER_DAY / 86_400 / figures["scans_per_core_s"]
    return {"cores_mean": round(each, 1), "cores_peak": round(each * PEAK, 1)}


def derived(figures: dict[str, float], prices: Prices) -> dict[str, Any]:
    sizes = [row(images, cores, figures, prices) for images, _, cores in SIZES]
    workers = {str(two): [round(speedup(count, two), 1) for count in WORKERS] for two in TWO}
    shards = {str(count): round(figures["index_bytes_per_hash"] * 100e6 / count / 1e9, 2) for count in (1, 2, 4, 8)}
    return {
        "sizes": sizes,
        "uploads": uploads(figures),
        "workers": workers,
        "gb_of_a_shard_at_100m_hashes": shards,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--core-hour", type=float, default=Prices.core_hour)
    parser.add_argument("--gb-month", type=float, default=Prices.gb_month)
    given = parser.parse_args()
    prices, figures = Prices(given.core_hour, given.gb_month), measured()
    print("\n".join(table(figures, prices)))
    print(json.dumps(derived(figures, prices)))


if __name__ == "__main__":
    main()
