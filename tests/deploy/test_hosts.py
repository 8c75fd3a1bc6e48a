"""systemd units and NGINX: read by their own programs where those are installed, and checked against the code everywhere."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from api.app import FORM_OVERHEAD
from moderation.settings import Settings
from tests.deploy.conftest import DEPLOY, is_command, program

UNITS = sorted((DEPLOY / "systemd").glob("*.service"))
NGINX = (DEPLOY / "nginx" / "palisade.conf").read_text()


@pytest.mark.parametrize("unit", UNITS, ids=lambda path: path.name)
def test_units_start_a_command_of_ours_with_no_privilege(unit: Path) -> None:
    text = unit.read_text()
    starts = re.findall(r"(?m)^ExecStart=/opt/palisade/bin/palisade (.+)$", text)

    assert len(starts) == 1
    assert is_command(starts[0].split())
    for line in (
        "User=palisade",
        "NoNewPrivileges=yes",
        "CapabilityBoundingSet=",
        "ProtectSystem=strict",
        "UMask=0077",
    ):
        assert re.search(rf"(?m)^{line}$", text), line


def test_units_name_units_that_exist() -> None:
    for unit in UNITS:
        for name in re.findall(r"\bpalisade-[\w@-]+\.service", unit.read_text()):
            assert (unit.parent / name).exists(), f"{unit.name}: {name}"


def test_systemd_takes_the_units(tmp_path: Path) -> None:
    analyze = shutil.which("systemd-analyze")
    if not analyze:
        pytest.skip("systemd-analyze is not installed")
    for unit in UNITS:
        name = unit.name.replace("@.", "@bulk.")
        (tmp_path / name).write_text(unit.read_text().replace("/opt/palisade/bin/palisade", "/bin/true"))
    names = [str(path) for path in tmp_path.iterdir()]
    done = subprocess.run([analyze, "verify", "--man=no", *names], capture_output=True, text=True, check=False)

    assert (done.returncode, done.stderr) == (0, "")


def test_nginx_lets_through_what_palisade_takes() -> None:
    settings = Settings(_env_file=None)

    assert f"client_max_body_size {settings.max_bytes + FORM_OVERHEAD};" in NGINX
    assert f"client_max_body_size {settings.max_batch_bytes + FORM_OVERHEAD};" in NGINX
    assert "X-Forwarded-For $remote_addr;" in NGINX, "what a client claims is not passed on"


def test_nginx_takes_the_configuration(tmp_path: Path) -> None:
    nginx = program("nginx", "Debian's package nginx-light")
    (tmp_path / "palisade.conf").write_text(NGINX)
    paths = " ".join(f"{name}_temp_path {tmp_path};" for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
    (tmp_path / "nginx.conf").write_text(
        f"pid {tmp_path}/pid; error_log stderr; events {{}} http {{ access_log off; {paths} include {tmp_path}/palisade.conf; }}"
    )
    done = subprocess.run(
        [nginx, "-t", "-e", "stderr", "-p", str(tmp_path), "-c", str(tmp_path / "nginx.conf")],
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    assert "warn" not in done.stderr


@pytest.mark.parametrize("page", ["README.md", "scaling.md"])
def test_commands_in_the_pages_exist(page: str) -> None:
    text = (DEPLOY / page).read_text()
    inline = re.findall(r"`palisade ([a-z][^`]*)`", text)
    blocks = re.findall(
        r"(?m)(?:^|bin/|&& |api )palisade ((?:db|models|keys|events|people|takedowns|exchanges) [^#\n]+)", text
    )

    assert [words for words in inline + blocks if not is_command(words.split())] == []


@pytest.mark.parametrize("page", ["README.md", "scaling.md"])
def test_links_lead_somewhere(page: str) -> None:
    links = re.findall(r"\]\(((?!http)[^)#]+)", (DEPLOY / page).read_text())

    assert [link for link in links if not (DEPLOY / link).exists()] == []


def test_every_alert_has_a_first_look() -> None:
    alerts = re.findall(r"- alert: (\w+)", (DEPLOY / "monitoring" / "alerts.yaml").read_text())
    text = (DEPLOY / "README.md").read_text()

    assert [name for name in alerts if name not in text] == []
