"""What happened is written down with the change, and holds no secret."""

import pytest

from keyturn.domain.errors import (
    InvalidCredentials,
    InvalidRefreshToken,
    KeyturnError,
    StoreUnavailable,
)
from keyturn.domain.events import AuditEvent, AuditEventType, LoginFailure, Origin
from keyturn.domain.secret import Secret
from keyturn.domain.user import UserStatus
from keyturn.ports.persistence import AuditFilter
from keyturn.testing.builders import make_principal
from keyturn.testing.in_memory import ADA, PASSWORD, InMemoryKeyturn
from keyturn.use_cases.assign_roles import AssignRolesCommand
from keyturn.use_cases.change_password import ChangePasswordCommand
from keyturn.use_cases.change_user import ChangeUserCommand
from keyturn.use_cases.define_role import DefineRoleCommand
from keyturn.use_cases.delete_role import DeleteRoleCommand
from keyturn.use_cases.list_audit_events import ListAuditEventsQuery
from keyturn.use_cases.login_user import LoginUserCommand
from keyturn.use_cases.register_user import RegisterUserCommand
from keyturn.use_cases.revoke_all_families import RevokeAllFamiliesCommand
from keyturn.use_cases.rotate_refresh import RotateRefreshCommand
from keyturn.use_cases.update_profile import UpdateProfileCommand

ORIGIN = Origin("192.0.2.1", "agent/1.0", "request-1")


def events(keyturn: InMemoryKeyturn) -> list[AuditEvent]:
    return [event for _, event in sorted(keyturn.store.audit_events.items())]


def types(keyturn: InMemoryKeyturn) -> list[AuditEventType]:
    return [event.type for event in events(keyturn)]


async def test_a_login_tells_who_from_where_and_by_which_request(
    keyturn: InMemoryKeyturn,
) -> None:
    user = await keyturn.register()
    tokens = await keyturn.login_user.execute(LoginUserCommand(ADA, PASSWORD, origin=ORIGIN))
    event = events(keyturn)[-1]
    assert event.type is AuditEventType.LOGIN_SUCCEEDED
    assert (event.actor, event.subject, event.session) == (user.id, user.id, tokens.session_id)
    assert (event.origin, event.at) == (ORIGIN, keyturn.clock.now())


async def test_a_failed_login_tells_the_operator_the_reason_that_the_caller_never_learns(
    keyturn: InMemoryKeyturn,
) -> None:
    await keyturn.register()
    eve = await keyturn.register("eve@example.com")
    await keyturn.set_status(eve, UserStatus.DISABLED)
    for email, password, reason in [
        ("nobody@example.com", PASSWORD, LoginFailure.UNKNOWN_EMAIL),
        (ADA, Secret("not the right password"), LoginFailure.WRONG_PASSWORD),
        ("eve@example.com", PASSWORD, LoginFailure.USER_DISABLED),
    ]:
        with pytest.raises(InvalidCredentials) as failure:
            await keyturn.login(email, password)
        assert reason.value not in failure.value.detail
        event = events(keyturn)[-1]
        assert (event.type, event.actor) == (AuditEventType.LOGIN_FAILED, None)
        assert event.details == {"reason": reason}


async def test_a_plain_rotation_is_not_noted_and_a_replay_and_a_reuse_are(
    keyturn: InMemoryKeyturn,
) -> None:
    await keyturn.register()
    tokens = await keyturn.login()
    before = len(events(keyturn))
    command = RotateRefreshCommand(tokens.refresh_token, ORIGIN)
    await keyturn.rotate_refresh.execute(command)
    assert len(events(keyturn)) == before
    await keyturn.rotate_refresh.execute(command)
    keyturn.advance(minutes=1)
    with pytest.raises(InvalidRefreshToken):
        await keyturn.rotate_refresh.execute(command)
    assert types(keyturn)[before:] == [
        AuditEventType.REFRESH_REPLAYED,
        AuditEventType.REUSE_DETECTED,
    ]
    assert {event.origin for event in events(keyturn)[before:]} == {ORIGIN}


async def test_every_change_is_noted_with_its_actor_and_subject(keyturn: InMemoryKeyturn) -> None:
    await keyturn.register("root@example.com", verified=True)
    root_tokens = await keyturn.login("root@example.com")
    await keyturn.assign_roles.execute(
        AssignRolesCommand(root_tokens.user_id, frozenset({"admin", "user"}), actor=None)
    )
    root_tokens = (await keyturn.refresh(root_tokens.refresh_token)).tokens
    root = keyturn.authenticate_access.execute(root_tokens.access_token)
    ada = await keyturn.register()
    tokens = await keyturn.login()
    before = len(events(keyturn))
    await keyturn.change_password.execute(
        ChangePasswordCommand(ada.id, tokens.session_id, PASSWORD, Secret("another long password"))
    )
    await keyturn.logout(tokens.refresh_token)
    await keyturn.logout(tokens.refresh_token)
    await keyturn.revoke_all_families.execute(
        RevokeAllFamiliesCommand(ada.id, make_principal(root.user_id))
    )
    await keyturn.define_role.execute(DefineRoleCommand("writer", frozenset(), root))
    await keyturn.assign_roles.execute(AssignRolesCommand(ada.id, frozenset({"writer"}), root))
    await keyturn.delete_role.execute(DeleteRoleCommand("writer", root))
    for status in (UserStatus.DISABLED, UserStatus.ACTIVE):
        await keyturn.change_user.execute(ChangeUserCommand(ada.id, root, status=status))
    assert [(e.type.value, e.actor, e.subject) for e in events(keyturn)[before:]] == [
        ("password_changed", ada.id, ada.id),
        ("session_revoked", ada.id, ada.id),
        ("all_sessions_revoked", root.user_id, ada.id),
        ("role_defined", root.user_id, None),
        ("roles_changed", root.user_id, ada.id),
        ("role_deleted", root.user_id, None),
        ("user_disabled", root.user_id, ada.id),
        ("user_enabled", root.user_id, ada.id),
    ]
    roles_changed = events(keyturn)[before + 4]
    assert roles_changed.details == {"from": "user", "to": "writer"}


