"""Who gets what, read top to bottom: settings, policies, adapters, use-cases, what routes call."""

import os
import secrets
import socket
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from dependency_injector import containers, providers
from pydantic import SecretStr

from keyturn.adapters.argon2.hasher import Argon2Parameters, Argon2PasswordHasher
from keyturn.adapters.clients_file.clients import FileClients
from keyturn.adapters.clients_file.resources import load_resources
from keyturn.adapters.console.mailer import ConsoleMailer
from keyturn.adapters.jinja2.letters import JinjaLetterWriter
from keyturn.adapters.memory.throttle import Unthrottled
from keyturn.adapters.prometheus.counting import (
    CountingMailer,
    CountingRotateRefresh,
    CountingUnitOfWork,
    EventCounter,
)
from keyturn.adapters.prometheus.metrics import PrometheusMetrics
from keyturn.adapters.pyjwt.codec import PyJwtCodec
from keyturn.adapters.pyjwt.followed_keys import FollowedKeys
from keyturn.adapters.pyjwt.key_ring import SigningAlgorithm
from keyturn.adapters.pyjwt.proofs import PyJwtProofChecker
from keyturn.adapters.sqlalchemy.database import Database
from keyturn.adapters.sqlalchemy.deployment import SqlDeploymentRecord
from keyturn.adapters.sqlalchemy.housekeeping import SqlHousekeeping
from keyturn.adapters.sqlalchemy.mails import SqlMailQueue
from keyturn.adapters.sqlalchemy.migrations import require_newest_schema
from keyturn.adapters.sqlalchemy.revocations import SqlRevocationList
from keyturn.adapters.sqlalchemy.unit_of_work import SqlUnitOfWork
from keyturn.adapters.system.clock import SystemClock
from keyturn.adapters.system.ids import UuidGenerator
from keyturn.adapters.zxcvbn.blocklist import CommonPasswords
from keyturn.adapters.zxcvbn.strength import ZxcvbnEstimator
from keyturn.delivery.background.deliver_mail import DeliverMailRegularly, log_failed_mail
from keyturn.delivery.background.follow_revocations import FollowRevocations
from keyturn.delivery.background.purge_regularly import PurgeRegularly
from keyturn.delivery.cli.operations import Administration
from keyturn.delivery.http.services import HttpOptions, Services
from keyturn.domain.resource import Resources
from keyturn.domain.secret import Secret
from keyturn.ports.mail import Mailer
from keyturn.ports.persistence import RevocationCallback, UnitOfWork, UnitOfWorkFactory
from keyturn.ports.revocations import RevocationFeed, RevocationList
from keyturn.ports.system import Clock
from keyturn.ports.throttling import Throttle
from keyturn.settings import Settings
from keyturn.use_cases.assign_roles import AssignRoles
from keyturn.use_cases.audiences import Audiences
from keyturn.use_cases.authenticate_access import AuthenticateAccess
from keyturn.use_cases.authenticate_client import AuthenticateClient
from keyturn.use_cases.change_password import ChangePassword
from keyturn.use_cases.change_user import ChangeUser
from keyturn.use_cases.check_proof import CheckProof
from keyturn.use_cases.compare_feeds import CompareFeeds
from keyturn.use_cases.confirm_email import ConfirmEmail
from keyturn.use_cases.current_password import CurrentPassword
from keyturn.use_cases.define_role import DefineRole
from keyturn.use_cases.delete_account import DeleteAccount
from keyturn.use_cases.delete_role import DeleteRole
from keyturn.use_cases.deliver_mail import DeliverMail
from keyturn.use_cases.end_session import EndSession
from keyturn.use_cases.erase_due_users import EraseDueUsers
from keyturn.use_cases.erase_user import EraseUser
from keyturn.use_cases.estimate_strength import EstimateStrength
from keyturn.use_cases.export_account import ExportAccount
from keyturn.use_cases.get_user import GetUser
from keyturn.use_cases.import_user import ImportUser
from keyturn.use_cases.introspect_token import IntrospectToken
from keyturn.use_cases.list_audit_events import ListAuditEvents
from keyturn.use_cases.list_mails import ListMails
from keyturn.use_cases.list_revocations import ListRevocations
from keyturn.use_cases.list_roles import ListRoles
from keyturn.use_cases.list_sessions import ListSessions
from keyturn.use_cases.list_users import ListUsers
from keyturn.use_cases.load_user import LoadUser
from keyturn.use_cases.login_user import LoginUser
from keyturn.use_cases.new_password import NewPasswordRules
from keyturn.use_cases.purge_expired import PurgeExpired
from keyturn.use_cases.reauthenticate import Reauthenticate
from keyturn.use_cases.record_deployment import RecordDeployment
from keyturn.use_cases.record_refusal import RecordRefusal
from keyturn.use_cases.register_user import RegisterUser
from keyturn.use_cases.request_email_change import RequestEmailChange
from keyturn.use_cases.request_email_verification import RequestEmailVerification
from keyturn.use_cases.request_password_reset import RequestPasswordReset
from keyturn.use_cases.reset_password import ResetPassword
from keyturn.use_cases.resolve_permissions import ResolvePermissions
from keyturn.use_cases.retry_mail import RetryMail
from keyturn.use_cases.revocation_replica import RevocationReplica
from keyturn.use_cases.revoke_all_families import RevokeAllFamilies
from keyturn.use_cases.revoke_family import RevokeFamily
from keyturn.use_cases.revoke_token import RevokeToken
from keyturn.use_cases.rotate_refresh import RotateRefresh
from keyturn.use_cases.take_over_account import TakeOverAccount
from keyturn.use_cases.token_pair import TokenIssuer
from keyturn.use_cases.update_profile import UpdateProfile

