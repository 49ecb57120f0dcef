"""From the settings to a service that runs: the app, and what the command line asks for."""

from __future__ import annotations

import asyncio
import json
import logging
import logging.config
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import timedelta
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, TypeVar

from keyturn.delivery.cli.operations import (
    Administration,
    Finding,
    KeyAdministration,
    Operations,
    Refusal,
    ShownSetting,
)
from keyturn.domain.client import Client
from keyturn.domain.errors import KeyturnError, LetterUnwritable, StoreUnavailable
from keyturn.domain.secret import Secret
from keyturn.loading import loading
from keyturn.settings import (
    DEVELOPMENT_ISSUER,
    Settings,
    SettingsError,
    describe_settings,
    load_settings,
)

# What is heavy is imported where it is needed: `keyturn --help` waits for no web framework.
if TYPE_CHECKING:
    from socket import socket

    from fastapi import FastAPI
    from starlette.types import ASGIApp

    from keyturn.container import Container
    from keyturn.delivery.background.repetition import Repetition

T = TypeVar("T")

# A logger of its own, because KEYTURN_LOG_LEVEL must not hide these warnings.
_log_of_risks = logging.getLogger("keyturn.risks")


def create_app(settings: Settings | None = None) -> FastAPI:
    """Return the service as an ASGI app; `uvicorn --factory keyturn.main:create_app` runs it.

    It makes the data folder and the first signing key where there are none. It does not migrate.
    It does not know which address the server listens on: unless `KEYTURN_BIND_HOST` names it, the
    issuer alone decides whether the defaults and risks of development are allowed.

    Args:
        settings: those of the environment by default.

    Raises:
        SettingsError: a setting, or what it points to, is not fit to serve with; or it is a risk
            that is not accepted.
    """
    settings = settings or load_settings()
    settings.require_accepted_risks()
    _log_accepted_risks(settings)
    return _create_app(settings, counts_requests=True)


def _create_app(
    settings: Settings, *, counts_requests: bool, reports: socket | None = None
) -> FastAPI:
    from keyturn.adapters.prometheus.reports import WorkerReports
    from keyturn.delivery.http.app import build_app
    from keyturn.delivery.http.observation import RequestObserver, log_request

    container = build_container(settings)
    metrics = container.metrics()
    observers: list[RequestObserver] = [log_request]
    if counts_requests:
        observers.append(lambda r: metrics.count_request(r.method, r.route, r.status, r.seconds))
    report = None if reports is None else WorkerReports(metrics, reports).send

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        try:
            # Before the first request, so that a good token is good at once. Where the store does
            # not answer, tokens are answered with a 503 until it does.
            recording = _recording(container)
            await recording.once()
            await container.follow_revocations().once()
            tasks = _tasks(settings, container, report)
            async with _in_the_background(recording.forever, *tasks):
                yield
        finally:
            if report is not None:
                await report()
            await _close(container)

    app = build_app(
        container.services(),
        container.http_options(),
        lifespan=lifespan,
        observers=observers,
        published_keys=container.keys(),
    )
    app.state.keyturn_metrics = metrics
    return app


def create_worker_app(reports: socket | None = None) -> FastAPI:
    """Return the service as `keyturn serve` runs it, in a process that is all its own.

    Args:
        reports: where it sends its figures; None where nobody wants them.

    Raises:
        SettingsError: a setting, or what it points to, is not fit to serve with.
    """
    with loading():
        settings = load_settings()
        # Read anew: what `serve` has checked may have changed since.
        settings.require_accepted_risks()
        return _create_app(settings, counts_requests=reports is not None, reports=reports)


def metrics_app(service: FastAPI) -> ASGIApp:
    """Return the figures of a service in this process as an ASGI app for Prometheus.

    The figures tell who has an account to anybody who watches them change: mount the app where
    only Prometheus can reach it, never beside the routes of the service.

    Args:
        service: what `create_app` or `mount` has returned.
    """
    from keyturn.delivery.http.metrics_app import figures_app

    return figures_app(service.state.keyturn_metrics)


