"""What a deployment may choose: one frozen model, read from the environment and from `.env`."""

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from difflib import get_close_matches
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from keyturn.domain.login_policy import LoginPolicy
from keyturn.domain.one_time_token import OneTimeTokenPolicy
from keyturn.domain.policies import (
    MAX_GRACE,
    SHORTEST_PASSWORD,
    ClaimsPolicy,
    PasswordPolicy,
    SessionPolicy,
)
from keyturn.domain.resource import MAX_RESOURCE_LENGTH, same_resource
from keyturn.env_file import EnvFile, EnvFileError, read_env_file
from keyturn.ports.throttling import ThrottledAction
from keyturn.setting_types import (
    CommaSeparated,
    Duration,
    EncryptedUrl,
    Link,
    Risk,
    is_loopback,
)

PREFIX = "KEYTURN_"
ENV_FILE = ".env"
DEVELOPMENT_ISSUER = "http://127.0.0.1:8000"
"""Who issues the tokens of a service that nobody has configured."""

LONGEST_ACCESS_TTL = timedelta(hours=1)
LONGEST_IDLE_TTL = timedelta(days=30)
LONGEST_ABSOLUTE_TTL = timedelta(days=180)

_SHORTEST_IPV4_PREFIX = 8
_SHORTEST_IPV6_PREFIX = 16
_MAPPED_IPV4 = IPv6Network("::ffff:0:0/96")

_DERIVED = {
    "require_verified_email": "resolved_require_verified_email",
    "password_grant": "resolved_password_grant",
    "verify_email_url": "used_verify_email_url",
    "reset_password_url": "used_reset_password_url",
}
"""The settings that are derived where nothing sets them, and what says how."""

# Any other unknown name is taken for a misspelt setting.
_FOREIGN_NAMES = re.compile(
    r"KEYTURN_(TEST_.*|WYCHEPROOF_DIR"  # read by the tests
    r"|SERVICE_HOST|SERVICE_PORT.*|PORT|PORT_[0-9]+_.*)"  # set by Kubernetes for a service's name
)

_ORIGIN = re.compile(r"https?://([a-z0-9.-]+|\[[0-9a-f:.]+\])(:[0-9]{1,5})?")
_ISSUER = re.compile(_ORIGIN.pattern + r"(/[a-zA-Z0-9._~%/-]*)?")

_REDIS_URL = re.compile(r"(redis|rediss|unix)://.")
_HOST = r"([^:@/?#\[\],]*|\[[0-9a-fA-F:.]+\])(:[0-9]{1,5})?"
_POSTGRESQL_URL = re.compile(
    r"postgres(ql)?(\+asyncpg)?://"
    r"([^:@/?#\[\]]*(:[^@/?#\[\]]*)?@)?" + rf"{_HOST}(,{_HOST})*" + r"(/[^@?#]*)?(\?[^#]*)?",
    re.IGNORECASE,
)


class SettingsError(Exception):
    """A setting stops the start; the message is one line that names it and holds no secret."""