if TYPE_CHECKING:
    from keyturn.adapters.imported_hashes.hashes import ImportedHashes
    from keyturn.adapters.limits.windows import Windows
    from keyturn.adapters.range_lookup.breached_passwords import RangeLookup


def _this_process() -> str:
    """Return a name that no other process has, on this machine or another."""
    return f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(8)}"


def _followed_list(settings: Settings, database: Database, clock: Clock) -> RevocationList:
    """Return where revocations are followed: the database itself, or Redis before it."""
    stored = SqlRevocationList(database)
    if settings.redis_url is None:
        return stored
    # Not loaded where there is no Redis.
    from keyturn.adapters.redis.revocations import RedisRevocationList  # noqa: PLC0415

    return RedisRevocationList(
        settings.redis_url.get_secret_value(),
        stored,
        clock,
        max_staleness=settings.revocation_max_staleness,
    )


def _feed(redis_url: SecretStr | None, followed: RevocationList) -> RevocationFeed | None:
    """Return what a unit of work tells its revocations besides the database."""
    if redis_url is None:
        return None
    from keyturn.adapters.redis.revocations import RedisRevocationList  # noqa: PLC0415

    return followed if isinstance(followed, RedisRevocationList) else None


def _units_of_work(
    database: Database,
    apply: RevocationCallback,
    feed: RevocationFeed | None,
    count: EventCounter,
) -> UnitOfWorkFactory:
    """Return what makes units of work that are counted."""
    return lambda: CountingUnitOfWork(SqlUnitOfWork(database, apply, feed), count)


def _made_by(make: UnitOfWorkFactory) -> UnitOfWork:
    return make()


def _resources(settings: Settings) -> Resources:
    """Return the resources that access tokens are issued for."""
    return Resources(
        issuer=settings.issuer,
        default_audience=settings.audience,
        declared=load_resources(
            settings.used_resources_file, required=settings.names_resources_file
        ),
        recent_login=settings.recent_login,
    )


