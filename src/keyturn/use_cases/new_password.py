"""What a password must be to be set; shared by registration, change and reset."""

from keyturn.domain.errors import (
    InvalidInput,
    PasswordBreached,
    PasswordTooCommon,
    PasswordTooPersonal,
    PasswordTooShort,
)
from keyturn.domain.policies import PasswordPolicy, context_words, is_too_personal
from keyturn.domain.secret import Secret
from keyturn.ports.passwords import BreachedPasswords, PasswordBlocklist


class NewPasswordRules:
    """The password policy and all that a new password must not be, as one question."""

    def __init__(
        self,
        policy: PasswordPolicy,
        blocklist: PasswordBlocklist,
        breached: BreachedPasswords | None = None,
        service_name: str = "keyturn",
    ) -> None:
        """Accept what `policy` allows and nobody would guess.

        Args:
            breached: None where nobody is asked.
            service_name: as people know it; no password may be made of it.
        """
        self._policy = policy
        self._blocklist = blocklist
        self._breached = breached
        self._service_name = service_name

    async def accept(self, password: Secret, *, email: str | None = None) -> Secret:
        """Return the password in the form that is hashed.

        Args:
            email: of the person whose password it is to be, where it is known.

        Raises:
            PasswordNotText: it holds a NUL or a lone surrogate.
            PasswordTooShort: it has too few characters.
            PasswordTooLong: it has too many.
            PasswordTooPersonal: it is made of the service's name or the address.
            PasswordTooCommon: it is on the blocklist.
            PasswordBreached: it is known from a breach.
        """
        normal = self._policy.accept(password)
        if is_too_personal(normal, self.words(email)):
            raise PasswordTooPersonal
        if await self._blocklist.contains(normal):
            raise PasswordTooCommon
        if self._breached is not None and await self._breached.contains(normal):
            raise PasswordBreached
        return normal

    async def objections(self, password: Secret, *, email: str | None = None) -> tuple[str, ...]:
        """Return the codes of all for which `accept` would refuse it, but for a breach.

        That is left to `accept`: nobody else is asked while somebody types.
        """
        try:
            normal = self._policy.normalise(password)
        except InvalidInput as refused:
            return (refused.code,)
        codes = []
        try:
            self._policy.accept(normal)
        except PasswordTooShort as refused:
            codes.append(refused.code)
        if is_too_personal(normal, self.words(email)):
            codes.append(PasswordTooPersonal.code)
        if await self._blocklist.contains(normal):
            codes.append(PasswordTooCommon.code)
        return tuple(codes)

    def words(self, email: str | None) -> tuple[str, ...]:
        """Return the words that a password must not be made of, longest first."""
        return context_words(self._service_name, email)
