"""Refresh token families in SQL: one row each, which a rotation changes in place."""

from datetime import datetime

from sqlalchemy import (
    Connection,
    Update,
    bindparam,
    case,
    insert,
    literal_column,
    or_,
    select,
    text,
    true,
    update,
)

from keyturn.adapters.sqlalchemy.database import (
    Database,
    SqlRow,
    StagedWrite,
    Staging,
    Swap,
)
from keyturn.adapters.sqlalchemy.prepared import Parameters, Prepared, Together
from keyturn.adapters.sqlalchemy.tables import UtcTimestamp, refresh_tokens, users
from keyturn.adapters.sqlalchemy.users import USER_COLUMNS, to_user
from keyturn.domain.errors import StaleFamily
from keyturn.domain.ids import FamilyId, UserId
from keyturn.domain.refresh_token_family import Device, RefreshTokenFamily, RevokeReason
from keyturn.domain.user import User
from keyturn.ports.persistence import FamilyRepository

_row = refresh_tokens.c

_FAMILY_COLUMNS = (
    _row.id,
    _row.user_id,
    _row.client_id,
    _row.scope,
    _row.current_jti,
    _row.previous_jti,
    _row.generation,
    _row.device_name,
    _row.user_agent,
    _row.ip,
    _row.created_at,
    _row.rotated_at,
    _row.expires_at,
    _row.absolute_expires_at,
    _row.revoked_at,
    _row.revoke_reason,
    _row.key_thumbprint,
)

_now = bindparam("now", type_=UtcTimestamp)
_since = bindparam("since", type_=UtcTimestamp)
# `RefreshTokenFamily.ended_at`, for those that have ended.
_ended_at = case((_row.revoked_at < _row.expires_at, _row.revoked_at), else_=_row.expires_at)

_of_family = _row.id == bindparam("family_id")
_of_user = _row.user_id == bindparam("owner_id")
_not_revoked = _row.revoked_at.is_(None)

_GET = Prepared(select(*_FAMILY_COLUMNS).where(_of_family))
# PostgreSQL's planner can't see into either subquery. It would plan anew each time for the number
# of families that are asked for, and read all users where they are few: twice the time.
_owner = (
    select(*USER_COLUMNS)
    .where(users.c.id == _row.user_id)
    .correlate(refresh_tokens)
    .offset(literal_column("0"))
    .lateral("owner")
)
_ONE_OF_MANY = text("refresh_tokens.id = ANY(CAST((SELECT CAST(:family_id AS uuid[])) AS uuid[]))")
_GET_WITH_USER = Prepared(
    select(*_FAMILY_COLUMNS, *USER_COLUMNS).join_from(refresh_tokens, users).where(_of_family),
    together=Together(
        select(*_FAMILY_COLUMNS, *_owner.c)
        .join_from(refresh_tokens, _owner, true())
        .where(_ONE_OF_MANY),
        "family_id",
    ),
)
_LIST_LIVE = Prepared(
    select(*_FAMILY_COLUMNS)
    .where(_of_user, _not_revoked, _row.expires_at > _now)
    .order_by(_row.rotated_at.desc(), _row.id.desc())
)
_LIST_ENDED = (
    select(*_FAMILY_COLUMNS)
    .where(_of_user, or_(_row.revoked_at.is_not(None), _row.expires_at <= _now))
    .where(_ended_at >= _since)
    .order_by(_ended_at.desc(), _row.id.desc())
)
_INSERT = insert(refresh_tokens)
# Whatever is indexed stays out: PostgreSQL would have to write to its indexes as well.
_ROTATING = (
    "current_jti",
    "previous_jti",
    "generation",
    "user_agent",
    "ip",
    "rotated_at",
    "expires_at",
)
_ROTATE = Prepared(
    update(refresh_tokens).where(
        _of_family, _row.generation == bindparam("generation_before"), _not_revoked
    ),
    set_columns=_ROTATING,
    together=Together(
        # Who is locked is left to their own statement: of two that wait for several locks each,
        # one might wait for the other.
        text(
            "WITH asked AS (SELECT * FROM unnest(CAST(:family_id AS uuid[]),"
            " CAST(:generation_before AS integer[]), CAST(:current_jti AS uuid[]),"
            " CAST(:previous_jti AS uuid[]), CAST(:generation AS integer[]),"
            " CAST(:user_agent AS text[]), CAST(:ip AS text[]),"
            " CAST(:rotated_at AS timestamptz[]), CAST(:expires_at AS timestamptz[])) AS asked"
            " (family_id, generation_before, current_jti, previous_jti, generation, user_agent, ip,"
            " rotated_at, expires_at)),"
            " free AS (SELECT family.id FROM refresh_tokens AS family"
            " JOIN asked ON family.id = asked.family_id"
            " FOR NO KEY UPDATE OF family SKIP LOCKED)"
            " UPDATE refresh_tokens AS family SET current_jti = asked.current_jti,"
            " previous_jti = asked.previous_jti, generation = asked.generation,"
            " user_agent = asked.user_agent, ip = asked.ip, rotated_at = asked.rotated_at,"
            " expires_at = asked.expires_at"
            " FROM asked JOIN free ON free.id = asked.family_id"
            " WHERE family.id = asked.family_id AND family.generation = asked.generation_before"
            " AND family.revoked_at IS NULL"
            " RETURNING family.id"
        ),
        "family_id",
    ),
)
_REVOKE = update(refresh_tokens).where(_of_family, _not_revoked)
_REVOKE_ALL = update(refresh_tokens).where(_of_user, _not_revoked)
_REVOKE_OTHERS = _REVOKE_ALL.where(_row.id != bindparam("kept_id"))


