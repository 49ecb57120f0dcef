"""What a password must be to be set; shared by registration, change and reset."""

from keyturn.domain.errors import PasswordTooCommon
from keyturn.domain.policies import PasswordPolicy
from keyturn.domain.secret import Secret
from keyturn.ports.passwords import PasswordBlocklist


class NewPasswordRules:
    """The password policy and the blocklist, as one question."""

    def __init__(self, policy: PasswordPolicy, blocklist: PasswordBlocklist) -> None:
        """Accept what `policy` allows and `blocklist` does not hold."""
        self._policy = policy
        self._blocklist = blocklist

    async def accept(self, password: Secret, *, email: str | None = None) -> Secret:
        """Return the password in the form that is hashed.

        Raises:
            PasswordNotText: it holds a NUL or a lone surrogate.
            PasswordTooShort: it has too few characters.
            PasswordTooLong: it has too many.
            PasswordTooCommon: it is on the blocklist.
        """
        normal = self._policy.accept(password)
        if await self._blocklist.contains(normal):
            raise PasswordTooCommon
        return normal
