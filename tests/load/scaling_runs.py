"""What deploy/scaling.md says of engines, run as far as one machine can: `python -m tests.load.scaling_runs [NAME …] [--quick]`.

partitions  PostgreSQL: scans in partitions by month of their ids. Which partitions re-scans' pages, newest scans and look-ups by external
            id read; a month dropped against the same rows deleted
pool        PostgreSQL that takes 20 connections, and 40 processes: directly, and through PgBouncer in session mode with pools of one
replica     a streaming replica of its own: how far it lags, and whether what monitoring reads can be read there
broker      Redis: messages a second that one client publishes, and that one takes and acknowledges
rabbitmq    the same with RabbitMQ, in queues that outlive it, with an answer to each message
sweep       the exact comparison of a takedown, for each million hosted images: seconds of the processor, read from SQLite
shards      memory of the index of known hashes, whole and in shards

Each starts servers of its own on temporary folders and free ports (PostgreSQL's programs, `redis-server`, `rabbitmq-server`, `pgbouncer`), and leaves out,
with null, what is not installed. The last line is one JSON object.
"""

import argparse
import json
import os
import shutil
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import kombu
import numpy as np
import sqlalchemy as sa

from moderation.backlog import read_backlog
from moderation.banks.index import ChunkSegment
from moderation.database import Database
from moderation.tables import StoredImage, utc_now
from moderation.tables.base import ALPHABET, id_at
from moderation.takedowns.repository import NoticeRepository
from moderation.takedowns.sweep import Wanted, copies
from tests.faults.services import RABBITMQ, RabbitMq, service_folder

Figures = dict[str, Any]

MONTH = 30 * 86_400_000
"""Milliseconds."""

START = 1_735_689_600_000
"""The first moment of 2025, in milliseconds."""

MONTHS = 12


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def as_postgres(command: Sequence[str]) -> list[str]:
    """PostgreSQL refuses to run as root."""
    return (
        ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups", *command]
        if os.getuid() == 0
        else [*command]
    )


def postgres_programs() -> Path | None:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    return found[-1] if found else None


@contextmanager
def server(programs: Path, data: Path, *options: str) -> Iterator[int]:
    """PostgreSQL on a folder; its port."""
    port = free_port()
    settings = [
        f"-p {port}",
        f"-k {data.parent}",
        "-c listen_addresses=127.0.0.1",
        *(f"-c {option}" for option in options),
    ]
    control = [str(programs / "pg_ctl"), "-D", str(data), "-w", "-l", str(data.parent / "log")]
    subprocess.run(as_postgres([*control, "-o", " ".join(settings), "start"]), check=True, stdout=subprocess.DEVNULL)
    try:
        yield port
    finally:
        subprocess.run(as_postgres([*control, "-m", "immediate", "stop"]), check=True, stdout=subprocess.DEVNULL)


@contextmanager
def postgres(*options: str) -> Iterator[tuple[Path, Path, int]]:
    """A new PostgreSQL: its programs, a folder that it may write to, its port."""
    programs = postgres_programs()
    if programs is None:
        raise FileNotFoundError("PostgreSQL's programs")
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        folder.chmod(0o755)
        data = folder / "data" / "main"
        data.parent.mkdir()
        if os.getuid() == 0:
            shutil.chown(data.parent, "postgres", "postgres")
        init = [str(programs / "initdb"), "-D", str(data), "-A", "trust", "-U", "postgres", "-E", "UTF8", "--locale=C"]
        subprocess.run(as_postgres(init), check=True, stdout=subprocess.DEVNULL)
        with server(programs, data, "fsync=off", *options) as port:
            yield programs, data.parent, port


def url(port: int, name: str = "postgres") -> str:
    return f"postgresql+psycopg://postgres@127.0.0.1:{port}/{name}"


# partitions


