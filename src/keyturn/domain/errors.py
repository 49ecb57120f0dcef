"""Everything that can go wrong, as one tree with stable codes.

```
KeyturnError
├── AuthenticationFailed
│   ├── AuthenticationRequired   authentication_required   nothing was presented
│   ├── InvalidCredentials       invalid_credentials       wrong e-mail or password, or disabled
│   ├── InvalidAccessToken       invalid_token             the access token is not good
│   │   └── WrongAudience        wrong_audience            it is for another resource
│   ├── LoginTooOld              insufficient_user_authentication  (max_age seconds)
│   ├── InvalidRefreshToken      invalid_refresh_token     the refresh token is not good
│   ├── InvalidProof             invalid_dpop_proof        the proof of a key is not good
│   ├── ProofNonceRequired       use_dpop_nonce            it lacks a fresh nonce
│   └── InvalidClient            invalid_client            an OAuth client is not who it says
├── PermissionDenied             insufficient_scope
├── ClientNotAllowed             unauthorized_client       an OAuth client may not do this
├── TokenOfAnotherClient         token_of_another_client
├── TooManyAttempts              too_many_attempts         (retry_after seconds)
├── InvalidInput
│   ├── InvalidEmail             invalid_email
│   ├── PasswordTooShort         password_too_short
│   ├── PasswordTooLong          password_too_long
│   ├── PasswordTooCommon        password_too_common
│   ├── PasswordTooPersonal      password_too_personal
│   ├── PasswordBreached         password_breached
│   ├── PasswordNotText          password_not_text
│   ├── PasswordHashUnknown      password_hash_unknown
│   ├── WrongCurrentPassword     wrong_current_password
│   ├── InvalidOneTimeToken      invalid_one_time_token
│   ├── InvalidRole              invalid_role
│   ├── InvalidScope             invalid_scope
│   └── InvalidTarget            invalid_target
├── NotFound
│   ├── UserNotFound             user_not_found
│   ├── RoleNotFound             role_not_found
│   ├── MailNotFound             mail_not_found
│   └── SessionNotFound          session_not_found
├── Conflict
│   ├── EmailTaken               email_taken
│   ├── LastAdministrator        last_administrator
│   ├── AdministratorUnverified  administrator_unverified
│   ├── RoleChanged              role_changed
│   └── RoleProtected            role_protected
├── Unavailable                  (retry_after seconds)
│   ├── StoreUnavailable         store_unavailable
│   ├── RevocationsUnknown       revocations_unknown
│   ├── SigningUnavailable       signing_unavailable
│   ├── HashingBusy              hashing_busy
│   ├── ProofsBusy               proofs_busy
│   ├── MailUnavailable          mail_unavailable          (never leaves a use-case)
│   └── Contention               contention
├── MailNotDelivered             (never leaves a use-case)
│   ├── LetterUnwritable         letter_unwritable
│   └── MailRefused              mail_refused
└── StaleWrite                   (never leaves a use-case)
    ├── StaleUser                stale_user
    ├── StaleFamily              stale_family
    ├── StaleRole                stale_role
    └── StaleOneTimeToken        stale_one_time_token
```

An error knows no HTTP status: a delivery maps the class. Its message is safe to show to a caller
and never holds a secret.
"""

from typing import ClassVar


class KeyturnError(Exception):
    """Base of every error that keyturn raises on purpose."""

    code: ClassVar[str] = "error"
    message: ClassVar[str] = "The request failed."

    def __init__(self, detail: str | None = None) -> None:
        """Raise with `detail`, or with the class's own message."""
        super().__init__(detail or self.message)

    @property
    def detail(self) -> str:
        """What a caller may be told."""
        return str(self.args[0])


class AuthenticationFailed(KeyturnError):
    """The caller is not who they must be."""


class AuthenticationRequired(AuthenticationFailed):
    """Nothing was presented where something is needed."""

    code = "authentication_required"
    message = "Authentication is required."


class InvalidCredentials(AuthenticationFailed):
    """Unknown e-mail, wrong password or a user who may not log in: never said which."""

    code = "invalid_credentials"
    message = "The e-mail address or the password is wrong."


class InvalidAccessToken(AuthenticationFailed):
    """The access token is malformed, forged, expired, revoked or of another kind."""

    code = "invalid_token"
    message = "The access token is invalid, expired or revoked."


class WrongAudience(InvalidAccessToken):
    """The access token is genuine and current, and was issued for another resource.

    Attributes:
        resource: the resource that a client must ask for to get an accepted token (RFC 8707);
            None where the reader of the token does not know it.
    """

    code = "wrong_audience"
    message = "The access token is for another resource."

    def __init__(self, resource: str | None = None) -> None:
        """Raise with the resource to ask for."""
        super().__init__()
        self.resource = resource


