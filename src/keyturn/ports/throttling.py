"""How often somebody may try."""

from abc import abstractmethod
from enum import StrEnum
from typing import Protocol

from keyturn.domain.source import Source


class ThrottledAction(StrEnum):
    """What is counted, each for itself."""

    LOGIN = "login"
    REGISTER = "register"
    RESET = "reset"
    VERIFY = "verify"
    REFRESH = "refresh"
    STRENGTH = "strength"
    EXPORT = "export"
    NOTICE = "notice"
    REFUSAL = "refusal"


class Throttle(Protocol):
    """Counts attempts, by where they come from and by whom they are about."""

    @abstractmethod
    async def admit(
        self, action: ThrottledAction, *, source: Source | None, account: str | None = None
    ) -> None:
        """Count an attempt and return, or refuse it.

        Of any number of concurrent attempts no more are admitted than the limits allow, by all
        processes together. Whether an account exists plays no part. A refused attempt must not be
        counted anywhere, also not where another network, or the account, has attempts left.

        `REFRESH` and `STRENGTH` are frequent and harm little, so that of these each process may
        decide by what it knows: all that it has counted itself, and what the others, and those
        before a restart, had counted about a second ago where that was a tenth of the limit or
        more. Several processes may so admit a burst that is over within a second once each; of
        what goes on for longer, what each counts in a second, or below its tenth, comes on top of
        the limit. One process alone never admits more than the limits allow.

        Args:
            action: what is tried.
            source: see `source_of`. It is counted in every network of `counted_networks`, each of
                which has its own allowance; `UNKNOWN_SOURCE` is counted like an address. None is
                for an action that is counted by account only.
            account: any text that stands for the account, such as its address; None is not
                counted.

        Raises:
            TooManyAttempts: the source or the account has used up what it may.
            StoreUnavailable: where the attempts are counted can't be reached, and has to be for
                this one: fails closed.
        """