def partitions(*, quick: bool) -> Figures:
    each = 5_000 if quick else 100_000
    with postgres() as (_, _, port):
        database = Database(url(port))
        database.migrate()
        with database.engine.begin() as connection:
            fill_partitions(connection, each)
        with database.engine.connect() as connection:
            pages = partitions_read(
                connection, PAGE, {"after": id_at(START + 5 * MONTH), "until": id_at(START + 5 * MONTH + MONTH // 2)}
            )
            newest = partitions_read(connection, NEWEST, {})
            external = partitions_read(connection, EXTERNAL, {})
            planning = planning_ms(connection)
        with database.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            deleted = timed(lambda: connection.execute(sa.text(DELETE), {"until": id_at(START + MONTH)}))
            dropped = timed(lambda: connection.execute(sa.text("drop table scans_01")))
        database.close()
    return {
        "rows": each * MONTHS,
        "partitions": MONTHS,
        "read_by_a_page": pages,
        "read_for_the_newest": newest,
        "read_by_external_id": external,
        "planning_ms": planning,
        "month_deleted_ms": round(deleted * 1000, 1),
        "month_dropped_ms": round(dropped * 1000, 1),
    }


PAGE = "select id from parted where tenant_id = 'default' and id > :after and id <= :until order by id limit 2000"
NEWEST = "select id from parted where tenant_id = 'default' order by id desc limit 1"
EXTERNAL = "select id from parted where tenant_id = 'default' and external_id = 'pic-77'"
DELETE = "delete from parted where id < :until"


def fill_partitions(connection: sa.Connection, each: int) -> None:
    """The table of scans, as migrations make it, in partitions of a month; ids as `new_id` makes them."""
    connection.execute(sa.text("create table parted (like scans including defaults) partition by range (id)"))
    connection.execute(sa.text("alter table parted add primary key (id)"))
    connection.execute(sa.text("create index on parted (tenant_id, id)"))
    connection.execute(sa.text("create index on parted (tenant_id, external_id)"))
    for month in range(MONTHS):
        low, high = id_at(START + month * MONTH), id_at(START + (month + 1) * MONTH)
        connection.execute(
            sa.text(f"create table scans_{month:02} partition of parted for values from ('{low}') to ('{high}')")
        )
        connection.execute(
            sa.text(INSERT),
            {"start": START + month * MONTH, "step": MONTH // each, "count": each, "month": month, "digits": ALPHABET},
        )
    connection.execute(sa.text("analyze parted"))


INSERT = """
insert into parted (id, tenant_id, created_at, image_id, measurement_id, reused, action, policy, policy_version, policy_digest,
    verdict, external_id, uploader, surface, locale, reach, consent)
select 'scan_' || (select string_agg(substr(:digits, cast((moment >> (5 * place)) & 31 as int) + 1, 1), '' order by place desc)
        from generate_series(0, 8) place) || lpad(cast(number as text), 17, '0'),
    'default', now(), 'img', 'msr', false, 'allow', 'p', 1, repeat('d', 64),
    '{"action": "allow", "reasons": []}', 'pic-' || (cast(:month as bigint) * :count + number), 'u', 'post', 'en', 0, false
from (select number, cast(:start as bigint) + cast(number as bigint) * :step as moment from generate_series(0, cast(:count as int) - 1) number) made
"""


def partitions_read(connection: sa.Connection, query: str, values: dict[str, str]) -> int:
    """How many partitions a query touches when it is run; those that it planned for and never began do not count."""
    plan = connection.execute(sa.text(f"explain (analyze, format json) {query}"), values).scalar_one()
    return len(
        {node["Relation Name"] for node in nodes(plan[0]["Plan"]) if "Relation Name" in node and node["Actual Loops"]}
    )


def nodes(plan: Figures) -> Iterator[Figures]:
    yield plan
    for part in plan.get("Plans", ()):
        yield from nodes(part)


def planning_ms(connection: sa.Connection) -> float:
    values = {"after": id_at(START), "until": id_at(START + MONTH)}
    plan = connection.execute(sa.text(f"explain (analyze, format json) {PAGE}"), values).scalar_one()
    return round(float(plan[0]["Planning Time"]), 2)


def timed(act: Callable[[], object]) -> float:
    started = time.perf_counter()
    act()
    return time.perf_counter() - started


# connections

PROCESSES = 40


def pool(*, quick: bool) -> Figures:
    rounds = 5 if quick else 50
    with postgres("max_connections=20") as (_, folder, port):
        Database(url(port)).migrate()
        found: Figures = {"processes": PROCESSES, "connections": 20, "refused_directly": refused(url(port), rounds)[0]}
        bouncer = shutil.which("pgbouncer", path=f"{os.environ['PATH']}:/usr/sbin")
        if bouncer is None:
            return found | {"refused_through_pgbouncer": None, "per_s_through_pgbouncer": None}
        with ExitStack() as stack:
            through = stack.enter_context(pgbouncer(bouncer, folder, port))
            failed, rate = refused(url(through), rounds)
        return found | {"refused_through_pgbouncer": failed, "per_s_through_pgbouncer": round(rate)}


@contextmanager
def pgbouncer(program: str, folder: Path, port: int) -> Iterator[int]:
    through = free_port()
    config = folder / "pgbouncer.ini"
    config.write_text(
        f"[databases]\npostgres = host=127.0.0.1 port={port} user=postgres\n[pgbouncer]\nlisten_addr=127.0.0.1\n"
        f"listen_port={through}\nauth_type=any\npool_mode=session\ndefault_pool_size=10\nmax_client_conn=500\nunix_socket_dir=\n"
    )
    running = subprocess.Popen(as_postgres([program, "-q", str(config)]), stderr=subprocess.DEVNULL)
    try:
        await_port(through)
        yield through
    finally:
        running.terminate()
        running.wait(30)


def await_port(port: int) -> None:
    ends = time.monotonic() + 30
    while time.monotonic() < ends:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise TimeoutError(f"nobody listens on {port}")


def refused(address: str, rounds: int) -> tuple[int, float]:
    """Processes (here threads with an engine of their own each, all at once) that were refused; transactions a second of the rest."""
    failed, gate = [0] * PROCESSES, threading.Barrier(PROCESSES)

    def work(number: int) -> None:
        database = Database(address, pool=1)
        gate.wait(60)
        try:
            for _ in range(rounds):
                with database.read() as session:
                    session.execute(sa.text("select count(*), pg_sleep(0.01) from scans"))
                database.close()  # as a process that is idle: session mode hands its connection on
        except sa.exc.OperationalError:
            failed[number] = 1

    threads = [threading.Thread(target=work, args=(number,)) for number in range(PROCESSES)]
    started = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(failed), (PROCESSES - sum(failed)) * rounds / (time.perf_counter() - started)


# a replica


def replica(*, quick: bool) -> Figures:
    writes = 200 if quick else 2_000
    with postgres("wal_level=replica", "max_wal_senders=4") as (programs, folder, port):
        primary = Database(url(port))
        primary.migrate()
        copy = folder / "copy"
        backup = [
            str(programs / "pg_basebackup"),
            "-h",
            "127.0.0.1",
            "-p",
            str(port),
            "-U",
            "postgres",
            "-D",
            str(copy),
            "-R",
            "-X",
            "stream",
        ]
        subprocess.run(as_postgres(backup), check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        with server(programs, copy, "hot_standby=on") as other:
            second = Database(url(other))
            lags = [lag(primary, second, number) for number in range(writes // 20)]
            backlog = read_backlog(second)
            second.close()
        primary.close()
    return {
        "lag_ms_median": round(float(np.median(lags)) * 1000, 1),
        "lag_ms_p99": round(float(np.percentile(lags, 99)) * 1000, 1),
        "monitoring_reads_there": backlog.events == 0,
    }


def lag(primary: Database, second: Database, number: int) -> float:
    """Seconds until a write can be read at the replica."""
    with primary.write() as session:
        session.execute(
            sa.text("insert into leases (name, holder, held_until) values (:name, 'x', now())"),
            {"name": f"lag {number}"},
        )
    started = time.perf_counter()
    query = sa.text("select 1 from leases where name = :name")
    while True:
        with second.read() as session:
            if session.scalar(query, {"name": f"lag {number}"}):
                return time.perf_counter() - started


# the broker


def broker(*, quick: bool) -> Figures:
    program = shutil.which("redis-server")
    if program is None:
        raise FileNotFoundError("redis-server")
    count, port = 2_000 if quick else 20_000, free_port()
    with tempfile.TemporaryDirectory() as folder:
        command = [
            program,
            "--port",
            str(port),
            "--bind",
            "127.0.0.1",
            "--appendonly",
            "yes",
            "--dir",
            folder,
            "--save",
            "",
        ]
        running = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        try:
            await_port(port)
            return messages(f"redis://127.0.0.1:{port}/0", count)
        finally:
            running.terminate()
            running.wait(30)


def rabbitmq(*, quick: bool) -> Figures:
    if not RABBITMQ.is_file():
        raise FileNotFoundError("rabbitmq-server")
    with service_folder() as folder, RabbitMq(folder / "node") as node:
        return messages(node.url, 2_000 if quick else 20_000, {"confirm_publish": True})


def messages(address: str, count: int, options: dict[str, Any] | None = None) -> Figures:
    """Each is a task's message of usual size, as Celery sends it: in a queue, taken one at a time, acknowledged when it is done."""
    body = {
        "task": "palisade.scan_job",
        "args": ["job_01m87hb180dkj6swebqx0zv4tt"],
        "headers": {"traceparent": "0" * 55},
    }
    with kombu.Connection(address, transport_options=options) as connection, connection.SimpleQueue("bulk") as queue:
        published = timed(lambda: [queue.put(body) for _ in range(count)])
        taken = timed(lambda: [queue.get(timeout=30).ack() for _ in range(count)])
    return {"messages": count, "published_per_s": round(count / published), "taken_per_s": round(count / taken)}


# takedowns


def sweep(*, quick: bool) -> Figures:
    count, page = 20_000 if quick else 200_000, 2_000
    random = np.random.default_rng(1)
    wanted = Wanted(frozenset(), random.integers(0, 256, (8, 32), np.uint8), unit_vectors(random, 1), "m")
    read = compared = 0.0
    with tempfile.TemporaryDirectory() as folder:
        database = Database(f"sqlite:///{folder}/sweep.db")
        database.migrate()
        with database.write() as session:
            for start in range(0, count, page):
                session.execute(sa.insert(StoredImage), [hosted_image(random, start + i) for i in range(page)])
        after = ""
        while True:
            began = time.process_time()
            with database.read() as session:
                rows = NoticeRepository(session, "default").hosted(after, page)
            middle = time.process_time()
            list(copies(wanted, rows))
            read, compared = read + middle - began, compared + time.process_time() - middle
            if not rows:
                break
            after = rows[-1][0]
        database.close()
    million = (read + compared) * 1e6 / count
    return {
        "read_s_per_million": round(read * 1e6 / count, 1),
        "compared_s_per_million": round(compared * 1e6 / count, 1),
        "hours_at_100_million": round(million * 100 / 3600, 2),
    }


def hosted_image(random: np.random.Generator, number: int) -> Figures:
    file = {"format": "JPEG", "size": 1, "width": 1, "height": 1, "frames": 1}
    vector = random.normal(size=512).astype(np.float16).tobytes()
    made = {"created_at": utc_now(), "sha256": f"{number:064x}", "pdq": random.bytes(32), "embedding": vector}
    return {"id": f"img_{number:012}", "tenant_id": "default", "embedding_model": "m", **made, **file}


def unit_vectors(random: np.random.Generator, count: int) -> Any:
    vectors = random.normal(size=(count, 512)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


# known hashes


def shards(*, quick: bool) -> Figures:
    count = 100_000 if quick else 1_000_000
    hashes = np.random.default_rng(2).integers(0, 256, (count, 32), np.uint8)
    found: Figures = {"hashes": count}
    for parts in (1, 4):
        share = hashes[::parts]
        segment = ChunkSegment(share, np.arange(len(share)))
        held = (segment.ids, segment.starts, segment.low, segment.high, segment.heads)
        found[f"mb_of_one_of_{parts}"] = round(sum(array.nbytes for array in held) / 1e6, 1)
    return found


RUNS: dict[str, Callable[..., Figures]] = {
    "partitions": partitions,
    "pool": pool,
    "replica": replica,
    "broker": broker,
    "rabbitmq": rabbitmq,
    "sweep": sweep,
    "shards": shards,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help=f"of {', '.join(RUNS)}; all without any")
    parser.add_argument("--quick", action="store_true", help="smaller, at most 40 s in all")
    given = parser.parse_args()
    if unknown := set(given.names) - set(RUNS):
        parser.error(f"{', '.join(sorted(unknown))}: none of {', '.join(RUNS)}")
    figures: Figures = {}
    for name in given.names or RUNS:
        try:
            figures[name] = RUNS[name](quick=given.quick)
        except FileNotFoundError as missing:
            figures[name] = None
            print(f"{name}: {missing} not found", flush=True)
        else:
            print(json.dumps({name: figures[name]}), flush=True)
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
