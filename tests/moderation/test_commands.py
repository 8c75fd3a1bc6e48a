"""The `palisade` command, as people and scripts call it."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from moderation.cli import app, main
from moderation.commands.scan import expand
from moderation.commands.serve import LOCAL_SECRETS, load_local_secrets, prepare_local
from moderation.errors import InvalidRequestError, SettingsError
from moderation.settings import Settings, read_settings, settings
from moderation.vault import Vault
from tests.factories import encode, picture


@pytest.fixture(autouse=True)
def _own_data_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("PALISADE_MODELS_DIR", str(settings().models))
    monkeypatch.setenv("PALISADE_DATA_DIR", str(tmp_path / "data"))
    for name in LOCAL_SECRETS:  # set first, so that what a test puts there is taken away again
        monkeypatch.setenv(f"PALISADE_{name}", "")
        monkeypatch.delenv(f"PALISADE_{name}")
    settings.cache_clear()
    yield
    monkeypatch.undo()
    settings.cache_clear()


def run(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, list(arguments), catch_exceptions=True)
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.stdout


def lines(output: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in output.splitlines()]


def test_a_scan_as_json_has_the_documented_shape(tmp_path: Path) -> None:
    (tmp_path / "photo.png").write_bytes(encode(picture()))

    code, output = run("scan", str(tmp_path / "photo.png"), "--json")

    (scan,) = lines(output)
    assert code == 0
    assert list(scan) == ["file", "sha256", "verdict", "findings", "timings"]
    assert scan["verdict"]["action"] == "allow"
    assert {"action", "reasons", "policy"} <= set(scan["verdict"])
    wanted = {"detector", "label", "status", "score", "fpr", "region", "evidence", "model"}
    assert all(wanted <= set(finding) for finding in scan["findings"])


def test_a_folder_gives_a_line_a_file_and_the_worst_exit_code(tmp_path: Path) -> None:
    (tmp_path / "below").mkdir()
    (tmp_path / "a.png").write_bytes(encode(picture(seed=1)))
    (tmp_path / "below/b.jpg").write_bytes(b"not an image")
    (tmp_path / "notes.txt").write_text("not looked at")

    code, output = run("scan", str(tmp_path), "--json")

    first, second = lines(output)
    assert code == 9
    assert first["verdict"]["action"] == "allow"
    assert list(second) == ["file", "error"]
    assert second["error"]["code"] == "not_an_image"
    assert set(second["error"]) == {"code", "message", "hint"}


@pytest.mark.parametrize(("action", "code"), [("label", 0), ("restrict", 10), ("hold", 11), ("block", 12)])
def test_the_exit_code_says_the_action(tmp_path: Path, action: str, code: int) -> None:
    (tmp_path / "photo.png").write_bytes(encode(picture()))
    (tmp_path / "own.yaml").write_text(
        f"{{name: own, version: 1, description: x, keep: none, on_error: hold, on_skipped: allow, rules: "
        f"[{{name: any, when: pdq.hashable, action: {action}, queue: q, reason: any}}]}}"
    )

    assert run("scan", str(tmp_path / "photo.png"), "--policy", str(tmp_path / "own.yaml"), "--json")[0] == code


def test_a_table_names_verdict_and_findings(tmp_path: Path) -> None:
    (tmp_path / "photo.png").write_bytes(encode(picture()))

    code, output = run("scan", str(tmp_path / "photo.png"))

    assert code == 0
    for part in ("ALLOW", "nsfw", "skipped: no gallery"):
        assert part in output


def test_a_missing_file_is_named() -> None:
    with pytest.raises(InvalidRequestError, match="nowhere"):
        list(expand(["nowhere.jpg"]))


def test_urls_are_left_to_the_client() -> None:
    assert list(expand(["https://example.org/a.jpg"])) == ["https://example.org/a.jpg"]


def test_errors_are_told_in_words(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("sys.argv", ["palisade", "scan", "nowhere.jpg"])

    with pytest.raises(SystemExit) as end:
        main()

    assert end.value.code == 1


def test_policies_are_listed_and_checked(tmp_path: Path) -> None:
    assert all(name in run("policy", "list")[1] for name in ("mainstream", "adult", "strict-generator"))
    assert run("policy", "check")[0] == 0
    (tmp_path / "broken.yaml").write_text("name: broken\nrules: []\n")
    assert run("policy", "check", str(tmp_path / "broken.yaml"))[0] == 1


def test_a_verdict_is_explained_rule_by_rule(tmp_path: Path) -> None:
    (tmp_path / "photo.png").write_bytes(encode(picture()))

    code, output = run("policy", "explain", str(tmp_path / "photo.png"), "--json")

    explained = json.loads(output)
    assert code == 0
    assert explained["verdict"]["action"] == "allow"
    assert {rule["rule"] for rule in explained["rules"]} >= {"explicit-content", "declared-ai"}


def test_models_are_listed_and_verified() -> None:
    assert "open_nsfw" in run("models", "list")[1]
    assert run("models", "verify")[0] == 0


def test_keys_are_made_listed_and_revoked() -> None:
    run("db", "upgrade")
    secret = run("keys", "create", "uploads", "--scope", "scan", "--days", "30")[1].strip().splitlines()[-1]
    listed = run("keys", "list")[1]

    assert secret.startswith("pls_")
    assert "uploads" in listed
    assert secret not in listed


def test_a_generated_secret_is_one(tmp_path: Path) -> None:
    assert Vault.parse(run("keys", "generate-secret", "k9")[1].strip(), setting="X").newest_id == "k9"


def test_the_schema_is_checked() -> None:
    assert run("db", "upgrade")[0] == 0
    assert run("db", "check")[0] == 0


def test_local_serving_listens_on_this_machine_only() -> None:
    with pytest.raises(SettingsError, match=r"0\.0\.0\.0"):
        prepare_local("0.0.0.0")  # noqa: S104 - what must be refused


def test_local_secrets_are_made_once_and_private(tmp_path: Path) -> None:
    config = Settings(_env_file=None, data_dir=tmp_path)

    load_local_secrets(config)
    first = (tmp_path / "secrets.env").read_text()
    load_local_secrets(config)

    assert (tmp_path / "secrets.env").read_text() == first
    assert (tmp_path / "secrets.env").stat().st_mode & 0o077 == 0
    assert all(f"PALISADE_{name}" in os.environ for name in LOCAL_SECRETS)


@pytest.mark.parametrize(
    ("name", "value"),
    [("PORT", "0"), ("MAX_BYTES", "many"), ("FETCH_ALLOWED_NETWORKS", "10.0.0.0/99"), ("LOG_LEVEL", "loud")],
)
def test_an_unfit_setting_is_named_with_its_value(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(f"PALISADE_{name}", value)

    with pytest.raises(SettingsError, match=f"PALISADE_{name}"):
        read_settings()


def test_a_secret_setting_is_never_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PALISADE_IMAGE_KEYS", "k1:hunter2")

    assert "hunter2" not in repr(read_settings())
