"""An attacker registers the address of a future administrator first, and waits."""

import pytest

from keyturn.domain.errors import (
    AdministratorUnverified,
    InvalidAccessToken,
    InvalidCredentials,
    InvalidOneTimeToken,
    InvalidRefreshToken,
)
from keyturn.domain.secret import Secret
from keyturn.domain.user import UserStatus
from keyturn.testing.in_memory import PASSWORD, InMemoryKeyturn
from keyturn.use_cases.assign_roles import AssignRolesCommand
from keyturn.use_cases.confirm_email import ConfirmEmailCommand
from keyturn.use_cases.import_user import ImportUserCommand
from keyturn.use_cases.register_user import RegisterUserCommand
from keyturn.use_cases.request_email_change import RequestEmailChangeCommand
from keyturn.use_cases.take_over_account import TakeOverAccountCommand
from keyturn.use_cases.update_profile import UpdateProfileCommand

ROOT = "root@example.com"
NEW_PASSWORD = Secret("seven quiet glaciers")
BOTH = frozenset({"user", "admin"})


@pytest.fixture
def service() -> InMemoryKeyturn:
    return InMemoryKeyturn()


async def test_an_attacker_who_was_first_is_not_made_administrator(
    service: InMemoryKeyturn,
) -> None:
    stranger = await service.register(ROOT)
    with pytest.raises(AdministratorUnverified):
        await service.assign_roles.execute(AssignRolesCommand(stranger.id, BOTH, actor=None))
    with pytest.raises(AdministratorUnverified):
        await service.register_user.execute(
            RegisterUserCommand("other@example.com", PASSWORD, roles=BOTH)
        )
    with pytest.raises(AdministratorUnverified):
        await service.import_user.execute(
            ImportUserCommand("other@example.com", service_hash(service), roles=BOTH)
        )
    assert not any("admin" in user.role_names for user in service.store.users.values())


def service_hash(service: InMemoryKeyturn) -> Secret:
    [user] = service.store.users.values()
    return Secret(user.password_hash)


async def test_an_attacker_who_was_first_keeps_nothing_of_an_account_that_is_taken_over(
    service: InMemoryKeyturn,
) -> None:
    stranger = await service.register(ROOT)
    verification = await service.token_of_next_mail()
    tokens = await service.login(ROOT)
    await service.update_profile.execute(
        UpdateProfileCommand(stranger.id, "Somebody else", tokens.session_id)
    )
    await service.request_email_change.execute(
        RequestEmailChangeCommand(stranger.id, tokens.session_id, PASSWORD, "stranger@example.com")
    )
    change = await service.token_of_next_mail()
    await service.request_email_change.execute(
        RequestEmailChangeCommand(stranger.id, tokens.session_id, PASSWORD, "later@example.com")
    )
    await service.set_status(service.store.users[stranger.id], UserStatus.DISABLED)

    taken = await service.take_over_account.execute(TakeOverAccountCommand(ROOT, NEW_PASSWORD))
    assert taken.role_names == BOTH
    assert taken.is_active
    assert taken.display_name is None
    assert taken.email_verified_at is not None

    with pytest.raises(InvalidCredentials):
        await service.login(ROOT, PASSWORD)
    with pytest.raises(InvalidRefreshToken):
        await service.refresh(tokens.refresh_token)
    with pytest.raises(InvalidAccessToken):
        service.authenticate_access.execute(tokens.access_token)
    for link in (verification, change):
        with pytest.raises(InvalidOneTimeToken):
            await service.confirm_email.execute(ConfirmEmailCommand(link))
    # The mail that still waits carries no link that works.
    with pytest.raises(LookupError):
        await service.token_of_next_mail()
    assert service.store.users[taken.id].email == ROOT
    principal = service.authenticate_access.execute(
        (await service.login(ROOT, NEW_PASSWORD)).access_token
    )
    assert "admin" in principal.roles


async def test_an_attacker_who_logs_in_during_the_take_over_ends_too(
    service: InMemoryKeyturn,
) -> None:
    await service.register(ROOT)
    stolen = await service.login(ROOT)
    await service.take_over_account.execute(TakeOverAccountCommand(ROOT, NEW_PASSWORD))
    assert service.store.families[stolen.session_id].revoked_at is not None
