"""Looks for what is wrong with a service, and changes nothing."""

import asyncio
import stat
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from time import perf_counter

from redis.asyncio import Redis
from redis.exceptions import RedisError

from keyturn.adapters.argon2.hasher import Argon2Parameters, Argon2PasswordHasher
from keyturn.adapters.clients_file.clients import ClientsFileError, load_clients
from keyturn.adapters.clients_file.resources import ResourcesFileError, load_resources
from keyturn.adapters.jinja2.letters import JinjaLetterWriter
from keyturn.adapters.pyjwt.key_files import KeyFileError, load_key_ring
from keyturn.adapters.redis.revocations import TIMEOUT
from keyturn.adapters.smtp.mailer import SmtpMailer
from keyturn.adapters.sqlalchemy.database import Database
from keyturn.adapters.sqlalchemy.engine import sqlite_file
from keyturn.adapters.sqlalchemy.migrations import require_newest_schema
from keyturn.container import Container
from keyturn.delivery.cli.operations import Finding, Verdict
from keyturn.domain.client import Client
from keyturn.domain.errors import (
    LetterUnwritable,
    MailRefused,
    MailUnavailable,
    StoreUnavailable,
)
from keyturn.domain.policies import PasswordPolicy
from keyturn.domain.resource import Resources
from keyturn.domain.secret import Secret
from keyturn.settings import DEVELOPMENT_ISSUER, ENV_FILE, Settings

CHEAP_HASH, DEAR_HASH = 0.02, 1.0
"""Seconds of one password hash that say that its parameters don't suit the machine."""


def diagnose(settings: Settings) -> Iterator[Finding]:
    """Return what is found of settings, files, keys, clients, database, mails and hashes."""
    yield from _settings(settings)
    yield from _choices(settings)
    yield from _files(settings)
    yield _keys(settings)
    yield _clients(settings)
    yield _resources(settings)
    yield asyncio.run(_database(settings))
    yield _templates(settings)
    if settings.mail == "smtp":
        yield asyncio.run(_mail_server(settings))
    if settings.redis_url is not None:
        yield asyncio.run(_redis(settings.redis_url.get_secret_value()))
    yield asyncio.run(_hashing(settings))


def _settings(settings: Settings) -> Iterator[Finding]:
    doubts = list(_doubts(settings))
    for doubt in doubts:
        yield Finding("settings", Verdict.DOUBTFUL, doubt)
    if not doubts:
        yield Finding("settings", Verdict.GOOD, "nothing to remark")


def _doubts(settings: Settings) -> Iterator[str]:
    if settings.issuer == DEVELOPMENT_ISSUER and settings.database_url is not None:
        yield "KEYTURN_ISSUER is that of development: others can't find the service by it"
    if settings.password_min_length < PasswordPolicy().min_length:
        yield "KEYTURN_PASSWORD_MIN_LENGTH: 15 where the password is the only factor"
    if settings.issuer.startswith("https:") and settings.throttle == "off":
        yield "KEYTURN_THROTTLE is off: only waits after wrong passwords slow down guessing"
    if settings.issuer.startswith("https:") and not settings.trusted_proxies:
        yield "KEYTURN_TRUSTED_PROXIES is empty: all that comes through a proxy is one source"


def _choices(settings: Settings) -> Iterator[Finding]:
    """Return the risks that are taken, what was derived, and what strangers are shown.

    The address that `keyturn serve` listens on is not known here, unless `KEYTURN_BIND_HOST` says.
    """
    for risk, text in settings.risks().items():
        if risk in settings.accept_risks:
            yield Finding("choices", Verdict.DOUBTFUL, f"{text} ({risk}: accepted)")
        else:
            yield Finding("choices", Verdict.BAD, f"{text} ({risk}: stops the start)")
    for name in sorted(set(settings.accept_risks) - {*settings.risks()}):
        text = f"KEYTURN_ACCEPT_RISKS: {name} is accepted and not taken; leave it out"
        yield Finding("choices", Verdict.DOUBTFUL, text)
    verified, grant = settings.resolved_require_verified_email, settings.resolved_password_grant
    yield _choice(
        settings,
        "require_verified_email",
        "on: a login needs a verified address"
        if verified
        else "off: whoever registers an address and logs in learns whether it was free",
        is_safe=verified,
    )
    yield _choice(
        settings,
        "password_grant",
        "on: other programs ask people for their passwords"
        if grant
        else "off: /oauth/token takes no passwords",
        is_safe=not grant,
    )
    yield _choice(
        settings,
        "docs",
        "on: /docs and /openapi.json describe the service to everybody"
        if settings.docs
        else "off: /docs and /openapi.json are not there",
        is_safe=True,
    )


def _choice(settings: Settings, field: str, text: str, *, is_safe: bool) -> Finding:
    derived = "" if getattr(settings, field) is not None else ", derived from KEYTURN_ISSUER"
    verdict = Verdict.GOOD if is_safe or settings.is_local else Verdict.DOUBTFUL
    return Finding("choices", verdict, f"KEYTURN_{field.upper()} is {text}{derived}")


def _files(settings: Settings) -> Iterator[Finding]:
    secret_files = [settings.embedded_database] if settings.database_url is None else []
    for path in (settings.data_dir, *secret_files, Path(ENV_FILE)):
        try:
            mode = stat.S_IMODE(path.stat().st_mode)
        except FileNotFoundError:
            continue
        except OSError as error:
            yield Finding("files", Verdict.BAD, f"{path}: {error.strerror}")
            continue
        if mode & (stat.S_IRWXG | stat.S_IRWXO):
            yield Finding("files", Verdict.DOUBTFUL, f"{path}: others have access ({mode:04o})")
        else:
            yield Finding("files", Verdict.GOOD, f"{path}: its owner's alone ({mode:04o})")


