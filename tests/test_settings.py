"""What a deployment may choose, and how it is told that it chose wrongly."""

from datetime import timedelta
from pathlib import Path

import pytest
from pydantic import SecretStr, ValidationError

from keyturn.domain.login_policy import LoginPolicy
from keyturn.domain.one_time_token import OneTimeTokenPolicy
from keyturn.domain.policies import ClaimsPolicy, PasswordPolicy, SessionPolicy
from keyturn.settings import (
    Settings,
    SettingsError,
    describe_settings,
    load_settings,
    masked_url,
)


@pytest.fixture(autouse=True)
def empty_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A working directory without a `.env`."""
    monkeypatch.chdir(tmp_path)


def refusal() -> str:
    with pytest.raises(SettingsError) as caught:
        load_settings()
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_nothing_has_to_be_set(tmp_path: Path) -> None:
    settings = load_settings()
    assert settings.used_database_url == f"sqlite:///{tmp_path}/data/keyturn.db"
    assert settings.used_keys_dir == tmp_path / "data" / "keys"
    assert settings.token_claims is ClaimsPolicy.ROLES_AND_PERMISSIONS


def test_the_defaults_are_those_of_the_domain() -> None:
    assert load_settings().session_policy() == SessionPolicy()
    assert load_settings().password_policy() == PasswordPolicy()


def test_defaults_of_mails_and_logins_are_those_of_the_domain_too() -> None:
    assert load_settings().login_policy() == LoginPolicy()
    assert load_settings().one_time_token_policy() == OneTimeTokenPolicy()


def test_a_link_leads_to_the_services_own_page_unless_another_is_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("KEYTURN_ISSUER", "https://example.com/auth")
    monkeypatch.setenv("KEYTURN_RESET_PASSWORD_URL", "https://app.example.com/#reset/{token}")
    settings = load_settings()
    own = "https://example.com/auth/account/verify-email#token={token}"
    assert settings.used_verify_email_url == own
    assert settings.used_reset_password_url == "https://app.example.com/#reset/{token}"


@pytest.mark.parametrize(
    ("chosen", "problem"),
    [
        ({"SMTP_HOST": "mx.example.com"}, "KEYTURN_MAIL_FROM: is needed"),
        (
            {
                "SMTP_HOST": "mx.example.com",
                "MAIL_FROM": "a@example.com",
                "SMTP_TLS": "none",
                "SMTP_USERNAME": "ada",
                "SMTP_PASSWORD": "hunter2",
            },
            "KEYTURN_SMTP_TLS: must not be none: the password would be sent in the clear",
        ),
    ],
)
def test_mails_that_can_not_be_sent_stop_the_start(
    monkeypatch: pytest.MonkeyPatch, chosen: dict[str, str], problem: str
) -> None:
    for name, value in {"MAIL": "smtp", **chosen}.items():
        monkeypatch.setenv(f"KEYTURN_{name}", value)
    message = refusal()
    assert message.startswith(problem)
    assert "hunter2" not in message


@pytest.mark.parametrize("password", ["hunter2", "smtp://u:x@h/?hunter2"])
def test_the_password_for_mails_is_masked_whatever_it_looks_like(
    monkeypatch: pytest.MonkeyPatch, password: str
) -> None:
    monkeypatch.setenv("KEYTURN_SMTP_USERNAME", "ada")
    monkeypatch.setenv("KEYTURN_SMTP_PASSWORD", password)
    shown = {line.name: line.value for line in describe_settings(load_settings())}
    assert shown["KEYTURN_SMTP_PASSWORD"] == "***"


def test_the_environment_wins_over_the_env_file(monkeypatch: pytest.MonkeyPatch) -> None:
    Path(".env").write_text("KEYTURN_ISSUER=https://a.example\nKEYTURN_AUDIENCE=b\n")
    monkeypatch.setenv("KEYTURN_ISSUER", "https://c.example")
    settings = load_settings()
    assert (settings.issuer, settings.audience) == ("https://c.example", "b")


def test_settings_can_not_be_changed() -> None:
    with pytest.raises(ValidationError):
        load_settings().audience = "other"


@pytest.mark.parametrize(
    ("text", "duration"),
    [
        ("900", timedelta(seconds=900)),
        ("15m", timedelta(minutes=15)),
        ("1H30M", timedelta(minutes=90)),
        ("5d", timedelta(days=5)),
        ("PT15M", timedelta(minutes=15)),
        ("P1DT1S", timedelta(days=1, seconds=1)),
    ],
)
def test_a_duration_is_written_in_seconds_or_with_units(
    text: str, duration: timedelta, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KEYTURN_ACCESS_TTL", text)
    assert load_settings().access_ttl == duration


@pytest.mark.parametrize(
    "text",
    ["", "m", "P", "PT", "P1DT", "soon", "1.5m", "-5m", "15 minutes", "PT0.5S", "9" * 13, "٣"],
)
def test_any_other_duration_is_refused(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KEYTURN_ACCESS_TTL", text)
    assert refusal().startswith("KEYTURN_ACCESS_TTL: must be a duration")


def test_a_list_stands_between_commas(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KEYTURN_TRUSTED_PROXIES", "10.0.0.7, 10.1.0.0/16,")
    assert load_settings().trusted_proxies == ("10.0.0.7", "10.1.0.0/16")


def test_an_empty_text_is_an_empty_list(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KEYTURN_CORS_ORIGINS", "")
    assert load_settings().cors_origins == ()


@pytest.mark.parametrize(
    ("name", "value", "problem"),
    [
        ("ISSUER", "", "must be a lower-case URL"),
        ("ISSUER", "auth.example.com", "must be a lower-case URL"),
        ("ISSUER", "https://auth.example.com/?a=b", "must be a lower-case URL"),
        ("ISSUER", "https://auth.example.com\n", "must be a lower-case URL"),
        ("ISSUER", "http://auth.example.com", "must be https"),
        ("ISSUER", "http://127.0.0.1.example.com", "must be https"),
        ("CORS_ORIGINS", "*", "must be lower-case origins"),
        ("CORS_ORIGINS", "https://app.example.com/", "must be lower-case origins"),
        ("CORS_ORIGINS", "https://*.example.com", "must be lower-case origins"),
        ("TRUSTED_PROXIES", "*", "must be addresses or networks"),
        ("TRUSTED_PROXIES", "10.0.0.1/8", "must be addresses or networks"),
        ("REFRESH_GRACE", "61", "less than or equal to"),
        ("ACCESS_TTL", "0", "greater than or equal to"),
        ("ACCESS_TTL", "5000d", "less than or equal to"),
        ("ACCESS_TTL", "8d", "KEYTURN_REFRESH_IDLE_TTL: the idle lifetime must exceed"),
        ("REFRESH_IDLE_TTL", "31d", "the absolute lifetime must not be shorter"),
        ("MAX_SESSIONS_PER_USER", "0", "greater than or equal to 1"),
        ("PASSWORD_MIN_LENGTH", "7", "greater than or equal to 8"),
        ("ALGORITHM", "none", "Input should be 'HS256'"),
        ("TOKEN_CLAIMS", "email", "Input should be 'roles'"),
        ("AUDIENCE", "", "at least 1 character"),
        ("AUDIENCE", "http://127.0.0.1:8000", "must differ from KEYTURN_ISSUER"),
        ("AUDIENCE", "HTTP://127.0.0.1:8000/", "must differ from KEYTURN_ISSUER"),
        ("RECENT_LOGIN", "0", "greater than or equal to"),
        ("RECENT_LOGIN", "2h", "less than or equal to"),
        ("RESOURCES_FILE", "", "must name a file"),
        ("DATABASE_URL", "", "must not be empty"),
        ("REDIS_URL", "", "must not be empty"),
        ("REDIS_URL", "http://redis", "must be a URL such as redis://"),
        ("REVOCATION_LAG", "0", "greater than or equal to"),
        ("REVOCATION_LAG", "10", "STALENESS: must exceed KEYTURN_REVOCATION_LAG"),
        ("REVOCATION_MAX_STALENESS", "1", "must exceed KEYTURN_REVOCATION_LAG"),
        ("PERMISSIONS_REMEMBERED", "1h", "less than or equal to"),
        ("AUDIT_KEPT", "0", "greater than or equal to"),
        ("LOG_FORMAT", "xml", "Input should be 'json' or 'console'"),
        ("LOG_LEVEL", "verbose", "Input should be 'debug'"),
        ("DATA_DIR", "", "must name a folder"),
        ("DATA_DIR", "data?", "must name a folder"),
        ("KEYS_DIR", " ", "must name a folder"),
        ("SECURE_COOKIES", "maybe", "valid boolean"),
        ("MAIL", "smtp", "KEYTURN_SMTP_HOST: is needed for KEYTURN_MAIL=smtp"),
        ("MAIL", "pigeon", "Input should be 'console' or 'smtp'"),
        ("MAIL_TEMPLATES", "", "must name a folder"),
        ("SMTP_PASSWORD", "hunter2", "and KEYTURN_SMTP_USERNAME need each other"),
        ("SMTP_USERNAME", "ada", "and KEYTURN_SMTP_USERNAME need each other"),
        ("SMTP_PORT", "0", "greater than or equal to 1"),
        ("SMTP_TLS", "maybe", "Input should be 'tls'"),
        ("SMTP_TIMEOUT", "2m", "less than or equal to"),
        ("SERVICE_NAME", "", "at least 1 character"),
        ("VERIFY_EMAIL_URL", "https://app.example.com/verify", "with {token} once"),
        ("VERIFY_EMAIL_URL", "app.example.com/#{token}", "with {token} once"),
        ("RESET_PASSWORD_URL", "javascript:alert('{token}')", "with {token} once"),
        ("RESET_PASSWORD_URL", "https://{token}.example.com/", "with {token} once"),
        ("RESET_PASSWORD_URL", "https://a.example/{token}#{token}", "with {token} once"),
        ("EMAIL_VERIFICATION_TTL", "8d", "less than or equal to"),
        ("PASSWORD_RESET_TTL", "1m", "greater than or equal to"),
        ("DELETION_GRACE", "-1", "must be a duration"),
        ("THROTTLE", "maybe", "Input should be 'on' or 'off'"),
        ("ACCEPT_RISKS", "console-mail,all", "must be some of: console-mail, "),
        ("DOCS", "maybe", "valid boolean"),
        ("PASSWORD_GRANT", "", "valid boolean"),
        ("BREACH_URL", "http://breaches.example/range/", "must be an https URL"),
    ],
)
def test_a_weak_or_contradictory_setting_is_refused_in_one_line_that_names_it(
    name: str, value: str, problem: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(f"KEYTURN_{name}", value)
    message = refusal()
    assert problem in message
    assert message.startswith("KEYTURN_")


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://u:hun/ter2@h/n",
        "postgresql://u:hun?ter2@h/n",
        "postgresql://u:hun#ter2@h/n",
        "postgresql://u:hun@ter2@h/n",
        "postgresql://u:hun[ter2@h/n",
        "postgresql://u:p@h:port/n",
        "postgresql:/u:p@h/n",
    ],
)
def test_a_database_url_that_would_be_misread_is_refused(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KEYTURN_DATABASE_URL", url)
    message = refusal()
    assert "must be postgresql://user:password@host:5432/name" in message
    assert "ter2" not in message


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://u:hun%2Fter2@db.example.com:5432/n?sslmode=require",
        "postgres://u:a:b@h/n",
        "postgresql://u@[::1]:5432/n",
        "postgresql://h1:5432,h2:5433/n?target_session_attrs=read-write",
        "postgresql:///n?host=/run/postgresql",
        "postgresql://postgres:@/postgres?host=/tmp/x",
        "postgresql+asyncpg://u:p@%2Frun%2Fpostgresql/n",
        "sqlite:////var/lib/keyturn.db",
    ],
)
def test_any_database_url_of_the_two_kinds_is_accepted(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KEYTURN_DATABASE_URL", url)
    assert load_settings().used_database_url == url


def test_insecure_cookies_contradict_an_https_issuer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KEYTURN_ISSUER", "https://auth.example.com")
    monkeypatch.setenv("KEYTURN_SECURE_COOKIES", "false")
    assert refusal() == "KEYTURN_SECURE_COOKIES: contradicts the https KEYTURN_ISSUER"


def test_an_http_issuer_is_allowed_where_plain_http_is_meant(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("KEYTURN_ISSUER", "http://auth.test:8000")
    monkeypatch.setenv("KEYTURN_SECURE_COOKIES", "false")
    assert load_settings().issuer == "http://auth.test:8000"


def test_all_that_is_wrong_is_said_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KEYTURN_ACCESS_TTL", "soon")
    monkeypatch.setenv("KEYTURN_ISSUER", "here")
    message = refusal()
    assert "KEYTURN_ACCESS_TTL" in message
    assert "KEYTURN_ISSUER" in message


def test_a_misspelt_name_is_refused_with_the_one_that_may_be_meant(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("KEYTURN_ISUER", "https://auth.example.com")
    assert refusal() == "KEYTURN_ISUER: there is no such setting; is KEYTURN_ISSUER meant?"


def test_a_misspelt_name_in_the_env_file_is_refused() -> None:
    Path(".env").write_text("keyturn_acess_ttl=15m\n")
    assert refusal() == "KEYTURN_ACESS_TTL: there is no such setting; is KEYTURN_ACCESS_TTL meant?"


def test_what_the_tests_read_is_no_misspelt_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KEYTURN_TEST_POSTGRES_URL", "postgresql://localhost/x")
    monkeypatch.setenv("KEYTURN_WYCHEPROOF_DIR", "/x")
    load_settings()


def test_what_kubernetes_sets_for_a_service_of_this_name_is_no_misspelt_setting(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("KEYTURN_SERVICE_HOST", "10.0.0.1")
    monkeypatch.setenv("KEYTURN_SERVICE_PORT", "80")
    monkeypatch.setenv("KEYTURN_SERVICE_PORT_HTTP", "80")
    monkeypatch.setenv("KEYTURN_PORT", "tcp://10.0.0.1:80")
    monkeypatch.setenv("KEYTURN_PORT_80_TCP_ADDR", "10.0.0.1")
    load_settings()


def test_other_variables_of_the_env_file_are_nobodys_business() -> None:
    Path(".env").write_text("# of another program\nexport OTHER='x'\n")
    load_settings()


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"KEYTURN_AUDIENCE=a\nKEYTURN_ISSUER 'b\n", "line 2 is not NAME=value"),
        (b"KEYTURN_AUDIENCE=\xff\n", "can't be read"),
        (b"KEYTURN_AUDIENCE\n", "KEYTURN_AUDIENCE: has no value"),
    ],
)
def test_an_env_file_that_can_not_be_read_is_refused(content: bytes, problem: str) -> None:
    Path(".env").write_bytes(content)
    assert problem in refusal()


def test_no_refusal_repeats_a_value(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in Settings.model_fields:
        monkeypatch.setenv(f"KEYTURN_{name.upper()}", "hunter2://hunter2")
    assert "hunter2" not in refusal()


def test_the_password_of_the_database_is_shown_nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KEYTURN_DATABASE_URL", "postgresql://u:hunter2@db/name")
    settings = load_settings()
    lines = describe_settings(settings)
    assert "hunter2" not in repr(settings) + str(settings) + str(lines)
    assert "postgresql://u:***@db/name" in [line.value for line in lines]


def test_the_password_of_redis_is_shown_nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KEYTURN_REDIS_URL", "redis://:hunter2@cache:6379/0")
    settings = load_settings()
    lines = describe_settings(settings)
    assert "hunter2" not in repr(settings) + str(settings) + str(lines)
    assert "redis://:***@cache:6379/0" in [line.value for line in lines]


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://u:p@h:5432/n", "postgresql://u:***@h:5432/n"),
        ("postgresql://u:p@ss/w?o#rd@h/n", "postgresql://u:***@h/n"),
        ("postgresql://u@h/n?password=p&ssl=1", "postgresql://u@h/n?password=***&ssl=***"),
        ("postgresql://:p@h/n", "postgresql://:***@h/n"),
        ("sqlite:////var/lib/keyturn.db", "sqlite:////var/lib/keyturn.db"),
        ("postgres u:p@h", "***"),
        ("hunter2", "***"),
    ],
)
def test_a_database_url_is_shown_without_its_secrets(url: str, shown: str) -> None:
    assert masked_url(url) == shown


def test_each_setting_says_where_it_comes_from(monkeypatch: pytest.MonkeyPatch) -> None:
    Path(".env").write_text("KEYTURN_AUDIENCE=api\nKEYTURN_ACCESS_TTL=60\n")
    monkeypatch.setenv("keyturn_access_ttl", "300")
    lines = {line.name: line for line in describe_settings(load_settings())}
    assert (lines["KEYTURN_ACCESS_TTL"].value, lines["KEYTURN_ACCESS_TTL"].source) == (
        "5m",
        "environment",
    )
    assert lines["KEYTURN_AUDIENCE"].source == ".env"
    assert lines["KEYTURN_REFRESH_IDLE_TTL"].source == "default"
    assert lines["KEYTURN_REFRESH_IDLE_TTL"].value == "7d"


def test_what_is_shown_can_be_set_again(monkeypatch: pytest.MonkeyPatch) -> None:
    before = load_settings()
    for line in describe_settings(before):
        if line.value and line.source != "derived":
            monkeypatch.setenv(line.name, line.value)
    assert load_settings() == before


@pytest.mark.parametrize(
    ("issuer", "verified", "grant"),
    [("http://127.0.0.1:8000", "false", "true"), ("https://auth.example.com", "true", "false")],
)
def test_a_derived_value_is_shown_as_such(
    issuer: str, verified: str, grant: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KEYTURN_ISSUER", issuer)
    lines = {line.name: line for line in describe_settings(load_settings())}
    for name, value in (
        ("REQUIRE_VERIFIED_EMAIL", verified),
        ("PASSWORD_GRANT", grant),
        ("VERIFY_EMAIL_URL", f"{issuer}/account/verify-email#token={{token}}"),
        ("RESET_PASSWORD_URL", f"{issuer}/account/reset-password#token={{token}}"),
    ):
        line = lines[f"KEYTURN_{name}"]
        assert (line.value, line.source) == (value, "derived")
    monkeypatch.setenv("KEYTURN_PASSWORD_GRANT", "true")
    line = {line.name: line for line in describe_settings(load_settings())}[
        "KEYTURN_PASSWORD_GRANT"
    ]
    assert (line.value, line.source) == ("true", "environment")


def test_a_variable_in_the_env_file_may_refer_to_another(monkeypatch: pytest.MonkeyPatch) -> None:
    Path(".env").write_text("NAME=auth\nKEYTURN_ISSUER=https://${NAME}.${DOMAIN}\n")
    monkeypatch.setenv("DOMAIN", "example.com")
    assert load_settings().issuer == "https://auth.example.com"


def test_every_setting_is_described() -> None:
    assert all(line.description for line in describe_settings(load_settings()))


def test_settings_given_in_code_need_no_environment() -> None:
    settings = Settings(database_url=SecretStr("sqlite:///x.db"), audience="a")
    assert settings.used_database_url == "sqlite:///x.db"
