"""Each command, and what it prints."""

import json
import re
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import pytest

SOURCE = Path(__file__).parents[2] / "src"


class Ended(Protocol):
    code: int
    out: str
    err: str


class Sink(Protocol):
    mails: list[object]


Run = Callable[..., Ended]


def test_migrate_makes_the_embedded_database(keyturn: Run, tmp_path: Path) -> None:
    done = keyturn("migrate")
    assert (done.code, done.err) == (0, "")
    assert re.fullmatch(r"The database is at \w+\.\n", done.out)
    assert stat.S_IMODE((tmp_path / "data").stat().st_mode) == 0o700
    assert stat.S_IMODE((tmp_path / "data" / "keyturn.db").stat().st_mode) == 0o600


def test_migrate_twice_changes_nothing(keyturn: Run) -> None:
    assert keyturn("migrate").out == keyturn("migrate").out


def test_migrate_works_on_postgresql(
    keyturn: Run, environment: pytest.MonkeyPatch, empty_postgres_url: str
) -> None:
    environment.setenv("KEYTURN_DATABASE_URL", empty_postgres_url)
    assert keyturn("migrate").code == 0
    assert "its schema is the newest" in keyturn("doctor").out


def test_an_unknown_revision_is_refused_in_one_line(keyturn: Run) -> None:
    refused = keyturn("migrate", "--to", "nonsense")
    assert refused.code == 2
    assert refused.err.startswith("keyturn: the database: ")
    assert len(refused.err.splitlines()) == 1


def test_config_shows_every_setting_with_its_source_and_no_secret(
    keyturn: Run, environment: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / ".env").write_text("KEYTURN_AUDIENCE=api\n")
    environment.setenv("KEYTURN_DATABASE_URL", "postgresql://u:hunter2@db/n")
    shown = keyturn("config").out
    assert re.search(r"^# \.env: .*\nKEYTURN_AUDIENCE=api$", shown, re.MULTILINE)
    assert re.search(r"^# default: .*\nKEYTURN_REFRESH_GRACE=10s$", shown, re.MULTILINE)
    derived = r"^# derived: .*\n# KEYTURN_PASSWORD_GRANT=true$"
    assert re.search(derived, shown, re.MULTILINE)
    assert re.search(r"^# environment: .*\nKEYTURN_DATABASE_URL=\S+@db/n$", shown, re.MULTILINE)
    assert "hunter2" not in shown


