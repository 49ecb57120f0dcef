"""What a failed statement means to the core, told without the data that it failed on."""

from types import TracebackType

from sqlalchemy.exc import DBAPIError

from keyturn.domain.errors import (
    EmailTaken,
    KeyturnError,
    RoleNotFound,
    StaleUser,
    StoreUnavailable,
)

_MEANING_OF_CONSTRAINT: dict[str, type[KeyturnError]] = {
    "uq_users_email_key": EmailTaken,
    "fk_refresh_tokens_user_id_users": StaleUser,
    "fk_one_time_tokens_user_id_users": StaleUser,
    "fk_user_roles_user_id_users": StaleUser,
    "fk_user_roles_role_roles": RoleNotFound,
    # SQLite names the column of a unique constraint, and of a foreign key nothing at all.
    "UNIQUE constraint failed: users.email_key": EmailTaken,
    "FOREIGN KEY constraint failed": StaleUser,
}

_DATA_EXCEPTION = "22"
"""The class of SQLSTATEs whose messages quote the offending value."""


class StoreFailure(Exception):
    """Why the store did not do it, for the operator's log."""


class DomainErrors:
    """A context that turns what SQLAlchemy and the driver raise into errors of the domain.

    The driver's own error goes no further: PostgreSQL quotes whole rows in it, which hold
    password hashes and e-mail addresses. It keeps nothing, so that one serves any number of calls.
    """

    def __init__(self, driver_errors: tuple[type[Exception], ...]) -> None:
        """Know what the driver raises by itself."""
        self._failing = (DBAPIError, OSError, *driver_errors)

    def __enter__(self) -> None:
        """Begin; nothing is known yet."""

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Tell what it means.

        Raises:
            EmailTaken, RoleNotFound, StaleUser: a violated constraint says so.
            StoreUnavailable: anything else that failed, caused by a `StoreFailure`.
        """
        if exc is None or not isinstance(exc, self._failing):
            return
        driver_error = exc.driver_exception if isinstance(exc, DBAPIError) else exc
        meaning = _MEANING_OF_CONSTRAINT.get(_violated_constraint(driver_error))
        if meaning is not None:
            raise meaning from None
        failure = StoreFailure(_described(driver_error)).with_traceback(traceback)
        raise StoreUnavailable from failure


def _violated_constraint(driver_error: BaseException) -> str:
    return getattr(driver_error, "constraint_name", None) or str(driver_error)


def _described(error: BaseException) -> str:
    kind = f"{type(error).__module__}.{type(error).__qualname__}"
    sqlstate: str = getattr(error, "sqlstate", None) or ""
    if sqlstate.startswith(_DATA_EXCEPTION):
        return f"{kind} {sqlstate}"
    # PostgreSQL's message stands in the first argument; str() would append the row.
    return f"{kind}: {error.args[0] if sqlstate else error}"