class LoginTooOld(AuthenticationFailed):
    """The person proved who they are too long ago for this request (RFC 9470 §3)."""

    code = "insufficient_user_authentication"
    message = "This needs a more recent proof of who you are."

    def __init__(self, max_age: int = 0) -> None:
        """Raise for a request whose proof may be at most so many seconds old."""
        super().__init__()
        self.max_age = max_age


class InvalidRefreshToken(AuthenticationFailed):
    """The refresh token is malformed, forged, expired, revoked, replayed or of another kind."""

    code = "invalid_refresh_token"
    message = "The refresh token is invalid, expired or revoked."


class InvalidProof(AuthenticationFailed):
    """The DPoP proof is missing, malformed, forged, too old, used before or for something else."""

    code = "invalid_dpop_proof"
    message = "The DPoP proof is missing, invalid, too old, used before or for another request."


class ProofNonceRequired(AuthenticationFailed):
    """The DPoP proof is good but for the nonce: it has none, or an old one (RFC 9449 §8)."""

    code = "use_dpop_nonce"
    message = "The DPoP proof must hold the nonce that this answer comes with."


class InvalidClient(AuthenticationFailed):
    """The OAuth client is unknown or does not prove who it is (RFC 6749 §5.2)."""

    code = "invalid_client"
    message = "The client is unknown or its authentication failed."

    def __init__(self, detail: str | None = None, *, client_id: str | None = None) -> None:
        """Raise with the id of the client, for the operator, if there is such a client."""
        super().__init__(detail)
        self.client_id = client_id


class ClientNotAllowed(KeyturnError):
    """The OAuth client is known and may not do this."""

    code = "unauthorized_client"
    message = "The client may not do this."


class TokenOfAnotherClient(KeyturnError):
    """The token was issued to another OAuth client (RFC 7009 §2.1)."""

    code = "token_of_another_client"
    message = "The token was issued to another client."


class PermissionDenied(KeyturnError):
    """The caller is known but lacks a role or permission (RFC 6750 §3.1)."""

    code = "insufficient_scope"
    message = "The caller lacks the permission that this needs."


class TooManyAttempts(KeyturnError):
    """It was tried more often than is allowed, from this source or for this account."""

    code = "too_many_attempts"
    message = "Too many attempts; try again later."

    def __init__(self, retry_after: int) -> None:
        """Raise for somebody who may try again after so many seconds."""
        super().__init__()
        self.retry_after = retry_after


class InvalidInput(KeyturnError):
    """The request is understood and can't be accepted as it is."""

    field: ClassVar[str | None] = None


class InvalidEmail(InvalidInput):
    """The text is not an e-mail address."""

    code = "invalid_email"
    message = "This is not a valid e-mail address."
    field = "email"


class PasswordTooShort(InvalidInput):
    """The password has fewer characters than the policy asks for (OWASP ASVS 5.0 V6.2.1)."""

    code = "password_too_short"
    message = "The password is too short."
    field = "password"


class PasswordTooLong(InvalidInput):
    """The password has more characters than the policy allows."""

    code = "password_too_long"
    message = "The password is too long."
    field = "password"


class PasswordTooCommon(InvalidInput):
    """The password is on a list of common ones (OWASP ASVS 5.0 V6.2.4)."""

    code = "password_too_common"
    message = "The password is too common: choose one that others are unlikely to use."
    field = "password"


class PasswordTooPersonal(InvalidInput):
    """The password is made of the service's name or the address (OWASP ASVS 5.0 V6.2.11)."""

    code = "password_too_personal"
    message = "The password is too much like the name of the service or your e-mail address."
    field = "password"


class PasswordBreached(InvalidInput):
    """The password is known from a breach (OWASP ASVS 5.0 V6.2.12)."""

    code = "password_breached"
    message = "The password is known from a breach of another service: choose another one."
    field = "password"


class PasswordNotText(InvalidInput):
    """The password holds a NUL or a lone surrogate, which no keyboard types."""

    code = "password_not_text"
    message = "The password holds characters that are not text."
    field = "password"


class PasswordHashUnknown(InvalidInput):
    """The password hash of an imported account is of no format that can be verified."""

    code = "password_hash_unknown"
    message = "The password hash is of no known format, or asks for too much work."
    field = "password_hash"


class WrongCurrentPassword(InvalidInput):
    """The current password that a change asks for is wrong."""

    code = "wrong_current_password"
    message = "The current password is wrong."
    field = "current_password"


class InvalidOneTimeToken(InvalidInput):
    """The token of a mail is unknown, used, expired, void or for something else: never said which.

    (OWASP ASVS 5.0 V6.4.3)
    """

    code = "invalid_one_time_token"
    message = "The link is invalid, expired or used. Ask for a new one."
    field = "token"