@pytest.mark.parametrize("command", ["serve", "migrate", "config", "doctor", "openapi"])
def test_a_wrong_setting_stops_every_command_with_one_line(
    command: str, keyturn: Run, environment: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    environment.setenv("KEYTURN_ISUER", "https://auth.example.com")
    refused = keyturn(command)
    assert refused.code == 2
    assert refused.out == ""
    assert refused.err == (
        "keyturn: KEYTURN_ISUER: there is no such setting; is KEYTURN_ISSUER meant?\n"
    )
    assert list(tmp_path.iterdir()) == []


def test_a_data_folder_that_can_not_be_made_is_refused_in_one_line(
    keyturn: Run, environment: pytest.MonkeyPatch
) -> None:
    environment.setenv("KEYTURN_DATA_DIR", "/dev/null/data")
    refused = keyturn("migrate")
    assert refused.code == 2
    assert refused.err == "keyturn: KEYTURN_DATA_DIR: /dev/null/data: Not a directory\n"


def test_doctor_changes_nothing(keyturn: Run, tmp_path: Path) -> None:
    examined = keyturn("doctor")
    assert (examined.code, examined.err) == (0, "")
    assert list(tmp_path.iterdir()) == []


def test_doctor_finds_nothing_wrong_with_a_new_service(keyturn: Run) -> None:
    keyturn("migrate")
    examined = keyturn("doctor")
    assert examined.code == 0
    assert "problem" not in examined.out
    assert "its schema is the newest" in examined.out
    assert "MiB" in examined.out


def test_doctor_finds_a_database_that_is_behind(
    keyturn: Run, environment: pytest.MonkeyPatch, empty_database_url: str, tmp_path: Path
) -> None:
    environment.setenv("KEYTURN_DATABASE_URL", empty_database_url)
    examined = keyturn("doctor")
    assert examined.code == 1
    assert list(tmp_path.iterdir()) == []
    assert re.search(r"^problem +database .*run keyturn migrate$", examined.out, re.MULTILINE)


def test_doctor_finds_what_others_can_read(keyturn: Run, tmp_path: Path) -> None:
    keyturn("migrate")
    (tmp_path / "data").chmod(0o755)
    (tmp_path / ".env").write_text("KEYTURN_AUDIENCE=api\n")
    (tmp_path / ".env").chmod(0o644)
    warnings = re.findall(r"^warning +files +(\S+):", keyturn("doctor").out, re.MULTILINE)
    assert warnings == ["data", ".env"]


def test_doctor_finds_keys_that_can_not_be_used(keyturn: Run, tmp_path: Path) -> None:
    keys = tmp_path / "data" / "keys"
    keys.mkdir(parents=True)
    (keys / "mine.pem").write_text("no key")
    (keys / "mine.pem").chmod(0o600)
    examined = keyturn("doctor")
    assert examined.code == 1
    assert re.search(r"^problem +keys .*mine\.pem", examined.out, re.MULTILINE)


def test_doctor_counts_the_clients_that_stand_in_the_file(keyturn: Run) -> None:
    keyturn("clients", "add", "notes", "--introspect")
    keyturn("clients", "add", "mobile", "--public")
    counted = r"^ok +clients .*clients\.toml: 1 with a secret, 2 in all$"
    assert re.search(counted, keyturn("doctor").out, re.MULTILINE)


def test_doctor_finds_clients_that_a_start_would_refuse(
    keyturn: Run, environment: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    environment.setenv("KEYTURN_CLIENTS_FILE", "mine.toml")
    missing = keyturn("doctor")
    assert missing.code == 1
    assert re.search(r"^problem +clients .*mine\.toml: there is no", missing.out, re.MULTILINE)
    (tmp_path / "mine.toml").write_text("[clients.notes]\nsecret = 'in the clear'\n")
    (tmp_path / "mine.toml").chmod(0o600)
    malformed = keyturn("doctor")
    assert malformed.code == 1
    assert re.search(r"^problem +clients .*mine\.toml: .*notes", malformed.out, re.MULTILINE)
    assert "in the clear" not in malformed.out


def test_doctor_warns_of_weak_choices(keyturn: Run, environment: pytest.MonkeyPatch) -> None:
    environment.setenv("KEYTURN_BIND_HOST", "192.0.2.1")
    environment.setenv("KEYTURN_SECURE_COOKIES", "false")
    environment.setenv("KEYTURN_ACCESS_TTL", "2h")
    environment.setenv("KEYTURN_PASSWORD_MIN_LENGTH", "8")
    environment.setenv("KEYTURN_TRUSTED_PROXIES", "::/0")
    environment.setenv("KEYTURN_PASSWORD_GRANT", "true")
    environment.setenv("KEYTURN_REQUIRE_VERIFIED_EMAIL", "false")
    environment.setenv("KEYTURN_ACCEPT_RISKS", "console-mail,long-idle-ttl")
    out = keyturn("doctor").out
    assert re.findall(r"^warning +settings +(KEYTURN_\w+)", out, re.MULTILINE) == [
        "KEYTURN_PASSWORD_MIN_LENGTH",
    ]
    assert re.findall(r"^problem +choices +(KEYTURN_\w+)", out, re.MULTILINE) == [
        "KEYTURN_ISSUER",
        "KEYTURN_SECURE_COOKIES",
        "KEYTURN_VERIFY_EMAIL_URL",
        "KEYTURN_TRUSTED_PROXIES",
        "KEYTURN_ACCESS_TTL",
    ]
    assert re.findall(r"^warning +choices +(KEYTURN_\w+)", out, re.MULTILINE) == [
        "KEYTURN_MAIL",
        "KEYTURN_ACCEPT_RISKS",
        "KEYTURN_REQUIRE_VERIFIED_EMAIL",
        "KEYTURN_PASSWORD_GRANT",
    ]
    assert re.search(r"^ok +choices +KEYTURN_DOCS is on: ", out, re.MULTILINE)
    assert "(console-mail: accepted)" in out
    assert "(insecure-cookies: stops the start)" in out
    assert "long-idle-ttl is accepted and not taken" in out


@pytest.mark.parametrize(
    ("chosen", "lines"),
    [
        (
            {"ISSUER": "https://auth.example.com"},
            {
                "KEYTURN_REQUIRE_VERIFIED_EMAIL is on: .*, derived from KEYTURN_ISSUER",
                "KEYTURN_PASSWORD_GRANT is off: .*, derived from KEYTURN_ISSUER",
                "KEYTURN_DOCS is on: .*",
            },
        ),
        (
            {"DOCS": "off", "PASSWORD_GRANT": "on"},
            {
                "KEYTURN_REQUIRE_VERIFIED_EMAIL is off: .*, derived from KEYTURN_ISSUER",
                "KEYTURN_PASSWORD_GRANT is on: .* passwords",
                "KEYTURN_DOCS is off: .*",
            },
        ),
    ],
)
def test_doctor_lists_what_was_derived_and_what_was_chosen(
    chosen: dict[str, str], lines: set[str], keyturn: Run, environment: pytest.MonkeyPatch
) -> None:
    for name, value in chosen.items():
        environment.setenv(f"KEYTURN_{name}", value)
    examined = keyturn("doctor")
    assert examined.code == (1 if "ISSUER" in chosen else 0)
    for line in lines:
        assert re.search(rf"^ok +choices +{line}$", examined.out, re.MULTILINE), line


def test_openapi_prints_the_interface_and_leaves_nothing_behind(
    keyturn: Run, tmp_path: Path
) -> None:
    printed = keyturn("openapi")
    assert "/v1/auth/refresh" in json.loads(printed.out)["paths"]
    assert list(tmp_path.iterdir()) == []


def test_version_is_that_of_the_project(keyturn: Run) -> None:
    assert re.fullmatch(r"keyturn \S.*\n", keyturn("version").out)


def test_help_names_every_command(keyturn: Run) -> None:
    shown = keyturn("--help").out
    for command in (
        *("serve", "migrate", "create-admin", "users", "sessions", "purge"),
        *("config", "doctor", "openapi", "version"),
    ):
        assert re.search(rf"\b{command}\b", shown)


def test_it_is_a_module_that_can_be_run(environment: pytest.MonkeyPatch, tmp_path: Path) -> None:
    environment.setenv("PYTHONPATH", str(SOURCE))
    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", "keyturn", "migrate", "--to", "nonsense"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert re.fullmatch(r"keyturn: the database: .*nonsense.*\n", done.stderr)


def test_help_loads_neither_web_framework_nor_database(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("PYTHONPATH", str(SOURCE))
    program = (
        "import sys, keyturn.main\n"
        "heavy = {'fastapi', 'starlette', 'sqlalchemy', 'alembic', 'uvicorn', 'asyncpg', 'jwt'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    loaded = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert loaded.stdout == "[]\n"


def test_doctor_says_hello_to_the_mail_server(
    keyturn: Run, environment: pytest.MonkeyPatch, mail_sink: Sink
) -> None:
    examined = keyturn("doctor").out
    assert re.search(r"^ok +mail +127\.0\.0\.1:\d+ answers", examined, re.MULTILINE)
    assert re.search(r"^ok +templates +every mail can be written$", examined, re.MULTILINE)
    assert mail_sink.mails == []
    environment.setenv("KEYTURN_SMTP_PORT", "9")
    refused = keyturn("doctor")
    assert refused.code == 1
    assert re.search(r"^problem +mail +127\.0\.0\.1:9: The mail", refused.out, re.MULTILINE)


def test_doctor_finds_a_template_that_can_not_be_filled_in(
    keyturn: Run, environment: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "reset_password.txt").write_text("Subject: x\n\n{{ nonsense }}\n")
    environment.setenv("KEYTURN_MAIL_TEMPLATES", "mine")
    examined = keyturn("doctor")
    assert examined.code == 1
    assert re.search(r"^problem +templates .*reset_password\.txt", examined.out, re.MULTILINE)


def test_doctor_warns_of_mails_that_only_the_terminal_gets(
    keyturn: Run, environment: pytest.MonkeyPatch
) -> None:
    environment.setenv("KEYTURN_ISSUER", "https://auth.example.com")
    doubts = keyturn("doctor").out
    assert "KEYTURN_MAIL: console" in doubts
    assert "KEYTURN_TRUSTED_PROXIES is empty" in doubts
    environment.setenv("KEYTURN_THROTTLE", "off")
    assert "KEYTURN_THROTTLE is off" in keyturn("doctor").out


def test_doctor_looks_at_redis_where_there_is_one(
    keyturn: Run, environment: pytest.MonkeyPatch, redis_url: str
) -> None:
    environment.setenv("KEYTURN_REDIS_URL", redis_url)
    assert re.search(r"^ok +redis +it answers$", keyturn("doctor").out, re.MULTILINE)


def test_doctor_finds_a_redis_that_does_not_answer(
    keyturn: Run, environment: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    environment.setenv("KEYTURN_REDIS_URL", f"unix://{tmp_path}/none.sock")
    examined = keyturn("doctor")
    assert examined.code == 1
    assert re.search(r"^problem +redis +it does not answer", examined.out, re.MULTILINE)