def mount(
    host: FastAPI,
    settings: Settings | None = None,
    path: str = "/auth",
    *,
    guards_host: bool = True,
) -> FastAPI:
    """Put the service below a path of another FastAPI app, and return it.

    The host's lifespan opens and closes it, and with it what the host itself opens can rely on
    it. It does not migrate.

    Args:
        host: the app that is served.
        settings: those of the environment by default. The issuer must be the URL of the mounted
            service, so it ends with `path`; one that nobody chose becomes that of development.
        path: where clients find the service, such as `/auth`.
        guards_host: whether `CurrentPrincipal`, `require_permission` and the other dependencies
            in the host's own routes check the tokens of this service. An app is guarded by one.

    Raises:
        SettingsError: a setting, or what it points to, is not fit to serve with.
        ValueError: the path is not one to mount at, or something else guards the host already.
    """
    from keyturn.delivery.http.mounting import mount_app, require_mountable

    require_mountable(host, path, guards_host=guards_host)
    settings = settings or load_settings()
    if "issuer" not in settings.model_fields_set:
        settings = settings.model_copy(update={"issuer": DEVELOPMENT_ISSUER + path})
    elif not settings.issuer.rstrip("/").endswith(path):
        raise SettingsError(f"KEYTURN_ISSUER: must end with {path}, where the service is mounted")
    service = create_app(settings)
    mount_app(host, service, path, guards_host=guards_host)
    return service


def build_container(settings: Settings) -> Container:
    """Return the wired service, having looked at all that could keep it from starting.

    Raises:
        SettingsError: a setting, or what it points to, is not fit to serve with.
    """
    from keyturn.adapters.clients_file.clients import ClientsFileError
    from keyturn.adapters.clients_file.resources import ResourcesFileError
    from keyturn.adapters.pyjwt.key_files import KeyFileError
    from keyturn.container import Container

    container = Container(settings=settings)
    with _naming("KEYTURN_DATABASE_URL", ValueError):
        container.database()
    with _naming("KEYTURN_REDIS_URL", ValueError):
        container.revocation_list()
    with _naming("KEYTURN_ARGON2_MEMORY_KIB", ValueError):
        container.argon2_parameters()
    if settings.throttle == "on":
        from keyturn.adapters.limits.throttle import Rates

        chosen = settings.throttle_rates() | settings.throttle_account_rates()
        for action, rates in chosen.items():
            with _naming(f"KEYTURN_THROTTLE_{action.upper()}", ValueError):
                Rates.parse(rates)
    with _naming("KEYTURN_BREACH_URL", ValueError):
        container.breached_passwords()
    with _naming("KEYTURN_MAIL_FROM", ValueError):
        container.mailer()
    with _naming("KEYTURN_MAIL_TEMPLATES", ValueError, LetterUnwritable):
        writer = container.letter_writer()
        if settings.mail_templates is not None:
            writer.check()
    _make_data_folder(settings)
    with _naming("KEYTURN_KEYS_DIR", KeyFileError):
        container.keys()
    with _naming("KEYTURN_CLIENTS_FILE", ClientsFileError):
        container.clients()
    with _naming("KEYTURN_RESOURCES_FILE", ResourcesFileError, ValueError):
        container.resources()
    return container


