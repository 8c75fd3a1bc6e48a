"""`palisade serve`: the API and the dashboard."""

import os
from pathlib import Path
from typing import Annotated

import typer
import uvicorn

from detectors.catalogue import catalogue
from moderation.application import Application
from moderation.commands.console import err
from moderation.commands.keys import new_secret
from moderation.commands.models import pull
from moderation.errors import SettingsError
from moderation.settings import PREFIX, Settings, settings

LOOPBACK = ("127.0.0.1", "localhost", "::1")

LOCAL_SECRETS = ("IMAGE_KEYS", "PEOPLE_KEYS", "TAKEDOWN_KEYS", "ACCOUNT_KEYS")


def serve(
    local: Annotated[
        bool,
        typer.Option(
            "--local",
            help="For one person on this machine: no API key, this machine only, embedded database brought up to "
            "date, missing models pulled, keys made in the data folder.",
        ),
    ] = False,
    host: Annotated[str | None, typer.Option(help="Address to listen on. Default: PALISADE_HOST.")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on. Default: PALISADE_PORT.")] = None,
    workers: Annotated[int, typer.Option(min=1, help="Processes, each with its own models.")] = 1,
) -> None:
    """Serve the API and the dashboard."""
    if local:
        prepare_local(host)
    config = settings()
    host, port = host or config.host, port or config.port
    err.print(f"Palisade on http://{host}:{port}/ (policy {config.policy}, data in {config.data_dir})")
    uvicorn.run(
        "asgi:create_app",
        factory=True,
        host=host,
        port=port,
        workers=workers,
        log_level=config.log_level,
        access_log=config.log_level == "debug",
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=30,
    )


def prepare_local(host: str | None) -> None:
    """Set up everything a single person needs. Raises SettingsError when the address is not this machine's own."""
    address = host or settings().host
    if address not in LOOPBACK:
        raise SettingsError(
            f"--local answers without keys, so it listens on this machine only, not on {address}.",
            hint="Leave --host away, or serve without --local.",
        )
    os.environ[f"{PREFIX}REQUIRE_KEY"] = "false"
    load_local_secrets(settings())
    settings.cache_clear()
    pull(list(catalogue()))
    Application(settings()).database.migrate()


def load_local_secrets(config: Settings) -> None:
    """Put this machine's own keys into the environment, making them the first time. Set ones are left alone."""
    path = config.data_dir / "secrets.env"
    kept = _read(path)
    missing = [name for name in LOCAL_SECRETS if name not in kept]
    if missing:
        kept |= {name: new_secret("local") for name in missing}
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(".part")
        part.touch(mode=0o600)
        part.write_text("".join(f"{PREFIX}{name}={value}\n" for name, value in kept.items()))
        part.replace(path)
    for name, value in kept.items():
        os.environ.setdefault(f"{PREFIX}{name}", value)


def _read(path: Path) -> dict[str, str]:
    if not path.exists():
        return {}
    lines = (line.strip().removeprefix(PREFIX) for line in path.read_text().splitlines() if "=" in line)
    return dict(line.split("=", 1) for line in lines)
