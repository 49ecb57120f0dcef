"""One-time tokens in SQL: one row each, which is deleted by its use."""

from sqlalchemy import Connection, bindparam, delete, insert, select

from keyturn.adapters.sqlalchemy.database import Database, StagedWrite, Staging
from keyturn.adapters.sqlalchemy.tables import one_time_tokens, users
from keyturn.domain.errors import StaleOneTimeToken
from keyturn.domain.one_time_token import OneTimeToken, TokenPurpose
from keyturn.ports.persistence import OneTimeTokenRepository

_row = one_time_tokens.c
_of_digest = _row.digest == bindparam("token_digest")

_GET = select(
    _row.digest,
    _row.purpose,
    _row.user_id,
    _row.email,
    _row.credentials_version,
    _row.created_at,
    _row.expires_at,
).where(_of_digest)
_INSERT = insert(one_time_tokens)
# Whoever redeems a token changes its user too, and an erasure comes the other way round.
_LOCK_USER = (
    select(users.c.id)
    .join_from(one_time_tokens, users)
    .where(_of_digest)
    .with_for_update(key_share=True, of=users)
)
_REDEEM = delete(one_time_tokens).where(_of_digest)


class SqlOneTimeTokenRepository(OneTimeTokenRepository):
    """The one-time tokens in a `Database`."""

    def __init__(self, database: Database, staging: Staging) -> None:
        """Read from `database` and note writes in `staging`."""
        self._database = database
        self._staging = staging

    async def get(self, digest: str) -> OneTimeToken | None:
        """Return the token of this digest, or None."""
        rows = await self._database.fetch(_GET, {"token_digest": digest})
        if not rows:
            return None
        stored, purpose, user_id, email, credentials_version, created_at, expires_at = rows[0]
        return OneTimeToken(
            digest=stored,
            purpose=TokenPurpose(purpose),
            user_id=user_id,
            email=email,
            credentials_version=credentials_version,
            created_at=created_at,
            expires_at=expires_at,
        )

    def add(self, token: OneTimeToken) -> None:
        """Stage a new token."""
        values = {
            "digest": token.digest,
            "purpose": token.purpose.value,
            "user_id": token.user_id,
            "email": token.email,
            "credentials_version": token.credentials_version,
            "created_at": token.created_at,
            "expires_at": token.expires_at,
        }

        def apply(connection: Connection) -> None:
            connection.execute(_INSERT, values)

        self._staging.writes.append(StagedWrite(apply, is_single_statement=True))

    def redeem(self, digest: str) -> None:
        """Stage the only use of a token."""

        def lock(connection: Connection) -> None:
            connection.execute(_LOCK_USER, {"token_digest": digest})

        def apply(connection: Connection) -> None:
            redeemed = connection.execute(_REDEEM, {"token_digest": digest})
            if redeemed.rowcount != 1:
                raise StaleOneTimeToken

        self._staging.locks.append(StagedWrite(lock, is_single_statement=False))
        self._staging.writes.append(StagedWrite(apply, is_single_statement=True))
