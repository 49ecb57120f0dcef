"""What it takes to erase a user; shared by who does it at once and who does it when due."""

from datetime import datetime

from keyturn.domain.events import AuditEvent, AuditEventType, Origin
from keyturn.domain.mail import MailKind, QueuedMail
from keyturn.domain.principal import Principal
from keyturn.domain.user import ADMIN_ROLE, User
from keyturn.ports.persistence import UnitOfWork
from keyturn.ports.system import IdGenerator


def stage_erasure(
    uow: UnitOfWork,
    user: User,
    now: datetime,
    ids: IdGenerator,
    *,
    actor: Principal | None,
    origin: Origin,
) -> None:
    """Stage the end of a user: of the account, its sessions and its access tokens.

    A last mail goes to the address.

    Args:
        actor: who erases the user, None for time or the operator.
        origin: where the actor is.
    """
    uow.users.erase(user)
    uow.revocations.add_user(user.id, user.epoch + 1, now)
    if ADMIN_ROLE.name in user.role_names:
        uow.users.require_holder(ADMIN_ROLE.name)
    uow.outbox.add(
        QueuedMail.to_address(ids.mail_id(), MailKind.ACCOUNT_ERASED, user.email, now, Origin())
    )
    uow.audit.add(
        AuditEvent(
            ids.event_id(),
            now,
            AuditEventType.USER_ERASED,
            actor=None if actor is None else actor.user_id,
            subject=user.id,
            session=None if actor is None else actor.session_id,
            # Of one who erases their own account nothing personal stays either.
            origin=Origin() if actor is not None and actor.user_id == user.id else origin,
        )
    )