class CommandLineOperations(Operations):
    """What each command does with the service that the environment describes."""

    def serve(self, *, host: str, port: int, workers: int, migrate: bool) -> None:
        """Check and prepare everything once, then serve."""
        with loading():
            from keyturn.adapters.structlog.configuration import logging_configuration
            from keyturn.delivery.cli.connection_limits import ConnectionLimits
            from keyturn.delivery.cli.server import listen, serve

        with _refusing(), listen(host, port) as listener:
            # The address and not the name: `localhost` may be any.
            bind_host, bound_port = listener.getsockname()[:2]
            settings = _load_settings_for(f"http://127.0.0.1:{bound_port}", bind_host)
            settings.require_accepted_risks()
            with loading():
                asyncio.run(_prepare(settings, migrates=migrate))
            logs = logging_configuration(settings.log_format, settings.log_level)
            # Here and not in the workers: once for each start.
            logging.config.dictConfig(logs)
            _log_accepted_risks(settings)
            limits = ConnectionLimits(
                max_header_bytes=settings.max_header_bytes,
                header_timeout=settings.header_timeout.total_seconds(),
                body_timeout=settings.body_timeout.total_seconds(),
                keep_alive_timeout=settings.keep_alive_timeout.total_seconds(),
                max_connections=settings.max_connections,
                https=settings.issuer.startswith("https:"),
            )
            with _metrics_served(settings) as reports:
                serve(
                    partial(create_worker_app, reports),
                    listener,
                    limits=limits,
                    workers=workers,
                    logs=logs,
                    notes=_notes(settings),
                    has_docs=settings.docs,
                )

    def migrate(self, revision: str) -> str:
        """Migrate, and return the revision that the database is at then."""
        with _refusing():
            settings = load_settings()
            _make_data_folder(settings)
            return asyncio.run(_migrate(settings, revision))

    def administer(
        self,
        work: Callable[[Administration], Awaitable[T]],
        *,
        makes_database: bool = False,
        only_reads: bool = False,
    ) -> T:
        """Return what comes of work with the use-cases; the embedded database is migrated first."""
        with _refusing():
            settings = load_settings()
            database = settings.embedded_database
            if settings.database_url is None and not (makes_database or database.exists()):
                raise Refusal(f"{database}: there is no such database; run keyturn migrate")
            return asyncio.run(_administer(settings, work, only_reads=only_reads))

    def add_client(
        self,
        client_id: str,
        *,
        public: bool,
        introspects: bool,
        reads_revocations: bool,
        audience: str | None = None,
        resources: Collection[str] = (),
    ) -> Secret | None:
        """Write an OAuth client into the file of the clients."""
        from keyturn.adapters.clients_file.clients import ClientsFileError, add_client

        with _refusing(), _naming("KEYTURN_CLIENTS_FILE", ClientsFileError):
            settings = load_settings()
            if settings.clients_file is None:
                _make_data_folder(settings)
            return add_client(
                settings.used_clients_file,
                client_id,
                public=public,
                introspects=introspects,
                reads_revocations=reads_revocations,
                audience=audience,
                resources=resources,
            )

    def list_clients(self) -> Iterable[Client]:
        """Read the file of the OAuth clients."""
        from keyturn.adapters.clients_file.clients import ClientsFileError, load_clients

        with _refusing(), _naming("KEYTURN_CLIENTS_FILE", ClientsFileError):
            return load_clients(load_settings().used_clients_file).values()

    def remove_client(self, client_id: str) -> None:
        """Take an OAuth client out of the file of the clients."""
        from keyturn.adapters.clients_file.clients import ClientsFileError, remove_client

        with _refusing(), _naming("KEYTURN_CLIENTS_FILE", ClientsFileError):
            remove_client(load_settings().used_clients_file, client_id)

    def add_resource(self, resource: str) -> None:
        """Declare a resource in the file of the resources."""
        from keyturn.adapters.clients_file.resources import (
            ResourcesFileError,
            add_resource,
            load_resources,
        )
        from keyturn.domain.resource import Resources

        with _refusing(), _naming("KEYTURN_RESOURCES_FILE", ResourcesFileError, ValueError):
            settings = load_settings()
            # Before the file is written: a resource that stops the start must not get into it.
            declared = load_resources(settings.used_resources_file) | {resource}
            Resources(settings.issuer, settings.audience, declared)
            if settings.resources_file is None:
                _make_data_folder(settings)
            add_resource(settings.used_resources_file, resource)

    def list_resources(self) -> Iterable[str]:
        """Read the file of the resources."""
        from keyturn.adapters.clients_file.resources import ResourcesFileError, load_resources

        with _refusing(), _naming("KEYTURN_RESOURCES_FILE", ResourcesFileError):
            return sorted(load_resources(load_settings().used_resources_file))

    def remove_resource(self, resource: str) -> None:
        """Take a resource out of the file of the resources."""
        from keyturn.adapters.clients_file.resources import ResourcesFileError, remove_resource

        with _refusing(), _naming("KEYTURN_RESOURCES_FILE", ResourcesFileError):
            remove_resource(load_settings().used_resources_file, resource)

    def administer_keys(self, work: Callable[[KeyAdministration], T]) -> T:
        """Return what comes of work with the keys of the folder, which must be there."""
        from keyturn.adapters.pyjwt.key_files import KeyFileError
        from keyturn.adapters.pyjwt.key_rotation import KeyRotation
        from keyturn.adapters.system.clock import SystemClock

        # Without the container, which would load all that serves.
        with _refusing(), _naming("KEYTURN_KEYS_DIR", KeyFileError):
            settings = load_settings()
            token_life = settings.session_policy().longest_token_life
            return work(KeyRotation(settings.used_keys_dir, SystemClock(), token_life))

    def settings(self) -> Iterable[ShownSetting]:
        """Return every setting."""
        with _refusing():
            return describe_settings(load_settings())

    def diagnose(self) -> Iterator[Finding]:
        """Look at the settings, the keys, the database and the cost of a password hash."""
        from keyturn.doctor import diagnose

        with _refusing():
            yield from diagnose(load_settings())

    def openapi(self) -> str:
        """Describe the HTTP interface, leaving data and keys alone."""
        with _refusing(), TemporaryDirectory() as folder:
            elsewhere = {"data_dir": Path(folder), "keys_dir": None, "database_url": None}
            elsewhere["clients_file"] = elsewhere["resources_file"] = None
            # Nothing is served, so no risk is taken.
            app = _create_app(load_settings().model_copy(update=elsewhere), counts_requests=False)
        return json.dumps(app.openapi(), indent=2)

    def version(self) -> str:
        """Return the version that is installed."""
        from importlib.metadata import PackageNotFoundError, version

        try:
            return version("keyturn")
        except PackageNotFoundError:
            return "(not installed)"


