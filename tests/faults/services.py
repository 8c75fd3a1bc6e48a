"""PostgreSQL, Redis and RabbitMQ of a test's own, which it may kill: on free ports, in a folder of their own."""

import os
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType

import kombu

START_SECONDS = 120
"""Until a service answers, on a busy machine."""


PORTS = range(20_000, 32_000)
"""Below those that the kernel gives to clients: one of them could take a server's port while it is down, even by reaching itself."""


def free_port() -> int:
    """A port that nobody listens on."""
    for port in random.SystemRandom().sample(PORTS, 100):
        with socket.socket() as tried:
            tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                tried.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise RuntimeError("no port is free")


def until(is_so: Callable[[], bool], seconds: float = START_SECONDS, what: str = "it", *, every: float = 0.05) -> None:
    """Wait until something is so. every: seconds between looking. Raises TimeoutError."""
    ends = time.monotonic() + seconds
    while not is_so():
        if time.monotonic() > ends:
            raise TimeoutError(f"{what} did not come to pass within {seconds} s")
        time.sleep(every)


class Service:
    """A server process that can be killed and started again where it was."""

    def __init__(
        self,
        command: list[str],
        *,
        log: Path,
        answers: Callable[[], bool],
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.command, self.log, self.answers = command, log, answers
        self.environment = {**os.environ, **(environment or {})}
        self.process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> "Service":
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()

    def start(self) -> None:
        """Start it, and wait until it answers."""
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self.command, stdout=log, stderr=log, start_new_session=True, env=self.environment
            )
        until(self._is_ready, what=self.command[0])

    def _is_ready(self) -> bool:
        if self.process is None or self.process.poll() is not None:
            raise RuntimeError(f"{self.command[0]} ended:\n{self.log.read_text()[-2_000:]}")
        return self.answers()

    def kill(self) -> None:
        """kill -9, with every process that it made."""
        if self.process is not None:
            kill_group(self.process)
            self.process = None


def kill_group(process: "subprocess.Popen[bytes]") -> None:
    """kill -9 of a process that leads a session, with every process that it made."""
    with suppress(ProcessLookupError):  # it ended by itself
        os.killpg(process.pid, signal.SIGKILL)
    process.wait(60)


class Postgres(Service):
    """A cluster of its own; `url` names an empty database in it.

    durable: wait for the disk at each commit. Without it, what a killed server acknowledged is still in the kernel's hands,
    which outlives the process: only the machine's own death would lose it.
    """

    def __init__(self, folder: Path, *, durable: bool = False) -> None:
        self.folder, self.port = folder, free_port()
        self.url = f"postgresql+psycopg://postgres@127.0.0.1:{self.port}/postgres"
        self.binaries = postgres_binaries()
        data = folder / "data"
        folder.mkdir(parents=True, exist_ok=True)
        if os.getuid() == 0:
            shutil.chown(folder, "postgres", "postgres")
        if not data.exists():
            self._run("initdb", "-D", str(data), "-A", "trust", "-U", "postgres", "-E", "UTF8", "--locale=C")
        options = {"port": self.port, "unix_socket_directories": folder, "listen_addresses": "127.0.0.1"}
        options |= {"fsync": "on" if durable else "off", "max_connections": 100}
        arguments = [part for name, value in options.items() for part in ("-c", f"{name}={value}")]
        command = [*as_postgres(), str(self.binaries / "postgres"), "-D", str(data), *arguments]
        super().__init__(command, log=folder / "log", answers=self._answers)

    def start(self) -> None:
        # kill -9 of all its processes at once leaves the pid behind, which a new process may carry by now
        (self.folder / "data" / "postmaster.pid").unlink(missing_ok=True)
        super().start()

    def _answers(self) -> bool:
        ready = [str(self.binaries / "pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(self.port)]
        return subprocess.run(ready, check=False).returncode == 0

    def _run(self, *command: str) -> None:
        subprocess.run(
            [*as_postgres(), str(self.binaries / command[0]), *command[1:]], check=True, capture_output=True, cwd="/"
        )


class Redis(Service):
    """Keeps nothing on disk: what is killed is gone."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.port = free_port()
        self.url = f"redis://127.0.0.1:{self.port}"
        command = ["redis-server", "--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--dir", str(folder)]
        super().__init__(command, log=folder / "log", answers=self._answers)

    def _answers(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0


RABBITMQ = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")
"""Debian's program itself: what is on the path changes the user."""


class RabbitMq(Service):
    """A node of its own, which keeps its messages in the folder. Its port mapper runs on a port of its own too."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.port, mapper, peers = free_port(), free_port(), free_port()
        self.url = f"amqp://guest:guest@127.0.0.1:{self.port}//"
        environment = {
            "HOME": str(folder),
            "ERL_EPMD_PORT": str(mapper),
            "RABBITMQ_NODENAME": f"palisade{self.port}@localhost",
            "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODE_PORT": str(self.port),
            "RABBITMQ_DIST_PORT": str(peers),
            "RABBITMQ_MNESIA_BASE": str(folder / "data"),
            "RABBITMQ_LOG_BASE": str(folder / "log"),
            "RABBITMQ_PID_FILE": str(folder / "pid"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "plugins"),
            "RABBITMQ_CONF_ENV_FILE": str(folder / "none"),
        }
        super().__init__([str(RABBITMQ)], log=folder / "output", answers=self._answers, environment=environment)

    def _answers(self) -> bool:
        try:
            with kombu.Connection(self.url, connect_timeout=5) as connection:
                connection.connect()
        except OSError:
            return False
        return True

    def kill(self) -> None:
        """The port mapper goes into the background by itself: it is ended too, once it is sent away no node is left."""
        super().kill()
        subprocess.run(["epmd", "-kill"], env=self.environment, capture_output=True, check=False)


def postgres_binaries() -> Path:
    """Where PostgreSQL's programs are. Raises FileNotFoundError."""
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name))
    on_path = shutil.which("initdb")
    if not folders and on_path is None:
        raise FileNotFoundError("PostgreSQL is not installed: there is no /usr/lib/postgresql/*/bin and no initdb")
    return folders[-1] if folders else Path(on_path or "").parent


def as_postgres() -> list[str]:
    """What a command begins with where this process is root: PostgreSQL refuses to run as root."""
    return ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"] if os.getuid() == 0 else []


def missing_services() -> str:
    """What is not installed that these need; '' where all is."""
    try:
        postgres_binaries()
    except FileNotFoundError as error:
        return str(error)
    return "" if shutil.which("redis-server") else "redis-server is not installed"


@contextmanager
def service_folder() -> Iterator[Path]:
    """A temporary folder that the user postgres may enter."""
    with tempfile.TemporaryDirectory(prefix="palisade-") as name:
        Path(name).chmod(0o755)
        yield Path(name)