def _imported_hashes(wanted: bool) -> "ImportedHashes | None":
    if not wanted:
        return None
    from keyturn.adapters.imported_hashes.hashes import ImportedHashes  # noqa: PLC0415

    return ImportedHashes()


def _if_taken(settings: Settings, proofs: PyJwtProofChecker) -> PyJwtProofChecker | None:
    return proofs if settings.takes_proofs else None


def _range_lookup(url: str | None) -> "RangeLookup | None":
    if url is None:
        return None
    from keyturn.adapters.range_lookup.breached_passwords import RangeLookup  # noqa: PLC0415

    return RangeLookup(url)


def _mailer(settings: Settings, clock: Clock) -> Mailer:
    """Return how mails are sent."""
    if settings.mail == "console":
        return ConsoleMailer()
    from keyturn.adapters.smtp.mailer import SmtpMailer, SmtpTls  # noqa: PLC0415

    password = settings.smtp_password
    return SmtpMailer(
        sender=settings.mail_from or "",
        host=settings.smtp_host or "",
        clock=clock,
        port=settings.smtp_port,
        tls=SmtpTls(settings.smtp_tls),
        username=settings.smtp_username,
        password=None if password is None else Secret(password.get_secret_value()),
        timeout=settings.smtp_timeout,
    )


def _throttle_windows(redis_url: SecretStr | None, database: Database) -> "Windows":
    """Return where attempts are counted: in Redis, or in the database."""
    if redis_url is None:
        from keyturn.adapters.sqlalchemy.throttle_storage import (  # noqa: PLC0415
            SqlThrottleWindows,
        )

        return SqlThrottleWindows(database)
    from keyturn.adapters.limits.redis_windows import RedisWindows  # noqa: PLC0415

    return RedisWindows(redis_url.get_secret_value())


def _throttle(settings: Settings, windows: "Callable[[], Windows]") -> Throttle:
    """Return who counts attempts, or lets everybody try as often as they like."""
    if settings.throttle == "off":
        return Unthrottled()
    from keyturn.adapters.limits.throttle import (  # noqa: PLC0415
        DEFAULT_RATES,
        LimitsThrottle,
        Rates,
    )

    rates = dict(DEFAULT_RATES) | {
        action: replace(DEFAULT_RATES[action], per_source=Rates.parse(text).per_source)
        for action, text in settings.throttle_rates().items()
    }
    return LimitsThrottle(windows(), rates)