def _load_settings_for(address: str, host: str) -> Settings:
    # Through the environment, where every worker finds them.
    os.environ["KEYTURN_BIND_HOST"] = host
    settings = load_settings()
    if "issuer" in settings.model_fields_set:
        return settings
    os.environ["KEYTURN_ISSUER"] = address
    return load_settings()


def _log_accepted_risks(settings: Settings) -> None:
    for risk, text in settings.risks().items():
        _log_of_risks.warning("the risk %s is accepted by KEYTURN_ACCEPT_RISKS: %s", risk, text)


def _notes(settings: Settings) -> list[str]:
    """Return the choices that an operator should know, for the first lines of `keyturn serve`."""
    notes = []
    if settings.is_local:
        notes.append("This is development: issuer and bind address are loopback.")
    if settings.resolved_require_verified_email:
        notes.append("A login needs a verified address (KEYTURN_REQUIRE_VERIFIED_EMAIL).")
    else:
        notes.append("A login needs no verified address (KEYTURN_REQUIRE_VERIFIED_EMAIL).")
    if settings.resolved_password_grant:
        notes.append("/oauth/token takes passwords (KEYTURN_PASSWORD_GRANT).")
    if settings.mail == "console":
        notes.append("Mails are printed here (KEYTURN_MAIL).")
    return notes


async def _prepare(settings: Settings, *, migrates: bool) -> None:
    # All of it before the first worker: they find one key and one schema, and fail at nothing
    # that could have been said in one line.
    from keyturn.adapters.sqlalchemy.engine import sqlite_file
    from keyturn.adapters.sqlalchemy.migrations import require_newest_schema

    container = build_container(settings)
    file = sqlite_file(settings.used_database_url)
    is_missing = file is not None and not file.exists()
    migrates = migrates or settings.database_url is None
    if is_missing and not migrates:
        raise Refusal(f"the database: there is no {file}: run keyturn migrate")
    try:
        if is_missing:
            await _migrate(settings, "head")
        try:
            await require_newest_schema(container.database())
        except StoreUnavailable:
            if not migrates:
                raise
            # Only now: what migrates is slow to load and large.
            await _migrate(settings, "head")
            await require_newest_schema(container.database())
    finally:
        await container.database().dispose()


async def _administer(
    settings: Settings, work: Callable[[Administration], Awaitable[T]], *, only_reads: bool
) -> T:
    await _prepare(settings, migrates=False)
    container = build_container(settings)
    try:
        if not only_reads:
            await _require_feed_of_service(container)
        return await work(container.administration())
    finally:
        await _close(container)


async def _require_feed_of_service(container: Container) -> None:
    from keyturn.use_cases.compare_feeds import FeedComparison

    match await container.compare_feeds().execute():
        case FeedComparison.MISSING:
            raise Refusal(
                "KEYTURN_REDIS_URL: not set, but the service follows revocations in Redis; "
                "set it to the value that the service has"
            )
        case FeedComparison.DIFFERENT:
            raise Refusal(
                "KEYTURN_REDIS_URL: not the Redis in which the service follows revocations; set it "
                "to the value that the service has, or, if Redis has just lost its data, try again "
                "in 10 seconds"
            )
        case FeedComparison.SAME:
            return