def _keys(settings: Settings) -> Finding:
    folder = settings.used_keys_dir
    if not folder.exists():
        return Finding("keys", Verdict.GOOD, f"{folder}: made at the first start")
    try:
        ring = load_key_ring(folder, datetime.now(UTC))
    except KeyFileError as error:
        return Finding("keys", Verdict.BAD, str(error))
    signing = ring.signing_key
    text = f"{folder}: {signing.kid} signs ({signing.algorithm})"
    if signing.algorithm != settings.algorithm:
        return Finding("keys", Verdict.DOUBTFUL, f"{text}; KEYTURN_ALGORITHM={settings.algorithm}")
    return Finding("keys", Verdict.GOOD, text)


def _clients(settings: Settings) -> Finding:
    file = settings.used_clients_file
    try:
        clients = load_clients(file, required=settings.names_clients_file)
    except ClientsFileError as error:
        return Finding("clients", Verdict.BAD, str(error))
    with_secret = sum(client.secret_sha256 is not None for client in clients.values())
    return Finding(
        "clients", Verdict.GOOD, f"{file}: {with_secret} with a secret, {len(clients)} in all"
    )


def _resources(settings: Settings) -> Finding:
    file = settings.used_resources_file
    try:
        declared = load_resources(file, required=settings.names_resources_file)
        audiences = Resources(settings.issuer, settings.audience, declared).audiences
    except (ResourcesFileError, ValueError) as error:
        return Finding("resources", Verdict.BAD, str(error))
    for client in _readable_clients(settings):
        unknown = client.resources - audiences
        if client.audience is not None:
            unknown |= {client.audience} - audiences
        if unknown:
            text = f"the client {client.id} names {min(unknown)}, which is not declared"
            return Finding("resources", Verdict.DOUBTFUL, text)
    return Finding("resources", Verdict.GOOD, f"{file}: {len(declared)} declared")


def _readable_clients(settings: Settings) -> Iterable[Client]:
    try:
        return load_clients(settings.used_clients_file).values()
    except ClientsFileError:
        # A finding about the clients says so.
        return ()


async def _database(settings: Settings) -> Finding:
    url = settings.used_database_url
    try:
        file = sqlite_file(url)
    except ValueError as error:
        return Finding("database", Verdict.BAD, f"KEYTURN_DATABASE_URL: {error}")
    # To connect would be to make it.
    if file is not None and not file.exists():
        if settings.database_url is None:
            return Finding("database", Verdict.GOOD, f"{file}: made at the first start")
        return Finding("database", Verdict.BAD, f"there is no {file}: run keyturn migrate")
    database = Database(url, pool_size=1)
    try:
        await require_newest_schema(database)
    except StoreUnavailable as error:
        return Finding("database", Verdict.BAD, str(error.__cause__ or error))
    finally:
        await database.dispose()
    return Finding("database", Verdict.GOOD, "it answers, and its schema is the newest")


def _templates(settings: Settings) -> Finding:
    try:
        writer = JinjaLetterWriter(
            service_name=settings.service_name,
            verify_url=settings.used_verify_email_url,
            reset_url=settings.used_reset_password_url,
            folder=settings.mail_templates,
        )
        writer.check()
    except (ValueError, LetterUnwritable) as error:
        return Finding("templates", Verdict.BAD, str(error))
    return Finding("templates", Verdict.GOOD, "every mail can be written")


async def _mail_server(settings: Settings) -> Finding:
    where = f"{settings.smtp_host}:{settings.smtp_port or 'the usual port'}"
    try:
        mailer = Container(settings=settings).mailer()
        if isinstance(mailer, SmtpMailer):
            await mailer.check()
    except ValueError as error:
        return Finding("mail", Verdict.BAD, f"KEYTURN_MAIL_FROM: {error}")
    except (MailUnavailable, MailRefused) as error:
        return Finding("mail", Verdict.BAD, f"{where}: {error.detail}")
    return Finding("mail", Verdict.GOOD, f"{where} answers, and would take mails")


async def _redis(url: str) -> Finding:
    # Asked directly: whoever looks at the list there also begins it.
    redis: Redis = Redis.from_url(url, socket_timeout=TIMEOUT, socket_connect_timeout=TIMEOUT)
    try:
        await redis.time()
    except (RedisError, OSError) as error:
        return Finding("redis", Verdict.BAD, f"it does not answer: {type(error).__name__}")
    finally:
        await redis.aclose()
    return Finding("redis", Verdict.GOOD, "it answers")


async def _hashing(settings: Settings) -> Finding:
    try:
        parameters = Argon2Parameters(
            time_cost=settings.argon2_time_cost,
            memory_kib=settings.argon2_memory_kib,
            parallelism=settings.argon2_parallelism,
        )
    except ValueError as error:
        return Finding("passwords", Verdict.BAD, f"KEYTURN_ARGON2_MEMORY_KIB: {error}")
    hasher = Argon2PasswordHasher(parameters, threads=1)
    try:
        start = perf_counter()
        await hasher.hash(Secret("how long does this take here?"))
        seconds = perf_counter() - start
    finally:
        hasher.close()
    verdict = Verdict.GOOD if CHEAP_HASH <= seconds <= DEAR_HASH else Verdict.DOUBTFUL
    memory = settings.argon2_memory_kib // 1024
    return Finding(
        "passwords", verdict, f"a hash takes {seconds * 1000:.0f} ms and {memory} MiB here"
    )
