"""The one-time tokens of an in-memory service."""

from keyturn.adapters.memory.store import MemoryStore, StagedWrite, give_way
from keyturn.domain.errors import StaleOneTimeToken, StaleUser
from keyturn.domain.one_time_token import OneTimeToken
from keyturn.ports.persistence import OneTimeTokenRepository


class MemoryOneTimeTokenRepository(OneTimeTokenRepository):
    """The one-time tokens in a `MemoryStore`."""

    def __init__(self, store: MemoryStore, staged: list[StagedWrite]) -> None:
        self._store = store
        self._staged = staged

    async def get(self, digest: str) -> OneTimeToken | None:
        await give_way()
        return self._store.one_time_tokens.get(digest)

    def add(self, token: OneTimeToken) -> None:
        def apply(store: MemoryStore) -> None:
            if token.user_id not in store.users:
                raise StaleUser
            store.one_time_tokens[token.digest] = token

        self._staged.append(apply)

    def redeem(self, digest: str) -> None:
        def apply(store: MemoryStore) -> None:
            if store.one_time_tokens.pop(digest, None) is None:
                raise StaleOneTimeToken

        self._staged.append(apply)