async def _close(container: Container) -> None:
    await asyncio.to_thread(container.hasher().close)
    await asyncio.to_thread(container.strength_estimator().close)
    breached = container.breached_passwords()
    if breached is not None:
        await breached.aclose()
    if container.settings().redis_url is not None:
        from keyturn.adapters.limits.redis_windows import RedisWindows
        from keyturn.adapters.redis.revocations import RedisRevocationList

        windows = container.throttle_windows()
        if isinstance(windows, RedisWindows):
            await windows.aclose()
        followed = container.revocation_list()
        if isinstance(followed, RedisRevocationList):
            await followed.aclose()
    await container.database().dispose()


def _tasks(
    settings: Settings, container: Container, report: Callable[[], Awaitable[None]] | None
) -> Iterator[Callable[[], Awaitable[None]]]:
    from keyturn.delivery.background.repetition import Repetition

    second = timedelta(seconds=1)
    yield container.follow_revocations().forever
    follow_keys = container.keys().follow
    yield Repetition("following the keys", follow_keys, pause=second, timeout=5 * second).forever
    yield container.deliver_mail_regularly().forever
    if settings.throttle == "on":
        from keyturn.adapters.limits.throttle import LimitsThrottle
        from keyturn.delivery.background.write_attempts import WriteAttemptsRegularly

        throttle = container.throttle()
        if isinstance(throttle, LimitsThrottle):
            yield WriteAttemptsRegularly(throttle.write).forever
    if settings.purge:
        yield container.purge_regularly().forever
    if report is not None:
        yield Repetition("reporting figures", report, pause=second, timeout=second).forever


def _recording(container: Container) -> Repetition:
    """Return what records this process in the store, at the start and regularly afterwards."""
    from keyturn.delivery.background.repetition import Repetition

    return Repetition(
        "recording the lifetime of access tokens and the revocation feed",
        container.record_deployment().execute,
        pause=timedelta(seconds=10),
        timeout=timedelta(seconds=5),
    )


@asynccontextmanager
async def _in_the_background(*tasks: Callable[[], Awaitable[None]]) -> AsyncIterator[None]:
    running = [asyncio.ensure_future(task()) for task in tasks]
    try:
        yield
    finally:
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)


@contextmanager
def _metrics_served(settings: Settings) -> Iterator[socket | None]:
    """Answer Prometheus for all workers, and give what they send their figures to."""
    if settings.metrics_port is None:
        yield None
        return
    from keyturn.adapters.prometheus.reports import AllWorkers, report_sockets
    from keyturn.delivery.cli.server import listen, serve_metrics
    from keyturn.delivery.http.metrics_app import figures_app

    with _naming("KEYTURN_METRICS_PORT", OSError):
        receiver, sender = report_sockets()

    def make_app() -> ASGIApp:
        figures = AllWorkers(receiver)

        def follow() -> None:
            asyncio.get_running_loop().add_reader(receiver, figures.receive)

        return figures_app(figures, on_start=follow)

    listener = listen(settings.metrics_host, settings.metrics_port)
    with receiver, sender, listener, serve_metrics(make_app, listener):
        yield sender


async def _migrate(settings: Settings, revision: str) -> str:
    from alembic.util import CommandError

    from keyturn.adapters.sqlalchemy.database import Database
    from keyturn.adapters.sqlalchemy.migrations import current_revision, migrate

    url = settings.used_database_url
    with _naming("KEYTURN_DATABASE_URL", ValueError):
        database = Database(url)
    try:
        await migrate(url, revision)
        return await current_revision(database) or "no revision"
    except CommandError as error:
        raise Refusal(f"the database: {error}") from None
    finally:
        await database.dispose()


def _make_data_folder(settings: Settings) -> None:
    with _naming("KEYTURN_DATA_DIR", OSError):
        settings.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)


@contextmanager
def _naming(variable: str, *errors: type[Exception]) -> Iterator[None]:
    """Turn an error of an adapter into one that names the setting to look at."""
    try:
        yield
    except errors as error:
        problem = f"{error.filename}: {error.strerror}" if isinstance(error, OSError) else error
        raise SettingsError(f"{variable}: {problem}") from None


@contextmanager
def _refusing() -> Iterator[None]:
    """Turn what keeps a command from its work into one line for the operator."""
    try:
        yield
    except SettingsError as error:
        raise Refusal(str(error)) from None
    except StoreUnavailable as error:
        raise Refusal(f"the database: {error.__cause__ or error}") from None
    except KeyturnError as error:
        raise Refusal(error.detail) from None
    except OSError as error:
        raise Refusal(f"{error.filename}: {error.strerror}") from None
