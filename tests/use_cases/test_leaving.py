"""Somebody wants their account to be gone, and what is stored of them before."""

import asyncio

import pytest

from keyturn.domain.errors import (
    InvalidAccessToken,
    InvalidCredentials,
    InvalidRefreshToken,
    LastAdministrator,
    PermissionDenied,
    UserNotFound,
)
from keyturn.domain.events import AuditEventType, Origin
from keyturn.domain.mail import MailKind
from keyturn.domain.principal import Principal
from keyturn.domain.secret import Secret
from keyturn.domain.user import ADMIN_ROLE, User, UserStatus
from keyturn.testing.builders import make_event
from keyturn.testing.in_memory import ADA, PASSWORD, InMemoryKeyturn
from keyturn.use_cases.change_user import ChangeUserCommand
from keyturn.use_cases.define_role import DefineRoleCommand
from keyturn.use_cases.delete_account import DeleteAccountCommand
from keyturn.use_cases.erase_user import EraseUserCommand
from keyturn.use_cases.export_account import MAX_EVENTS, ExportAccountCommand
from keyturn.use_cases.login_user import LoginUserCommand
from keyturn.use_cases.register_user import RegisterUserCommand
from keyturn.use_cases.token_pair import TokenPair

HOME = Origin("203.0.113.7", "a browser", "request-1")
OFFICE = Origin("198.51.100.1", "an office", "request-2")


async def log_in(keyturn: InMemoryKeyturn, email: str = ADA) -> TokenPair:
    return await keyturn.login_user.execute(LoginUserCommand(email, PASSWORD, origin=HOME))


async def leave(keyturn: InMemoryKeyturn, tokens: TokenPair) -> User:
    return await keyturn.delete_account.execute(
        DeleteAccountCommand(tokens.user_id, tokens.session_id, HOME)
    )


async def administrator(keyturn: InMemoryKeyturn, email: str = "root@example.com") -> Principal:
    await keyturn.register_user.execute(
        RegisterUserCommand(
            email, PASSWORD, roles=frozenset({"user", "admin"}), email_is_verified=True
        )
    )
    tokens = await keyturn.login(email)
    return keyturn.authenticate_access.execute(tokens.access_token)


def events_of(keyturn: InMemoryKeyturn, user: User) -> list[AuditEventType]:
    return [e.type for e in keyturn.store.audit_events.values() if e.subject == user.id]


async def test_who_leaves_is_logged_out_everywhere_at_once_and_told_by_mail(
    keyturn: InMemoryKeyturn,
) -> None:
    await keyturn.register()
    tokens = await log_in(keyturn)
    leaving = await leave(keyturn, tokens)
    assert leaving.status is UserStatus.DELETING
    with pytest.raises(InvalidAccessToken):
        keyturn.authenticate_access.execute(tokens.access_token)
    with pytest.raises(InvalidRefreshToken):
        await keyturn.refresh(tokens.refresh_token)
    assert MailKind.DELETION_SCHEDULED in {mail.kind for mail in keyturn.store.mails.values()}


async def test_a_login_within_the_time_of_grace_takes_it_back(keyturn: InMemoryKeyturn) -> None:
    user = await keyturn.register()
    await leave(keyturn, await log_in(keyturn))
    keyturn.advance(days=13)
    await log_in(keyturn)
    stored = keyturn.store.users[user.id]
    assert (stored.status, stored.deletion_due_at) == (UserStatus.ACTIVE, None)
    assert AuditEventType.DELETION_CANCELLED in events_of(keyturn, user)
    keyturn.advance(days=2)
    assert await keyturn.erase_due_users.execute() == 0


async def test_taking_it_back_brings_no_session_back(keyturn: InMemoryKeyturn) -> None:
    await keyturn.register()
    before = await log_in(keyturn)
    await leave(keyturn, before)
    await log_in(keyturn)
    with pytest.raises(InvalidRefreshToken):
        await keyturn.refresh(before.refresh_token)