class Settings(BaseSettings):
    """Every setting, with its default and its bounds.

    Each is the environment variable `KEYTURN_<NAME>`, or a line of the file `.env` in the working
    directory; the environment wins. `load_settings` reads them and speaks plainly when it can't.
    """

    # `_EnvFileSource` reads the file: the base class would not look at who may write it.
    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        extra="ignore",
        frozen=True,
        hide_input_in_errors=True,
        validate_default=True,
    )

    data_dir: Path = Field(
        default=Path("data"),
        description="where the embedded database and the generated keys live",
    )
    database_url: SecretStr | None = Field(
        default=None,
        description="postgresql://user:password@host/name or sqlite:///file; "
        "unset, an embedded SQLite file in the data folder",
    )
    database_pool_size: int = Field(
        default=20,
        ge=1,
        le=1000,
        description="connections to PostgreSQL at most, per worker; opened when needed",
    )
    keys_dir: Path | None = Field(
        default=None,
        description="the folder of the signing keys; unset, keys/ in the data folder",
    )
    clients_file: Path | None = Field(
        default=None,
        description="the OAuth clients that authenticate; unset, clients.toml in the data folder",
    )
    resources_file: Path | None = Field(
        default=None,
        description="the resources that get access tokens of their own; unset, resources.toml in "
        "the data folder",
    )
    algorithm: Literal["HS256", "RS256", "ES256", "EdDSA"] = Field(
        default="EdDSA", description="what kind of signing key is generated at the first start"
    )
    issuer: str = Field(
        default=DEVELOPMENT_ISSUER,
        description="the URL under which clients reach the service; the iss of its tokens",
    )
    audience: str = Field(
        default="keyturn",
        min_length=1,
        max_length=MAX_RESOURCE_LENGTH,
        description="the default audience: the aud of access tokens for which the client names no "
        "resource; must differ from the issuer",
    )
    access_ttl: Duration = Field(
        default=timedelta(minutes=15),
        ge=timedelta(seconds=1),
        description="how long an access token lives; revocations are kept for the longest ever set",
    )
    recent_login: Duration = Field(
        default=timedelta(minutes=5),
        ge=timedelta(seconds=30),
        le=timedelta(hours=1),
        description="how long after a proof of identity a person may delete or export the account",
    )
    refresh_idle_ttl: Duration = Field(
        default=timedelta(days=7),
        description="a session that is not refreshed for this long ends",
    )
    refresh_absolute_ttl: Duration = Field(
        default=timedelta(days=30),
        description="a session ends this long after its login, however often it is refreshed",
    )
    refresh_grace: Duration = Field(
        default=timedelta(seconds=10),
        ge=timedelta(0),
        le=MAX_GRACE,
        description="how long a lost refresh may be repeated; 0 is strict",
    )
    max_sessions_per_user: int = Field(
        default=5,
        ge=1,
        le=1000,
        description="a login beyond it ends the least recently used session",
    )
    token_claims: ClaimsPolicy = Field(
        default=ClaimsPolicy.ROLES_AND_PERMISSIONS,
        description="what an access token tells: roles, roles+permissions or none",
    )
    password_min_length: int = Field(
        default=15, ge=SHORTEST_PASSWORD, le=256, description="characters of a new password"
    )
    service_name: str = Field(
        default="keyturn",
        min_length=1,
        max_length=40,
        description="what people know the service by: mails say it, and no password may be made "
        "of it",
    )
    mail: Literal["console", "smtp"] = Field(
        default="console",
        description="how mails are sent: smtp, or console, which prints them with their links, "
        "for development",
    )
    mail_from: str | None = Field(
        default=None,
        description="whom mails are from: an address, or Name <name@example.com>; needed for smtp",
    )
    mail_templates: Path | None = Field(
        default=None, description="a folder of templates that replace those of the same name"
    )
    smtp_host: str | None = Field(
        default=None, min_length=1, description="the mail server; needed for smtp"
    )
    smtp_port: int | None = Field(
        default=None, ge=1, le=65535, description="unset, 587, 465 with tls or 25 with none"
    )
    smtp_tls: Literal["tls", "starttls", "none"] = Field(
        default="starttls", description="how the connection to the mail server is encrypted"
    )
    smtp_username: str | None = Field(
        default=None, min_length=1, description="for a mail server that asks for one"
    )
    smtp_password: SecretStr | None = Field(default=None, description="what belongs to it")
    smtp_timeout: Duration = Field(
        default=timedelta(seconds=20),
        ge=timedelta(seconds=1),
        le=timedelta(minutes=1),
        description="how long the mail server may take for one mail",
    )
    verify_email_url: Link | None = Field(
        default=None,
        description="the page that confirms an address, with {token} where the token goes; "
        "unset, one that the service has itself",
    )
    reset_password_url: Link | None = Field(
        default=None,
        description="the page where a new password is set, with {token} where the token goes; "
        "unset, one that the service has itself",
    )
    require_verified_email: bool | None = Field(
        default=None,
        description="whether a login needs a verified address; unset, yes, unless issuer and bind "
        "address are loopback",
    )
    email_verification_ttl: Duration = Field(
        default=timedelta(hours=24),
        ge=timedelta(minutes=5),
        le=timedelta(days=7),
        description="how long a link that confirms an address is good",
    )
    password_reset_ttl: Duration = Field(
        default=timedelta(minutes=30),
        ge=timedelta(minutes=5),
        le=timedelta(hours=24),
        description="how long a link that resets a password is good",
    )
    throttle: Literal["on", "off"] = Field(
        default="on",
        description="whether attempts are limited by where they come from and whom they are "
        "about; off for measuring, or where a proxy does it",
    )
    throttle_login: str = Field(
        default="30/minute;300/hour",
        description="logins of one address (with IPv6 of one /64, 4 times as many of its /56 and "
        "16 times of its /48); empty for any number",
    )
    throttle_register: str = Field(
        default="10/minute;60/hour", description="registrations of one address"
    )
    throttle_reset: str = Field(
        default="10/minute;60/hour", description="password resets of one address"
    )
    throttle_verify: str = Field(
        default="10/minute;60/hour", description="verifications of one address"
    )
    throttle_refresh: str = Field(default="600/minute", description="refreshes of one address")
    throttle_strength: str = Field(
        default="60/minute", description="estimates of passwords of one address"
    )
    throttle_change: str = Field(
        default="20/minute;100/hour",
        description="changes that one user makes to their own account and sessions, from wherever",
    )
    breach_url: EncryptedUrl | None = Field(
        default=None,
        description="a service that knows breached passwords by ranges of their SHA-1, such as "
        "https://api.pwnedpasswords.com/range/; unset, nobody is asked",
    )
    imported_hashes: bool = Field(
        default=False,
        description="whether bcrypt and PBKDF2 hashes of another system are verified, until a "
        "login replaces them",
    )
    deletion_grace: Duration = Field(
        default=timedelta(days=14),
        ge=timedelta(days=1),
        description="how long a user who asked to be deleted can take it back",
    )
    password_grant: bool | None = Field(
        default=None,
        description="whether /oauth/token takes grant_type=password; unset, no, unless issuer and "
        "bind address are loopback",
    )
    docs: bool = Field(default=True, description="whether /docs and /openapi.json are served")
    bind_host: str | None = Field(
        default=None,
        min_length=1,
        description="the address that the server listens on, set by keyturn serve; unset, the "
        "issuer alone says whether this is development",
    )
    accept_risks: CommaSeparated = Field(
        default=(),
        description="choices for development that may run in production: "
        + ", ".join(risk.value for risk in Risk),
    )
    dpop: Literal["off", "on", "nonce"] = Field(
        default="off",
        description="whether tokens can be bound to a client's key: off, on, or nonce, "
        "which asks each proof for one",
    )
    argon2_time_cost: int = Field(default=3, ge=1, le=100, description="passes over the memory")
    argon2_memory_kib: int = Field(
        default=65536, ge=1024, le=4194304, description="memory of one password hash"
    )
    argon2_parallelism: int = Field(
        default=4, ge=1, le=64, description="lanes of one password hash"
    )
    hashing_threads: int | None = Field(
        default=None,
        ge=1,
        le=256,
        description="passwords hashed at once; unset, one for each core but one",
    )
    hashing_queue: int = Field(
        default=64,
        ge=0,
        le=10000,
        description="passwords that may wait before the busiest source gets a 503",
    )
    cors_origins: CommaSeparated = Field(
        default=(), description="browser origins that may call from another site"
    )
    trusted_proxies: CommaSeparated = Field(
        default=(), description="addresses or networks whose X-Forwarded-* headers are believed"
    )
    secure_cookies: bool = Field(
        default=True,
        description="whether cookies need https; false for plain-HTTP development only",
    )
    max_body_bytes: int = Field(
        default=65536, ge=16384, le=16777216, description="the largest request body"
    )
    max_header_bytes: int = Field(
        default=32768,
        ge=8192,
        le=1048576,
        description="the largest request line and headers of one request; beyond it the answer "
        "is 414 or 431",
    )
    header_timeout: Duration = Field(
        default=timedelta(seconds=10),
        ge=timedelta(seconds=1),
        le=timedelta(minutes=5),
        description="how long a client may take to send the headers of a request",
    )
    body_timeout: Duration = Field(
        default=timedelta(seconds=30),
        ge=timedelta(seconds=1),
        le=timedelta(minutes=30),
        description="how long a client may take to send the body of a request",
    )
    keep_alive_timeout: Duration = Field(
        default=timedelta(seconds=5),
        ge=timedelta(seconds=1),
        le=timedelta(minutes=10),
        description="how long a connection may be idle between two requests",
    )
    max_connections: int = Field(
        default=1000,
        ge=1,
        le=100000,
        description="connections that one worker serves at once; the next one is answered 503",
    )
    revocation_lag: Duration = Field(
        default=timedelta(seconds=1),
        ge=timedelta(seconds=1),
        le=timedelta(minutes=1),
        description="how long a token that was revoked on one worker may live on another",
    )
    revocation_max_staleness: Duration = Field(
        default=timedelta(seconds=10),
        le=timedelta(minutes=15),
        description="a worker that has not heard of revocations for this long trusts no token",
    )
    permissions_remembered: Duration = Field(
        default=timedelta(seconds=5),
        ge=timedelta(0),
        le=timedelta(minutes=5),
        description="how long permissions that no token tells are used before they are read again",
    )
    redis_url: SecretStr | None = Field(
        default=None,
        description="redis://:password@host:port/0 to follow revocations there, the same for "
        "every process and the command line; unset, in the database",
    )
    sessions_kept: Duration = Field(
        default=timedelta(days=30),
        ge=timedelta(0),
        description="how long a session is kept after its absolute end, for its user to see",
    )
    audit_kept: Duration = Field(
        default=timedelta(days=365),
        ge=timedelta(days=1),
        description="how long audit events are kept",
    )
    purge: bool = Field(
        default=True, description="whether one of the workers purges what is over, every hour"
    )
    log_format: Literal["json", "console"] | None = Field(
        default=None, description="json or console; unset, console on a terminal and json elsewhere"
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="debug, info, warning or error"
    )
    metrics_port: int | None = Field(
        default=None,
        ge=0,
        le=65535,
        description="the port where keyturn serve answers Prometheus; unset, none; 0, a free one",
    )
    metrics_host: str = Field(
        default="127.0.0.1",
        min_length=1,
        description="the address of that port; let nobody but Prometheus reach it",
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - reads a file unchecked
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - there is no such folder
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Return where values come from; the first source that has one wins."""
        return init_settings, env_settings, _EnvFileSource(settings_cls)

    @field_validator("data_dir", "keys_dir", "mail_templates", mode="before")
    @classmethod
    def _names_a_folder(cls, value: object) -> object:
        # In a database URL, what follows a question mark is no part of the path.
        if isinstance(value, str) and (not value.strip() or "?" in value):
            raise ValueError("must name a folder, with no ? in its name")
        return value

    @field_validator("clients_file", "resources_file", mode="before")
    @classmethod
    def _names_a_file(cls, value: object) -> object:
        if isinstance(value, str) and not value.strip():
            raise ValueError("must name a file")
        return value

    @field_validator("database_url")
    @classmethod
    def _is_readable(cls, value: SecretStr | None) -> SecretStr | None:
        if value is None:
            return None
        url = value.get_secret_value()
        # A secret that was not filled in must not quietly mean the embedded database.
        if not url.strip():
            raise ValueError("must not be empty; leave it out for the embedded database")
        # Whoever parses it later would quote, in an error, what may be a part of the password.
        if url.lower().startswith("postgres") and not _POSTGRESQL_URL.fullmatch(url):
            raise ValueError(
                "must be postgresql://user:password@host:5432/name; in a password, "
                "write / ? # @ [ ] as %2F %3F %23 %40 %5B %5D"
            )
        return value

    @field_validator("redis_url")
    @classmethod
    def _is_redis_url(cls, value: SecretStr | None) -> SecretStr | None:
        # A secret that was not filled in must not quietly mean that there is no Redis.
        if value is not None and not value.get_secret_value().strip():
            raise ValueError("must not be empty; leave it out to do without")
        if value is not None and not _REDIS_URL.match(value.get_secret_value()):
            raise ValueError("must be a URL such as redis://:password@host:6379/0 or rediss://host")
        return value

    @field_validator("issuer")
    @classmethod
    def _is_issuer(cls, value: str) -> str:
        if not _ISSUER.fullmatch(value):
            raise ValueError(
                "must be a lower-case URL such as https://auth.example.com, with no ? or #"
            )
        return value

    @field_validator("cors_origins")
    @classmethod
    def _are_origins(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if not all(_ORIGIN.fullmatch(origin) for origin in value):
            raise ValueError(
                "must be lower-case origins such as https://app.example.com, each named in full, "
                "with no path and no *"
            )
        return value

    @field_validator("accept_risks")
    @classmethod
    def _are_risks(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        names = [risk.value for risk in Risk]
        if not set(value) <= set(names):
            raise ValueError(f"must be some of: {', '.join(names)}")
        return value

    @field_validator("trusted_proxies")
    @classmethod
    def _are_addresses(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for address in value:
            try:
                ip_network(address)
            except ValueError:
                raise ValueError(
                    "must be addresses or networks such as 10.0.0.7 or 10.0.0.0/8"
                ) from None
        return value

    @field_validator(
        "access_ttl",
        "recent_login",
        "refresh_idle_ttl",
        "refresh_absolute_ttl",
        "refresh_grace",
        "header_timeout",
        "body_timeout",
        "keep_alive_timeout",
        "revocation_lag",
        "revocation_max_staleness",
        "permissions_remembered",
        "sessions_kept",
        "audit_kept",
        "smtp_timeout",
        "email_verification_ttl",
        "password_reset_ttl",
        "deletion_grace",
    )
    @classmethod
    def _is_whole_seconds(cls, value: timedelta) -> timedelta:
        if value.microseconds:
            raise ValueError("must be whole seconds")
        return value

    @model_validator(mode="after")
    def _agrees_with_itself(self) -> Self:
        try:
            self.session_policy()
        except ValueError as contradiction:
            raise _named("refresh_idle_ttl", str(contradiction)) from None
        if self.revocation_max_staleness <= self.revocation_lag:
            raise _named("revocation_max_staleness", "must exceed KEYTURN_REVOCATION_LAG")
        self._sends_mail()
        if same_resource(self.audience, self.issuer):
            raise _named(
                "audience",
                "must differ from KEYTURN_ISSUER: a service that is shown a token for the issuer "
                "could act on the account",
            )
        issuer = urlsplit(self.issuer)
        if issuer.scheme == "https" and not self.secure_cookies:
            raise _named("secure_cookies", "contradicts the https KEYTURN_ISSUER")
        is_local = is_loopback(issuer.hostname or "")
        if issuer.scheme == "http" and not is_local and self.secure_cookies:
            raise _named(
                "issuer",
                "must be https (RFC 8414 §2); for plain-HTTP development, set "
                "KEYTURN_SECURE_COOKIES=false and accept the risks that are named then",
            )
        return self

    def _sends_mail(self) -> None:
        if (self.smtp_username is None) != (self.smtp_password is None):
            raise _named("smtp_password", "and KEYTURN_SMTP_USERNAME need each other")
        if self.mail != "smtp":
            return
        for field in ("smtp_host", "mail_from"):
            if getattr(self, field) is None:
                raise _named(field, "is needed for KEYTURN_MAIL=smtp")
        if self.smtp_tls == "none" and self.smtp_password is not None:
            raise _named("smtp_tls", "must not be none: the password would be sent in the clear")

    def session_policy(self) -> SessionPolicy:
        """Return how long tokens and sessions live."""
        return SessionPolicy(
            access_ttl=self.access_ttl,
            idle_ttl=self.refresh_idle_ttl,
            absolute_ttl=self.refresh_absolute_ttl,
            grace=self.refresh_grace,
            max_sessions=self.max_sessions_per_user,
        )

    def password_policy(self) -> PasswordPolicy:
        """Return which passwords are accepted."""
        return PasswordPolicy(min_length=self.password_min_length)

    def login_policy(self) -> LoginPolicy:
        """Return who may log in, and how soon after a wrong password."""
        return LoginPolicy(requires_verified_email=self.resolved_require_verified_email)

    def one_time_token_policy(self) -> OneTimeTokenPolicy:
        """Return how long the links in mails are good."""
        return OneTimeTokenPolicy(
            verification_ttl=self.email_verification_ttl, reset_ttl=self.password_reset_ttl
        )

    @property
    def is_local(self) -> bool:
        """Whether issuer and bind address, as far as it is known, are loopback: development."""
        hosts = [urlsplit(self.issuer).hostname or ""]
        if self.bind_host is not None:
            hosts.append(self.bind_host)
        return all(map(is_loopback, hosts))

    @property
    def resolved_require_verified_email(self) -> bool:
        """Whether a login needs a verified address."""
        if self.require_verified_email is None:
            return not self.is_local
        return self.require_verified_email

    @property
    def resolved_password_grant(self) -> bool:
        """Whether `/oauth/token` takes `grant_type=password`."""
        return self.is_local if self.password_grant is None else self.password_grant

    def risks(self) -> dict[Risk, str]:
        """Return the choices that are fit for development only, each with what to do about it.

        Returns:
            For each one a line that names the setting and says what is wrong and what to do;
            nothing where issuer and bind address are loopback.
        """
        if self.is_local:
            return {}
        return {risk: text for risk, is_taken, text in self._choices() if is_taken}

    def require_accepted_risks(self) -> None:
        """Return if each risk that the settings take is accepted by its name.

        Raises:
            SettingsError: one is not; the message has one line for each.
        """
        refused = [
            f"{text}; KEYTURN_ACCEPT_RISKS={risk} accepts it"
            for risk, text in self.risks().items()
            if risk not in self.accept_risks
        ]
        if refused:
            raise SettingsError("\n".join(refused))

    def _choices(self) -> Iterable[tuple[Risk, bool, str]]:
        links = (self.used_verify_email_url, self.used_reset_password_url)
        wide = [proxy for proxy in self.trusted_proxies if _is_wide(proxy)]
        yield (
            Risk.PLAIN_ISSUER,
            urlsplit(self.issuer).scheme == "http",
            "KEYTURN_ISSUER: http sends passwords and tokens in the clear; use https",
        )
        yield (
            Risk.INSECURE_COOKIES,
            not self.secure_cookies,
            "KEYTURN_SECURE_COOKIES: false lets cookies travel in the clear; leave it out",
        )
        yield (
            Risk.CONSOLE_MAIL,
            self.mail == "console",
            "KEYTURN_MAIL: console prints mails with their links; set smtp",
        )
        yield (
            Risk.PLAIN_SMTP,
            self.mail == "smtp"
            and self.smtp_tls == "none"
            and not is_loopback(self.smtp_host or ""),
            "KEYTURN_SMTP_TLS: none sends links in the clear; use starttls or tls",
        )
        yield (
            Risk.PLAIN_LINKS,
            any(urlsplit(link).scheme == "http" for link in links),
            "KEYTURN_VERIFY_EMAIL_URL, KEYTURN_RESET_PASSWORD_URL: links are http; use https",
        )
        yield (
            Risk.WIDE_PROXIES,
            bool(wide),
            f"KEYTURN_TRUSTED_PROXIES: {', '.join(wide)} is too wide; name your proxies",
        )
        for risk, name, ttl, longest in (
            (Risk.LONG_ACCESS_TTL, "ACCESS_TTL", self.access_ttl, LONGEST_ACCESS_TTL),
            (Risk.LONG_IDLE_TTL, "REFRESH_IDLE_TTL", self.refresh_idle_ttl, LONGEST_IDLE_TTL),
            (
                Risk.LONG_ABSOLUTE_TTL,
                "REFRESH_ABSOLUTE_TTL",
                self.refresh_absolute_ttl,
                LONGEST_ABSOLUTE_TTL,
            ),
        ):
            shown = _shown_duration(longest)
            yield (
                risk,
                ttl > longest,
                f"{PREFIX}{name}: {_shown_duration(ttl)} is too long; set at most {shown}",
            )

    def throttle_rates(self) -> dict[ThrottledAction, str]:
        """Return how often one source may try what, in the notation of the library limits."""
        return {
            ThrottledAction.LOGIN: self.throttle_login,
            ThrottledAction.REGISTER: self.throttle_register,
            ThrottledAction.RESET: self.throttle_reset,
            ThrottledAction.VERIFY: self.throttle_verify,
            ThrottledAction.REFRESH: self.throttle_refresh,
            ThrottledAction.STRENGTH: self.throttle_strength,
        }

    def throttle_account_rates(self) -> dict[ThrottledAction, str]:
        """Return how often what may be tried for one account, in the same notation."""
        return {ThrottledAction.CHANGE: self.throttle_change}

    @property
    def used_verify_email_url(self) -> str:
        """The page that confirms an address, with `{token}`: behind a #, no server logs it."""
        return self.verify_email_url or self._page("/account/verify-email")

    @property
    def used_reset_password_url(self) -> str:
        """The page where a new password is set, with `{token}`."""
        return self.reset_password_url or self._page("/account/reset-password")

    def _page(self, path: str) -> str:
        return f"{self.issuer.rstrip('/')}{path}#token={{token}}"

    @property
    def takes_proofs(self) -> bool:
        """Whether tokens can be bound to a client's key."""
        return self.dpop != "off"

    @property
    def asks_for_nonce(self) -> bool:
        """Whether a proof of that key must hold a nonce of the service."""
        return self.dpop == "nonce"

    @property
    def embedded_database(self) -> Path:
        """The SQLite file that is used while no database is named."""
        return self.data_dir.absolute() / "keyturn.db"

    @property
    def used_database_url(self) -> str:
        """The URL of the database, its password included: not for printing."""
        if self.database_url is None:
            return f"sqlite:///{self.embedded_database}"
        return self.database_url.get_secret_value()

    @property
    def used_keys_dir(self) -> Path:
        """The folder of the signing keys."""
        return (self.keys_dir or self.data_dir / "keys").absolute()

    @property
    def used_clients_file(self) -> Path:
        """The file of the OAuth clients, which need not be there unless it is named."""
        return (self.clients_file or self.data_dir / "clients.toml").absolute()

    @property
    def names_clients_file(self) -> bool:
        """Whether somebody chose the file, and so wants it read."""
        return self.clients_file is not None

    @property
    def used_resources_file(self) -> Path:
        """The file of the declared resources, which need not be there unless it is named."""
        return (self.resources_file or self.data_dir / "resources.toml").absolute()

    @property
    def names_resources_file(self) -> bool:
        """Whether the operator chose the file, so that a missing one is a mistake."""
        return self.resources_file is not None


class _EnvFileSource(PydanticBaseSettingsSource):
    """The lines of `.env`."""

    def __call__(self) -> dict[str, object]:
        """Return the fields that have a line.

        Raises:
            SettingsError: the file can't be used, or a line names an unknown setting or no value.
        """
        file = _read_env_file()
        _require_known(_ours(file.values) | _ours(file.names_without_value))
        empty = sorted(_ours(file.names_without_value))
        if empty:
            raise SettingsError(f"{ENV_FILE}: {', '.join(empty)}: has no value; write NAME=value")
        values = {name.upper(): value for name, value in file.values.items()}
        names = {field: f"{PREFIX}{field.upper()}" for field in self.settings_cls.model_fields}
        return {field: values[name] for field, name in names.items() if name in values}

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[object, str, bool]:
        """Return no value: `__call__` returns all of them."""
        del field
        return None, field_name, False


@dataclass(frozen=True, slots=True)
class SettingLine:
    """One setting as an operator may see it: a secret is masked.

    A derived value follows from `KEYTURN_ISSUER`, and `KEYTURN_BIND_HOST` where it is known. It is
    not to be copied into another environment, where it may have to be another one.
    """

    name: str
    value: str
    source: Literal["default", "derived", ".env", "environment"]
    description: str


def load_settings() -> Settings:
    """Return the settings of the environment and of `.env` in the working directory.

    Raises:
        SettingsError: a name is unknown, a value is out of its bounds, two contradict, or `.env`
            can't be trusted or read.
    """
    _require_known(_ours(os.environ))
    try:
        return Settings()
    except ValidationError as error:
        raise SettingsError("; ".join(_problems(error))) from None


def describe_settings(settings: Settings) -> list[SettingLine]:
    """Return every setting with its value and where that comes from, secrets masked."""
    environment, env_file = _ours(os.environ), _ours(_read_env_file().values)
    lines = []
    for field, information in Settings.model_fields.items():
        name = f"{PREFIX}{field.upper()}"
        value: object = getattr(settings, field)
        source: Literal["default", "derived", ".env", "environment"] = "default"
        if name in environment:
            source = "environment"
        elif name in env_file:
            source = ".env"
        elif value is None and field in _DERIVED:
            source, value = "derived", getattr(settings, _DERIVED[field])
        lines.append(
            SettingLine(
                name,
                _shown(field, value),
                source,
                information.description or "",
            )
        )
    return lines


def _named(field: str, problem: str) -> ValueError:
    return ValueError(f"{PREFIX}{field.upper()}: {problem}")


def _problems(error: ValidationError) -> Iterable[str]:
    for problem in error.errors(include_input=False, include_url=False, include_context=False):
        message = problem["msg"].removeprefix("Value error, ")
        if problem["loc"]:
            yield str(_named(str(problem["loc"][0]), message))
        else:
            yield message


def _names() -> set[str]:
    return {f"{PREFIX}{field.upper()}" for field in Settings.model_fields}


def _ours(variables: Iterable[str]) -> set[str]:
    names = {name.upper() for name in variables}
    return {n for n in names if n.startswith(PREFIX) and not _FOREIGN_NAMES.fullmatch(n)}


def _require_known(named: set[str]) -> None:
    unknown = sorted(named - _names())
    if unknown:
        raise SettingsError("; ".join(_unknown(name) for name in unknown))


def _unknown(name: str) -> str:
    close = get_close_matches(name, _names(), n=1)
    return f"{name}: there is no such setting" + (f"; is {close[0]} meant?" if close else "")


def _read_env_file() -> EnvFile:
    try:
        return read_env_file(Path(ENV_FILE))
    except EnvFileError as error:
        raise SettingsError(str(error)) from None


def _is_wide(proxy: str) -> bool:
    """Whether a network is wider than /8 (IPv4) or /16 (IPv6).

    An IPv6 network of mapped IPv4 addresses (`::ffff:10.0.0.7`) counts as the IPv4 network that it
    stands for. One that holds all of them, such as `::/64`, counts as `0.0.0.0/0`.
    """
    network = ip_network(proxy)
    if isinstance(network, IPv4Network):
        return network.prefixlen < _SHORTEST_IPV4_PREFIX
    if network.supernet_of(_MAPPED_IPV4):
        return True
    if network.subnet_of(_MAPPED_IPV4):
        return network.prefixlen - _MAPPED_IPV4.prefixlen < _SHORTEST_IPV4_PREFIX
    return network.prefixlen < _SHORTEST_IPV6_PREFIX


def _shown(field: str, value: object) -> str:
    match value:
        case None:
            return ""
        case SecretStr() if not field.endswith("_url"):
            return "***"
        case SecretStr():
            return masked_url(value.get_secret_value())
        case timedelta():
            return _shown_duration(value)
        case tuple():
            return ",".join(value)
        case bool():
            return str(value).lower()
        case _:
            return str(value)


def _shown_duration(value: timedelta) -> str:
    seconds = int(value.total_seconds())
    for unit, length in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds and seconds % length == 0:
            return f"{seconds // length}{unit}"
    return f"{seconds}s"


def masked_url(url: str) -> str:
    """Return a database URL without its password and without the values of its query."""
    # Greedy up to the last @: a password may hold what should have been percent-encoded.
    url = re.sub(r"://([^:@/]*):.*@", r"://\1:***@", url, flags=re.DOTALL)
    if not re.match(r"[a-z+]+://", url):
        return "***"
    shown, _, query = url.partition("?")
    return f"{shown}?{re.sub('=[^&]*', '=***', query)}" if query else shown