async def test_an_event_tells_in_which_session_it_was_done(keyturn: InMemoryKeyturn) -> None:
    both = frozenset({"user", "admin"})
    await keyturn.register_user.execute(
        RegisterUserCommand(ADA, PASSWORD, roles=both, email_is_verified=True)
    )
    eve = await keyturn.register("eve@example.com")
    tokens = await keyturn.login()
    root = keyturn.authenticate_access.execute(tokens.access_token)
    before = len(events(keyturn))
    await keyturn.define_role.execute(DefineRoleCommand("writer", frozenset(), root))
    await keyturn.assign_roles.execute(AssignRolesCommand(eve.id, frozenset({"writer"}), root))
    await keyturn.delete_role.execute(DeleteRoleCommand("writer", root))
    await keyturn.change_user.execute(ChangeUserCommand(eve.id, root, UserStatus.DISABLED))
    await keyturn.update_profile.execute(
        UpdateProfileCommand(root.user_id, "Ada", root.session_id, ORIGIN)
    )
    for user_id in (eve.id, root.user_id):
        await keyturn.revoke_all_families.execute(RevokeAllFamiliesCommand(user_id, root))
    assert [event.type.value for event in events(keyturn)[before:]] == [
        "role_defined",
        "roles_changed",
        "role_deleted",
        "user_disabled",
        "profile_changed",
        "all_sessions_revoked",
        "all_sessions_revoked",
    ]
    assert {event.session for event in events(keyturn)[before:]} == {root.session_id}
    profile_changed = events(keyturn)[before + 4]
    assert (profile_changed.actor, profile_changed.subject) == (root.user_id, root.user_id)
    assert profile_changed.origin == ORIGIN


async def test_a_profile_that_stays_as_it_is_is_no_event(keyturn: InMemoryKeyturn) -> None:
    user = await keyturn.register()
    tokens = await keyturn.login()
    before = len(events(keyturn))
    same = UpdateProfileCommand(user.id, user.display_name, tokens.session_id)
    assert (await keyturn.update_profile.execute(same)).display_name == user.display_name
    assert len(events(keyturn)) == before


async def test_a_registration_tells_which_roles_came_with_it(keyturn: InMemoryKeyturn) -> None:
    both = frozenset({"user", "admin"})
    await keyturn.register_user.execute(
        RegisterUserCommand(ADA, PASSWORD, roles=both, email_is_verified=True)
    )
    assert events(keyturn)[-1].details == {"roles": "admin user"}


async def test_a_change_that_fails_is_not_noted(keyturn: InMemoryKeyturn) -> None:
    await keyturn.register()
    before = len(events(keyturn))
    with pytest.raises(KeyturnError):
        await keyturn.register()
    assert len(events(keyturn)) == before


async def test_no_event_holds_a_password_a_token_or_a_hash(keyturn: InMemoryKeyturn) -> None:
    user = await keyturn.register()
    tokens = await keyturn.login()
    with pytest.raises(InvalidCredentials):
        await keyturn.login(password=Secret("a canary in the coal mine"))
    await keyturn.refresh(tokens.refresh_token)
    await keyturn.refresh(tokens.refresh_token)
    await keyturn.change_password.execute(
        ChangePasswordCommand(user.id, tokens.session_id, PASSWORD, Secret("another long password"))
    )
    written = repr(events(keyturn))
    for secret in [
        PASSWORD.reveal(),
        "a canary in the coal mine",
        "another long password",
        tokens.refresh_token.reveal(),
        tokens.access_token.reveal(),
        user.password_hash,
    ]:
        assert secret not in written


async def test_events_are_listed_latest_first_page_by_page_and_filtered(
    keyturn: InMemoryKeyturn,
) -> None:
    ada = await keyturn.register()
    await keyturn.register("eve@example.com")
    for _ in range(3):
        await keyturn.login()
    first = await keyturn.list_audit_events.execute(ListAuditEventsQuery(limit=2))
    rest = await keyturn.list_audit_events.execute(ListAuditEventsQuery(before=first.next_before))
    assert first.events + rest.events == events(keyturn)[::-1]
    assert rest.next_before is None
    logins = await keyturn.list_audit_events.execute(
        ListAuditEventsQuery(
            AuditFilter(type=AuditEventType.LOGIN_SUCCEEDED, actor=ada.id, subject=ada.id)
        )
    )
    assert len(logins.events) == 3


async def test_a_store_that_cannot_note_a_failed_login_says_so_and_lets_nobody_in() -> None:
    keyturn = InMemoryKeyturn()
    await keyturn.register()

    class ReadOnly(type(keyturn.unit_of_work())):  # type: ignore[misc]  # the base is made at run time
        async def commit(self) -> None:
            raise StoreUnavailable

    broken = InMemoryKeyturn(unit_of_work=lambda: ReadOnly(keyturn.store))
    for password in (PASSWORD, Secret("not the right password")):
        with pytest.raises(StoreUnavailable):
            await broken.login(password=password)