class InvalidRole(InvalidInput):
    """The name of a role or permission is not of the form that one has."""

    code = "invalid_role"
    message = "A role is named like `editor`, a permission like `posts:delete`."
    field = "permissions"


class InvalidScope(InvalidInput):
    """The scope is unknown, malformed or wider than what was granted (RFC 6749 §5.2)."""

    code = "invalid_scope"
    message = "The scope is unknown or exceeds what was granted."
    field = "scope"


class InvalidTarget(InvalidInput):
    """The resource is unknown, malformed, one of several, or not for this client (RFC 8707 §2)."""

    code = "invalid_target"
    message = "The resource is unknown, malformed, one of several, or not for this client."
    field = "resource"


class NotFound(KeyturnError):
    """There is no such thing, or none that the caller may know of."""


class UserNotFound(NotFound):
    """No such user."""

    code = "user_not_found"
    message = "There is no such user."


class RoleNotFound(NotFound):
    """No such role."""

    code = "role_not_found"
    message = "There is no such role."


class MailNotFound(NotFound):
    """No such mail waits to be sent."""

    code = "mail_not_found"
    message = "There is no such mail."


class SessionNotFound(NotFound):
    """No such live session of this user."""

    code = "session_not_found"
    message = "There is no such session."


class Conflict(KeyturnError):
    """The change contradicts what is stored."""


class EmailTaken(Conflict):
    """Another user has this e-mail address."""

    code = "email_taken"
    message = "This e-mail address is already registered."


class LastAdministrator(Conflict):
    """The change would leave nobody who can administer the service."""

    code = "last_administrator"
    message = "The last administrator can't be demoted, disabled or deleted."


class AdministratorUnverified(Conflict):
    """The role `admin` would be granted to a user whose address nobody has verified."""

    code = "administrator_unverified"
    message = "The role `admin` needs a verified e-mail address."


class RoleChanged(Conflict):
    """The role is not the version that the caller has seen, or somebody else changes it now."""

    code = "role_changed"
    message = "The role has changed. Read it again, then decide again."


class RoleProtected(Conflict):
    """The role is one that the service itself relies on."""

    code = "role_protected"
    message = "This role is built in and can't be changed."


class Unavailable(KeyturnError):
    """It can't be done now and may work later; nothing was changed or used up."""

    retry_after: ClassVar[int] = 1
    """Seconds after which a retry makes sense."""


class StoreUnavailable(Unavailable):
    """The store does not answer."""

    code = "store_unavailable"
    message = "The service can't reach its store. Nothing was changed; try again."


class RevocationsUnknown(Unavailable):
    """This process has not heard of revocations for longer than allowed, and so trusts no token."""

    code = "revocations_unknown"
    message = "The service can't tell at the moment which tokens are revoked; try again."


class SigningUnavailable(Unavailable):
    """The key that signs tokens can't be reached."""

    code = "signing_unavailable"
    message = "The service can't sign tokens at the moment. Nothing was changed; try again."


class HashingBusy(Unavailable):
    """More passwords wait to be hashed than the queue holds."""

    code = "hashing_busy"
    message = "Too many logins at once; try again in a moment."


class ProofsBusy(Unavailable):
    """More DPoP proofs than can be remembered arrive at once, so none is known to be new."""

    code = "proofs_busy"
    message = "Too many DPoP proofs at once; try again in a moment."
    retry_after = 30


class Contention(Unavailable):
    """Others kept changing the same record for as often as it was read again."""

    code = "contention"
    message = "The record is being changed by others; try again."


class MailUnavailable(Unavailable):
    """The mail server does not answer, or asks to try again later."""

    code = "mail_unavailable"
    message = "The mail can't be sent at the moment."


class MailNotDelivered(KeyturnError):
    """A mail that will never be sent as it is."""


class LetterUnwritable(MailNotDelivered):
    """There is no template for the letter, or the template is wrong."""

    code = "letter_unwritable"
    message = "The letter can't be put into words."


class MailRefused(MailNotDelivered):
    """The mail server will never take the mail."""

    code = "mail_refused"
    message = "The mail server refuses the mail."


class StaleWrite(KeyturnError):
    """What was read has been changed since; a use-case answers by reading again."""


class StaleUser(StaleWrite):
    """The user was changed or removed since it was read."""

    code = "stale_user"
    message = "The user was changed meanwhile."


class StaleFamily(StaleWrite):
    """The family was rotated, revoked or removed since it was read."""

    code = "stale_family"
    message = "The session was changed meanwhile."


class StaleRole(StaleWrite):
    """The role is not the version that the write was based on."""

    code = "stale_role"
    message = "The role was changed by another request."


class StaleOneTimeToken(StaleWrite):
    """The one-time token was used or removed since it was read."""

    code = "stale_one_time_token"
    message = "The link was used meanwhile."
