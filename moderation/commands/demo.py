"""`palisade demo`: a living installation in a folder of its own."""

import os
import shutil
from pathlib import Path
from typing import Annotated

import typer

from detectors.catalogue import catalogue
from moderation.application import Application
from moderation.commands.console import err
from moderation.commands.models import pull
from moderation.commands.serve import load_local_secrets, serve
from moderation.demo.filling import CODES_SHOWN, FEWEST, MOST, PICTURES, Login, accounts_text, fill, policy_file
from moderation.errors import SettingsError
from moderation.settings import PREFIX, Settings, settings

KEPT = ("MODELS_DIR", "MODELS_SOURCES", "PACKAGE_INDEX", "HUB_URL", "INFERENCE_THREADS", "LOG_LEVEL")
"""Settings of this machine that a demo goes by; all others are its own."""

HOST = "127.0.0.1"
ACCOUNTS = "accounts.txt"


def demo(
    folder: Annotated[
        Path,
        typer.Option(help="Where it is made: a new folder, or one that a demo made before, which is served again."),
    ] = Path("palisade-demo"),
    port: Annotated[int, typer.Option(min=1, max=65_535, help="Port to listen on, on this machine only.")] = 8000,
    pictures: Annotated[int, typer.Option(min=FEWEST, max=MOST, help="Pictures to draw and scan.")] = PICTURES,
    fill_only: Annotated[bool, typer.Option("--fill-only", help="Make it, and serve nothing.")] = False,
) -> None:
    """Make an installation with cases, decisions, appeals and accounts to look at, and serve it. Nothing in it is real."""
    folder = folder.resolve()
    made = (folder / ACCOUNTS).exists()
    if not made and folder.exists() and any(folder.iterdir()):
        raise SettingsError(
            f"{folder} holds something that is not a demo.", hint="Name a new folder with --folder, or empty this one."
        )
    set_apart(folder, port)
    if not made:
        make(settings(), f"http://{HOST}:{port}", pictures)
    err.print((folder / ACCOUNTS).read_text() if made else f"All codes are in {folder / ACCOUNTS}.", markup=False)
    if not fill_only:
        serve(host=HOST, port=port)


def set_apart(folder: Path, port: int) -> None:
    """Make this process's settings those of the demo: no database, no key and no address of another installation is left."""
    models = settings().models.resolve()
    for name in Settings.model_fields:
        if name.upper() not in KEPT:
            os.environ.pop(f"{PREFIX}{name.upper()}", None)
    folder.mkdir(parents=True, exist_ok=True)
    os.chdir(folder)  # a file `.env` where the command was called is another installation's
    mine = {
        "DATA_DIR": str(folder),
        "MODELS_DIR": str(models),
        "POLICIES_DIR": str(folder / "policies"),
        "POLICY": "demo",
        "REQUIRE_KEY": "false",
        "REVIEW_SECOND_SHARE": "0.5",
        "DASHBOARD_URL": f"http://{HOST}:{port}",
    }
    os.environ.update({f"{PREFIX}{name}": value for name, value in mine.items()})
    settings.cache_clear()
    load_local_secrets(settings())
    settings.cache_clear()


def make(config: Settings, url: str, pictures: int) -> None:
    """Fill a new installation; its accounts are written down last, so that one that broke off is no demo."""
    pull(list(catalogue()))
    (config.data_dir / "policies").mkdir(exist_ok=True)
    shutil.copy(policy_file(), config.data_dir / "policies" / "demo.yaml")
    app = Application(config)
    app.database.migrate()
    with err.status("making the demo") as status:
        logins = fill(app, count=pictures, progress=status.update)
    app.database.close()
    part = config.data_dir / f"{ACCOUNTS}.part"
    part.touch(mode=0o600)
    part.write_text(accounts_text(logins, url))
    part.replace(config.data_dir / ACCOUNTS)
    _print(logins, url)


def _print(logins: list[Login], url: str) -> None:
    err.print(f"Sign in at {url}/sign-in. Each code works once, in place of an authenticator app:", markup=False)
    for login in logins:
        codes = "  ".join(login.codes[:CODES_SHOWN])
        err.print(f"  {login.name}  {', '.join(login.roles)}", markup=False)
        err.print(f"    password {login.password}   codes {codes}", markup=False, soft_wrap=True)
