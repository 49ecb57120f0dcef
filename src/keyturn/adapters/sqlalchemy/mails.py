"""Mails that wait to be sent, in SQL: one row each, deleted when it is sent."""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import Connection, bindparam, delete, insert, select, update

from keyturn.adapters.sqlalchemy.database import Database, SqlRow, StagedWrite, Staging
from keyturn.adapters.sqlalchemy.tables import UtcTimestamp, mails
from keyturn.domain.events import Origin
from keyturn.domain.ids import MailId
from keyturn.domain.mail import MailKind, QueuedMail
from keyturn.domain.user import fold_address
from keyturn.ports.mail import MailQueue
from keyturn.ports.persistence import Outbox

_row = mails.c

_COLUMNS = (
    _row.id,
    _row.kind,
    _row.address,
    _row.created_at,
    _row.next_attempt_at,
    _row.user_id,
    _row.credentials_version,
    _row.ip,
    _row.user_agent,
    _row.request_id,
    _row.details,
    _row.attempts,
    _row.dead_at,
    _row.failure,
)

_now = bindparam("now", type_=UtcTimestamp)
_until = bindparam("until", type_=UtcTimestamp)

_INSERT = insert(mails)

_due = _row.dead_at.is_(None) & (_row.next_attempt_at <= _now)
_FIRST_DUE = (
    select(_row.id, _row.next_attempt_at.label("due_at"))
    .where(_due)
    .order_by(_row.next_attempt_at, _row.id)
    .limit(bindparam("batch"))
)
_claimed = {"attempts": _row.attempts + 1, "next_attempt_at": _until}
# A common table expression is evaluated once; a sub-select with a limit need not be. What another
# process claims at this moment is locked, and is its own.
_batch = _FIRST_DUE.with_for_update(skip_locked=True).cte("first_due")
_CLAIM_ON_POSTGRES = (
    update(mails)
    .where(_row.id == _batch.c.id)
    .values(_claimed)
    .returning(*_COLUMNS, _batch.c.due_at)
)
# SQLite returns nothing but the row as it is now, which has lost when it was due.
_CLAIM_ON_SQLITE = (
    update(mails)
    .where(_row.id.in_(bindparam("ids", expanding=True)))
    .values(_claimed)
    .returning(*_COLUMNS)
)

_as_claimed = (_row.id == bindparam("mail_id")) & (_row.attempts == bindparam("claimed_as"))
_REMOVE = delete(mails).where(_as_claimed)
_PUT_BACK = update(mails).where(_as_claimed)
_LIST = select(*_COLUMNS).order_by(_row.id)
_REVIVE = (
    update(mails)
    .where(_row.dead_at.is_not(None))
    .values(dead_at=None, attempts=0, next_attempt_at=_now)
)


class SqlOutbox(Outbox):
    """Puts mails into a `Database`."""

    def __init__(self, staging: Staging) -> None:
        """Note writes in `staging`."""
        self._staged = staging.writes

    def add(self, mail: QueuedMail) -> None:
        """Stage a mail."""

        def apply(connection: Connection) -> None:
            insert_mail(connection, mail)

        self._staged.append(StagedWrite(apply, is_single_statement=True))


def insert_mail(connection: Connection, mail: QueuedMail) -> None:
    """Put a mail into the outbox."""
    values = {
        "id": mail.id,
        "kind": mail.kind.value,
        "address": mail.address,
        "address_key": fold_address(mail.address),
        "created_at": mail.created_at,
        "next_attempt_at": mail.next_attempt_at,
        "user_id": mail.user_id,
        "credentials_version": mail.credentials_version,
        "ip": mail.origin.ip,
        "user_agent": mail.origin.user_agent,
        "request_id": mail.origin.request_id,
        "details": mail.details,
        "attempts": mail.attempts,
        "dead_at": mail.dead_at,
        "failure": mail.failure,
    }
    connection.execute(_INSERT, values)


class SqlMailQueue(MailQueue):
    """The mails in a `Database`, for those who send them."""

    def __init__(self, database: Database) -> None:
        """Take from `database`."""
        self._database = database

    async def claim(self, now: datetime, until: datetime, limit: int) -> Sequence[QueuedMail]:
        """Take mails that are due, those due first first.

        PostgreSQL does it by one statement, so that a process which dies holds no lock. SQLite
        does it by one transaction, which holds the only write lock from its beginning.
        """
        claimed: list[QueuedMail] = []

        def on_postgres(connection: Connection) -> None:
            rows = connection.execute(
                _CLAIM_ON_POSTGRES, {"now": now, "until": until, "batch": limit}
            ).all()
            rows = sorted(rows, key=lambda row: (row.due_at, row.id))
            claimed.extend(_to_mail(row[:-1]) for row in rows)

        def on_sqlite(connection: Connection) -> None:
            ids = connection.scalars(_FIRST_DUE, {"now": now, "batch": limit}).all()
            rows = connection.execute(_CLAIM_ON_SQLITE, {"ids": ids, "until": until}).all()
            claimed.extend(sorted(map(_to_mail, rows), key=lambda mail: ids.index(mail.id)))

        if self._database.is_sqlite:
            await self._database.commit([StagedWrite(on_sqlite, is_single_statement=False)])
        else:
            await self._database.commit([StagedWrite(on_postgres, is_single_statement=True)])
        return claimed

    async def remove(self, mail: QueuedMail) -> bool:
        """Remove a mail, unless somebody else has claimed it since."""
        claim = {"mail_id": mail.id, "claimed_as": mail.attempts}
        return await self._database.execute(_REMOVE, claim) == 1

    async def put_back(self, mail: QueuedMail) -> bool:
        """Store what became of an attempt, unless somebody else has claimed the mail since."""
        values = {
            "mail_id": mail.id,
            "claimed_as": mail.attempts,
            "next_attempt_at": mail.next_attempt_at,
            "dead_at": mail.dead_at,
            "failure": mail.failure,
        }
        return await self._database.execute(_PUT_BACK, values) == 1

    async def list_page(
        self, *, only_dead: bool, after: MailId | None, limit: int
    ) -> Sequence[QueuedMail]:
        """Return a page of mails, lowest id first."""
        page = _LIST.limit(limit)
        if only_dead:
            page = page.where(_row.dead_at.is_not(None))
        if after is not None:
            page = page.where(_row.id > after)
        return [_to_mail(row) for row in await self._database.fetch(page, {})]

    async def revive(self, mail_id: MailId | None, now: datetime) -> int:
        """Make one dead mail, or all of them, due."""
        revival = _REVIVE if mail_id is None else _REVIVE.where(_row.id == mail_id)
        return await self._database.execute(revival, {"now": now})


def _to_mail(row: SqlRow) -> QueuedMail:
    (
        mail_id,
        kind,
        address,
        created_at,
        next_attempt_at,
        user_id,
        credentials_version,
        ip,
        user_agent,
        request_id,
        details,
        attempts,
        dead_at,
        failure,
    ) = row
    return QueuedMail(
        id=mail_id,
        kind=MailKind(kind),
        address=address,
        created_at=created_at,
        next_attempt_at=next_attempt_at,
        user_id=user_id,
        credentials_version=credentials_version,
        origin=Origin(ip, user_agent, request_id),
        details=tuple((name, value) for name, value in details),
        attempts=attempts,
        dead_at=dead_at,
        failure=failure,
    )
