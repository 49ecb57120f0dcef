"""An administrator looks through the users."""

from dataclasses import dataclass, field

from keyturn.domain.ids import UserId
from keyturn.domain.user import User
from keyturn.ports.persistence import UnitOfWorkFactory, UserFilter

MAX_PAGE = 200
"""The largest page of a list that is handed out."""


@dataclass(frozen=True, slots=True)
class ListUsersQuery:
    """Which users, from where on, and how many (1 to 200)."""

    which: UserFilter = field(default_factory=UserFilter)
    after: UserId | None = None
    limit: int = 50


@dataclass(frozen=True, slots=True)
class UserPage:
    """Some users; `next_after` is None on the last page."""

    users: list[User]
    next_after: UserId | None


class ListUsers:
    """Lists users in the order in which they registered."""

    def __init__(self, unit_of_work: UnitOfWorkFactory) -> None:
        self._unit_of_work = unit_of_work

    async def execute(self, query: ListUsersQuery) -> UserPage:
        """Return a page of users.

        Raises:
            StoreUnavailable: the store does not answer.
        """
        limit = max(1, min(query.limit, MAX_PAGE))
        async with self._unit_of_work() as uow:
            users = await uow.users.list_page(query.which, after=query.after, limit=limit + 1)
        more = len(users) > limit
        return UserPage(users[:limit], users[limit - 1].id if more else None)