def _to_family(row: SqlRow) -> RefreshTokenFamily:
    (
        family_id,
        user_id,
        client_id,
        scope,
        current,
        previous,
        generation,
        device_name,
        user_agent,
        ip,
        created_at,
        rotated_at,
        expires_at,
        absolute_expires_at,
        revoked_at,
        revoke_reason,
        key_thumbprint,
    ) = row
    return RefreshTokenFamily(
        id=family_id,
        user_id=user_id,
        client_id=client_id,
        scope=None if scope is None else frozenset(scope),
        current=current,
        previous=previous,
        generation=generation,
        device=Device(device_name, user_agent, ip),
        created_at=created_at,
        rotated_at=rotated_at,
        expires_at=expires_at,
        absolute_expires_at=absolute_expires_at,
        revoked_at=revoked_at,
        revoke_reason=None if revoke_reason is None else RevokeReason(revoke_reason),
        key_thumbprint=key_thumbprint,
    )


class SqlFamilyRepository(FamilyRepository):
    """The refresh token families in a `Database`."""

    def __init__(self, database: Database, staging: Staging) -> None:
        """Read from `database` and note writes in `staging`."""
        self._database = database
        self._staged = staging.writes

    async def get(self, family_id: FamilyId) -> RefreshTokenFamily | None:
        """Return the family, or None."""
        rows = await self._database.look_up(_GET, {"family_id": family_id})
        return _to_family(rows[0]) if rows else None

    async def get_with_user(self, family_id: FamilyId) -> tuple[RefreshTokenFamily, User] | None:
        """Return the family and its user by one statement, or None."""
        rows = await self._database.look_up(_GET_WITH_USER, {"family_id": family_id})
        if not rows:
            return None
        width = len(_FAMILY_COLUMNS)
        return _to_family(rows[0][:width]), to_user(rows[0][width:])

    async def list_live(self, user_id: UserId, now: datetime) -> list[RefreshTokenFamily]:
        """Return the user's live families, most recently used first."""
        rows = await self._database.look_up(_LIST_LIVE, {"owner_id": user_id, "now": now})
        return [_to_family(row) for row in rows]

    async def list_ended(
        self, user_id: UserId, now: datetime, since: datetime
    ) -> list[RefreshTokenFamily]:
        """Return the user's ended families, last ended first."""
        parameters = {"owner_id": user_id, "now": now, "since": since}
        rows = await self._database.fetch(_LIST_ENDED, parameters)
        return [_to_family(row) for row in rows]

    def add(self, family: RefreshTokenFamily) -> None:
        """Stage a new family."""
        values = _rotating_values(family) | {
            "id": family.id,
            "user_id": family.user_id,
            "client_id": family.client_id,
            "scope": None if family.scope is None else sorted(family.scope),
            "device_name": family.device.name,
            "created_at": family.created_at,
            "absolute_expires_at": family.absolute_expires_at,
            "revoked_at": family.revoked_at,
            "revoke_reason": family.revoke_reason,
            "key_thumbprint": family.key_thumbprint,
        }

        def apply(connection: Connection) -> None:
            connection.execute(_INSERT, values)

        self._staged.append(StagedWrite(apply, is_single_statement=True))

    def save(self, family: RefreshTokenFamily) -> None:
        """Stage the next generation of a family."""
        values = _rotating_values(family) | {
            "family_id": family.id,
            "generation_before": family.generation - 1,
        }

        swap = Swap(_ROTATE, values, StaleFamily)
        self._staged.append(StagedWrite(swap.apply, is_single_statement=True, swap=swap))

    def revoke(self, family_id: FamilyId, at: datetime, reason: RevokeReason) -> None:
        """Stage the end of a family."""
        self._stage_end(_REVOKE, {"family_id": family_id}, at, reason)

    def revoke_all(
        self,
        user_id: UserId,
        at: datetime,
        reason: RevokeReason,
        *,
        keep: FamilyId | None = None,
    ) -> None:
        """Stage the end of the user's families."""
        if keep is None:
            self._stage_end(_REVOKE_ALL, {"owner_id": user_id}, at, reason)
        else:
            self._stage_end(_REVOKE_OTHERS, {"owner_id": user_id, "kept_id": keep}, at, reason)

    def _stage_end(
        self, statement: Update, of_which: Parameters, at: datetime, reason: RevokeReason
    ) -> None:
        values = {**of_which, "revoked_at": at, "revoke_reason": reason.value}

        def apply(connection: Connection) -> None:
            connection.execute(statement, values)

        self._staged.append(StagedWrite(apply, is_single_statement=True))


def _rotating_values(family: RefreshTokenFamily) -> dict[str, object]:
    # Whatever is indexed stays out: PostgreSQL would have to write to its indexes as well.
    return {
        "current_jti": family.current,
        "previous_jti": family.previous,
        "generation": family.generation,
        "user_agent": family.device.user_agent,
        "ip": family.device.ip,
        "rotated_at": family.rotated_at,
        "expires_at": family.expires_at,
    }