class Container(containers.DeclarativeContainer):
    """The whole service from its settings: `Container(settings=...).services()`.

    To swap an adapter, change its line here, or override it: `container.clock.override(...)`.
    """

    settings = providers.Dependency(instance_of=Settings)

    # Policies: what a deployment chose, as the core sees it.
    session_policy = providers.Singleton(Settings.session_policy, settings)
    password_policy = providers.Singleton(Settings.password_policy, settings)
    login_policy = providers.Singleton(Settings.login_policy, settings)
    one_time_token_policy = providers.Singleton(Settings.one_time_token_policy, settings)
    resources = providers.Singleton(_resources, settings)
    argon2_parameters = providers.Singleton(
        Argon2Parameters,
        time_cost=settings.provided.argon2_time_cost,
        memory_kib=settings.provided.argon2_memory_kib,
        parallelism=settings.provided.argon2_parallelism,
    )

    # Adapters: one line a port.
    clock = providers.Singleton(SystemClock)
    ids = providers.Singleton(UuidGenerator)
    database = providers.Singleton(
        Database,
        settings.provided.used_database_url,
        pool_size=settings.provided.database_pool_size,
    )
    revocation_list = providers.Singleton(_followed_list, settings, database, clock)
    revocation_feed = providers.Callable(_feed, settings.provided.redis_url, revocation_list)
    deployment_record = providers.Singleton(SqlDeploymentRecord, database)
    revocations = providers.Singleton(
        RevocationReplica,
        revocation_list,
        clock,
        settings.provided.revocation_max_staleness,
    )
    hasher = providers.Singleton(
        Argon2PasswordHasher,
        argon2_parameters,
        threads=settings.provided.hashing_threads,
        queue_size=settings.provided.hashing_queue,
        imported=providers.Callable(_imported_hashes, settings.provided.imported_hashes),
    )
    metrics = providers.Singleton(PrometheusMetrics, hasher, revocations)
    # Every request makes some: what they are made of is looked up once.
    units_of_work = providers.Singleton(
        _units_of_work,
        database,
        revocations.provided.apply,
        revocation_feed,
        metrics.provided.count_event,
    )
    unit_of_work = providers.Callable(_made_by, units_of_work)
    housekeeping = providers.Singleton(SqlHousekeeping, database)
    blocklist = providers.Singleton(CommonPasswords)
    breached_passwords = providers.Singleton(_range_lookup, settings.provided.breach_url)
    strength_estimator = providers.Singleton(ZxcvbnEstimator)
    clients = providers.Singleton(
        FileClients,
        settings.provided.used_clients_file,
        required=settings.provided.names_clients_file,
    )
    keys = providers.Singleton(
        FollowedKeys,
        settings.provided.used_keys_dir,
        providers.Callable(SigningAlgorithm, settings.provided.algorithm),
        clock,
    )
    codec = providers.Singleton(
        PyJwtCodec,
        keys,
        issuer=settings.provided.issuer,
    )

    proofs = providers.Singleton(
        PyJwtProofChecker, keys, asks_for_nonce=settings.provided.asks_for_nonce
    )

    throttle_windows = providers.Singleton(_throttle_windows, settings.provided.redis_url, database)
    throttle = providers.Singleton(_throttle, settings, throttle_windows.provider)
    mail_queue = providers.Singleton(SqlMailQueue, database)
    letter_writer = providers.Singleton(
        JinjaLetterWriter,
        service_name=settings.provided.service_name,
        verify_url=settings.provided.used_verify_email_url,
        reset_url=settings.provided.used_reset_password_url,
        folder=settings.provided.mail_templates,
    )
    mailer = providers.Singleton(_mailer, settings, clock)

    # Use-cases, and what they share.
    new_password_rules = providers.Singleton(
        NewPasswordRules,
        password_policy,
        blocklist,
        breached_passwords,
        service_name=settings.provided.service_name,
    )
    tokens = providers.Singleton(
        TokenIssuer,
        codec,
        ids,
        session_policy,
        settings.provided.token_claims,
        deployment_record,
    )
    audiences = providers.Singleton(Audiences, resources, clients)
    current_password = providers.Singleton(
        CurrentPassword,
        unit_of_work.provider,
        hasher,
        clock,
        ids,
        password_policy,
        login_policy,
        throttle,
    )
    check_proof = providers.Singleton(
        CheckProof, providers.Callable(_if_taken, settings, proofs), clock
    )
    register_user = providers.Singleton(
        RegisterUser, unit_of_work.provider, hasher, new_password_rules, clock, ids, throttle
    )
    login_user = providers.Singleton(
        LoginUser,
        unit_of_work.provider,
        hasher,
        codec,
        tokens,
        audiences,
        clock,
        ids,
        password_policy,
        session_policy,
        login_policy,
        throttle,
        check_proof,
    )
    rotate_refresh = providers.Singleton(
        CountingRotateRefresh,
        providers.Singleton(
            RotateRefresh,
            unit_of_work.provider,
            codec,
            tokens,
            audiences,
            clock,
            ids,
            session_policy,
            throttle,
            check_proof,
        ),
        metrics.provided.count_refresh,
    )
    revoke_family = providers.Singleton(RevokeFamily, unit_of_work.provider, codec, clock, ids)
    revoke_all_families = providers.Singleton(RevokeAllFamilies, unit_of_work.provider, clock, ids)
    authenticate_access = providers.Singleton(
        AuthenticateAccess,
        codec,
        revocations,
        clock,
        providers.Callable(_if_taken, settings, proofs),
        rule=resources.provided.ordinary,
    )
    reauthenticate = providers.Singleton(
        Reauthenticate, unit_of_work.provider, current_password, tokens, audiences, clock, ids
    )
    load_user = providers.Singleton(LoadUser, unit_of_work.provider)
    update_profile = providers.Singleton(UpdateProfile, unit_of_work.provider, clock, ids)
    change_password = providers.Singleton(
        ChangePassword,
        unit_of_work.provider,
        hasher,
        current_password,
        new_password_rules,
        clock,
        ids,
    )
    list_sessions = providers.Singleton(ListSessions, unit_of_work.provider, clock)
    end_session = providers.Singleton(EndSession, unit_of_work.provider, clock, ids)

    estimate_strength = providers.Singleton(
        EstimateStrength, strength_estimator, new_password_rules, password_policy, throttle
    )

    # What people do by mail, and how they leave.
    request_email_verification = providers.Singleton(
        RequestEmailVerification, unit_of_work.provider, clock, ids, throttle
    )
    request_email_change = providers.Singleton(
        RequestEmailChange, unit_of_work.provider, current_password, clock, ids, throttle
    )
    confirm_email = providers.Singleton(ConfirmEmail, unit_of_work.provider, clock, ids, throttle)
    request_password_reset = providers.Singleton(
        RequestPasswordReset, unit_of_work.provider, clock, ids, throttle
    )
    reset_password = providers.Singleton(
        ResetPassword,
        unit_of_work.provider,
        hasher,
        new_password_rules,
        clock,
        ids,
        throttle,
    )
    deliver_mail = providers.Singleton(
        DeliverMail,
        mail_queue,
        unit_of_work.provider,
        letter_writer,
        providers.Singleton(CountingMailer, mailer, metrics.provided.count_mail),
        clock,
        ids,
        one_time_token_policy,
        throttle,
        providers.Object(log_failed_mail),
    )
    export_account = providers.Singleton(ExportAccount, unit_of_work.provider, clock, ids, throttle)
    delete_account = providers.Singleton(
        DeleteAccount,
        unit_of_work.provider,
        clock,
        ids,
        settings.provided.deletion_grace,
    )
    erase_user = providers.Singleton(EraseUser, unit_of_work.provider, clock, ids)
    erase_due_users = providers.Singleton(EraseDueUsers, unit_of_work.provider, clock, ids)

    # OAuth clients.
    authenticate_client = providers.Singleton(AuthenticateClient, clients)
    introspect_token = providers.Singleton(
        IntrospectToken, unit_of_work.provider, codec, revocations, clock, resources
    )
    revoke_token = providers.Singleton(
        RevokeToken,
        unit_of_work.provider,
        codec,
        revocations,
        revoke_family,
        clock,
        ids,
        resources,
    )
    list_revocations = providers.Singleton(ListRevocations, revocation_list, clock)

    # Administration.
    resolve_permissions = providers.Singleton(
        ResolvePermissions,
        unit_of_work.provider,
        clock,
        settings.provided.permissions_remembered,
    )
    import_user = providers.Singleton(ImportUser, unit_of_work.provider, hasher, clock, ids)
    list_users = providers.Singleton(ListUsers, unit_of_work.provider)
    get_user = providers.Singleton(GetUser, unit_of_work.provider)
    change_user = providers.Singleton(ChangeUser, unit_of_work.provider, clock, ids)
    assign_roles = providers.Singleton(AssignRoles, unit_of_work.provider, clock, ids)
    list_roles = providers.Singleton(ListRoles, unit_of_work.provider)
    define_role = providers.Singleton(DefineRole, unit_of_work.provider, clock, ids)
    delete_role = providers.Singleton(DeleteRole, unit_of_work.provider, clock, ids)
    list_audit_events = providers.Singleton(ListAuditEvents, unit_of_work.provider)
    purge_expired = providers.Singleton(
        PurgeExpired,
        housekeeping,
        clock,
        settings.provided.sessions_kept,
        settings.provided.audit_kept,
    )

    # What the processes of a deployment know of each other.
    record_deployment = providers.Singleton(
        RecordDeployment, deployment_record, session_policy, revocation_feed
    )
    compare_feeds = providers.Singleton(CompareFeeds, deployment_record, revocation_feed)

    # What time asks for.
    follow_revocations = providers.Singleton(
        FollowRevocations,
        revocations,
        settings.provided.revocation_lag,
        settings.provided.revocation_max_staleness,
    )
    purge_regularly = providers.Singleton(
        PurgeRegularly,
        purge_expired,
        erase_due_users,
        housekeeping,
        clock,
        providers.Callable(_this_process),
    )
    deliver_mail_regularly = providers.Singleton(DeliverMailRegularly, deliver_mail)

    # What the command line is handed. Attempts of the operator are not counted.
    administration = providers.Singleton(
        Administration,
        register_user=providers.Singleton(
            RegisterUser,
            unit_of_work.provider,
            hasher,
            new_password_rules,
            clock,
            ids,
            providers.Singleton(Unthrottled),
        ),
        import_user=import_user,
        get_user=get_user,
        list_users=list_users,
        change_user=change_user,
        assign_roles=assign_roles,
        define_role=define_role,
        list_sessions=list_sessions,
        end_session=end_session,
        revoke_all_families=revoke_all_families,
        erase_user=erase_user,
        erase_due_users=erase_due_users,
        purge_expired=purge_expired,
        list_mails=providers.Singleton(ListMails, mail_queue),
        retry_mail=providers.Singleton(RetryMail, mail_queue, clock),
        take_over_account=providers.Singleton(
            TakeOverAccount, unit_of_work.provider, hasher, new_password_rules, clock, ids
        ),
    )

    # What the HTTP delivery is handed.
    http_options = providers.Singleton(
        HttpOptions,
        secure_cookies=settings.provided.secure_cookies,
        allowed_origins=settings.provided.cors_origins,
        trusted_proxies=settings.provided.trusted_proxies,
        password_grant=settings.provided.password_grant,
        issuer=settings.provided.issuer,
        dpop=settings.provided.takes_proofs,
        max_body_bytes=settings.provided.max_body_bytes,
    )
    services = providers.Singleton(
        Services,
        register_user=register_user,
        login_user=login_user,
        rotate_refresh=rotate_refresh,
        revoke_family=revoke_family,
        revoke_all_families=revoke_all_families,
        authenticate_access=authenticate_access,
        reauthenticate=reauthenticate,
        resources=resources,
        load_user=load_user,
        update_profile=update_profile,
        change_password=change_password,
        list_sessions=list_sessions,
        end_session=end_session,
        estimate_strength=estimate_strength,
        request_email_verification=request_email_verification,
        request_email_change=request_email_change,
        confirm_email=confirm_email,
        request_password_reset=request_password_reset,
        reset_password=reset_password,
        export_account=export_account,
        delete_account=delete_account,
        erase_user=erase_user,
        resolve_permissions=resolve_permissions,
        list_users=list_users,
        get_user=get_user,
        change_user=change_user,
        assign_roles=assign_roles,
        list_roles=list_roles,
        define_role=define_role,
        delete_role=delete_role,
        list_audit_events=list_audit_events,
        authenticate_client=authenticate_client,
        introspect_token=introspect_token,
        revoke_token=revoke_token,
        list_revocations=list_revocations,
        check_proof=check_proof,
        record_refusal=providers.Singleton(
            RecordRefusal, unit_of_work.provider, clock, ids, throttle
        ),
        readiness=providers.Dict(
            database=database.provided.ping,
            migrations=providers.Callable(partial, require_newest_schema, database),
            revocations=follow_revocations.provided.check,
        ),
    )