async def test_when_it_is_due_nothing_personal_is_left_but_what_happened_is(
    keyturn: InMemoryKeyturn,
) -> None:
    user = await keyturn.register()
    with pytest.raises(InvalidCredentials):
        await keyturn.login_user.execute(
            LoginUserCommand(ADA, Secret("a wrong guess, perhaps"), origin=HOME)
        )
    await leave(keyturn, await log_in(keyturn))
    happened = events_of(keyturn, user)
    keyturn.advance(days=14)
    with pytest.raises(InvalidCredentials):
        await log_in(keyturn)
    keyturn.advance(days=1)
    assert await keyturn.erase_due_users.execute() == 1
    store = keyturn.store
    assert (store.users, store.families, store.one_time_tokens) == ({}, {}, {})
    assert [mail.kind for mail in store.mails.values()] == [MailKind.ACCOUNT_ERASED]
    assert events_of(keyturn, user) == [
        *happened,
        AuditEventType.LOGIN_FAILED,
        AuditEventType.USER_ERASED,
    ]
    assert {e.origin for e in store.audit_events.values() if e.subject == user.id} == {Origin()}
    store.mails.clear()
    assert ADA not in repr(store)
    assert HOME.ip is not None
    assert HOME.ip not in repr(store)
    assert (await keyturn.register()).id != user.id


async def test_an_access_token_from_before_dies_with_the_user(keyturn: InMemoryKeyturn) -> None:
    user = await keyturn.register()
    tokens = await log_in(keyturn)
    await keyturn.erase_user.execute(EraseUserCommand(user.id, None))
    with pytest.raises(InvalidAccessToken):
        keyturn.authenticate_access.execute(tokens.access_token)
    with pytest.raises(InvalidRefreshToken):
        await keyturn.refresh(tokens.refresh_token)


async def test_an_administrator_cuts_the_time_of_grace_short_and_where_they_are_stays_known(
    keyturn: InMemoryKeyturn,
) -> None:
    admin = await administrator(keyturn)
    user = await keyturn.register()
    await leave(keyturn, await log_in(keyturn))
    await keyturn.erase_user.execute(EraseUserCommand(user.id, admin, OFFICE))
    assert user.id not in keyturn.store.users
    [erased] = [
        e for e in keyturn.store.audit_events.values() if e.type is AuditEventType.USER_ERASED
    ]
    assert (erased.actor, erased.subject, erased.origin) == (admin.user_id, user.id, OFFICE)
    with pytest.raises(UserNotFound):
        await keyturn.erase_user.execute(EraseUserCommand(user.id, admin, OFFICE))


async def test_an_administrator_takes_a_deletion_back_by_making_the_user_active(
    keyturn: InMemoryKeyturn,
) -> None:
    user = await keyturn.register()
    await leave(keyturn, await log_in(keyturn))
    changed = await keyturn.change_user.execute(
        ChangeUserCommand(user.id, None, status=UserStatus.ACTIVE)
    )
    assert changed.deletion_due_at is None


async def test_who_is_disabled_while_leaving_is_erased_all_the_same(
    keyturn: InMemoryKeyturn,
) -> None:
    user = await keyturn.register()
    await leave(keyturn, await log_in(keyturn))
    await keyturn.change_user.execute(ChangeUserCommand(user.id, None, status=UserStatus.DISABLED))
    with pytest.raises(InvalidCredentials):
        await log_in(keyturn)
    keyturn.advance(days=14)
    assert await keyturn.erase_due_users.execute() == 1


async def test_the_last_administrator_stays(keyturn: InMemoryKeyturn) -> None:
    admin = await administrator(keyturn)
    with pytest.raises(LastAdministrator):
        await keyturn.delete_account.execute(
            DeleteAccountCommand(admin.user_id, admin.session_id, HOME)
        )
    with pytest.raises(LastAdministrator):
        await keyturn.erase_user.execute(EraseUserCommand(admin.user_id, None))
    assert admin.user_id in keyturn.store.users


async def test_of_two_administrators_who_leave_at_once_one_stays(keyturn: InMemoryKeyturn) -> None:
    both = [await administrator(keyturn, f"root{number}@example.com") for number in (1, 2)]
    results = await asyncio.gather(
        *(
            keyturn.delete_account.execute(DeleteAccountCommand(one.user_id, one.session_id))
            for one in both
        ),
        return_exceptions=True,
    )
    assert sum(isinstance(result, LastAdministrator) for result in results) == 1


async def test_who_may_change_users_erases_nobody_who_may_do_more(
    keyturn: InMemoryKeyturn,
) -> None:
    admin = await administrator(keyturn)
    await keyturn.define_role.execute(
        DefineRoleCommand("clerk", frozenset({"users:write"}), admin, Origin())
    )
    await keyturn.register_user.execute(
        RegisterUserCommand("clerk@example.com", PASSWORD, roles=frozenset({"user", "clerk"}))
    )
    tokens = await keyturn.login("clerk@example.com")
    clerk = keyturn.authenticate_access.execute(tokens.access_token)
    user = await keyturn.register()
    with pytest.raises(PermissionDenied):
        await keyturn.erase_user.execute(EraseUserCommand(admin.user_id, clerk))
    await keyturn.erase_user.execute(EraseUserCommand(user.id, clerk))
    assert user.id not in keyturn.store.users


async def test_who_may_change_users_erases_nobody_with_another_permission_or_the_role_admin(
    keyturn: InMemoryKeyturn,
) -> None:
    admin = await administrator(keyturn)
    every = await keyturn.define_role.execute(
        DefineRoleCommand("deputy", ADMIN_ROLE.permissions, admin, Origin())
    )
    await keyturn.define_role.execute(
        DefineRoleCommand("author", frozenset({"posts:write"}), admin, Origin())
    )
    for name, role in (("deputy@example.com", every.name), ("author@example.com", "author")):
        await keyturn.register_user.execute(
            RegisterUserCommand(name, PASSWORD, roles=frozenset({role}))
        )
    deputy = keyturn.authenticate_access.execute(
        (await keyturn.login("deputy@example.com")).access_token
    )
    author = (await keyturn.login("author@example.com")).user_id
    for target in (admin.user_id, author):
        with pytest.raises(PermissionDenied):
            await keyturn.erase_user.execute(EraseUserCommand(target, deputy))


async def test_a_user_without_the_permission_erases_nobody_and_learns_nothing(
    keyturn: InMemoryKeyturn,
) -> None:
    user = await keyturn.register()
    tokens = await log_in(keyturn)
    eve = keyturn.authenticate_access.execute(tokens.access_token)
    for target in (user.id, keyturn.ids.user_id()):
        with pytest.raises(PermissionDenied):
            await keyturn.erase_user.execute(EraseUserCommand(target, eve))


async def test_a_login_that_races_the_erasure_either_keeps_the_user_or_fails(
    keyturn: InMemoryKeyturn,
) -> None:
    user = await keyturn.register()
    leaving = await leave(keyturn, await log_in(keyturn))
    assert leaving.deletion_due_at is not None
    login, _ = await asyncio.gather(
        log_in(keyturn),
        keyturn.erase_user.execute(EraseUserCommand(user.id, None)),
        return_exceptions=True,
    )
    if isinstance(login, TokenPair):
        with pytest.raises(InvalidRefreshToken):
            await keyturn.refresh(login.refresh_token)
    assert user.id not in keyturn.store.users


async def test_an_export_holds_all_of_ones_own_and_nothing_of_others(
    keyturn: InMemoryKeyturn,
) -> None:
    admin = await administrator(keyturn)
    user = await keyturn.register()
    ended = await log_in(keyturn)
    await keyturn.logout(ended.refresh_token)
    await keyturn.change_user.execute(
        ChangeUserCommand(user.id, admin, rename=True, display_name="Ada", origin=OFFICE)
    )
    tokens = await log_in(keyturn)
    export = await keyturn.export_account.execute(
        ExportAccountCommand(user.id, tokens.session_id, HOME)
    )
    assert export.user.display_name == "Ada"
    assert [session.id for session in export.sessions] == [tokens.session_id, ended.session_id]
    types = [event.type for event in export.events]
    assert AuditEventType.USER_REGISTERED in types
    [renamed] = [e for e in export.events if e.type is AuditEventType.PROFILE_CHANGED]
    assert (renamed.actor, renamed.session, renamed.origin) == (None, None, Origin())
    assert OFFICE not in {event.origin for event in export.events}
    assert AuditEventType.DATA_EXPORTED in events_of(keyturn, user)


async def test_a_disabled_user_exports_nothing(keyturn: InMemoryKeyturn) -> None:
    user = await keyturn.register()
    tokens = await log_in(keyturn)
    await keyturn.set_status(user, UserStatus.DISABLED)
    with pytest.raises(InvalidAccessToken):
        await keyturn.export_account.execute(ExportAccountCommand(user.id, tokens.session_id))


async def test_an_export_holds_the_latest_events_and_says_if_there_are_others(
    keyturn: InMemoryKeyturn,
) -> None:
    user = await keyturn.register()
    tokens = await log_in(keyturn)
    for number in range(MAX_EVENTS):
        event = make_event(number, subject=user.id)
        keyturn.store.audit_events[event.id] = event
    command = ExportAccountCommand(user.id, tokens.session_id, HOME)
    export = await keyturn.export_account.execute(command)
    assert (len(export.events), export.has_all_events) == (MAX_EVENTS, False)
    assert [event.id for event in export.events] == sorted(
        (event.id for event in export.events), reverse=True
    )
