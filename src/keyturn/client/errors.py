"""What can go wrong for a client; no error holds a password or a token.

```
ClientError
├── LoginRefused         the address or the password is wrong, or neither is accepted
├── NotLoggedIn          there are no tokens
│   └── SessionEnded     there were, and the service takes them no more: log in again
├── ResourceRefused      there is no such resource, or the client may not ask for it
├── ServiceUnavailable   no answer, or one that says to try again
└── UnexpectedAnswer     this is not how keyturn answers
```
"""


class ClientError(Exception):
    """Base of every error of the client."""


class LoginRefused(ClientError):
    """The service does not accept the login.

    Attributes:
        code: the stable code of the problem, such as `invalid_credentials`.
    """

    def __init__(self, code: str) -> None:
        """Raise with the service's code."""
        super().__init__(f"the login is refused: {code}")
        self.code = code


class NotLoggedIn(ClientError):
    """Nobody is logged in."""

    def __init__(self, message: str = "nobody is logged in") -> None:
        """Raise, saying so."""
        super().__init__(message)


class SessionEnded(NotLoggedIn):
    """The session is over: by a log-out, by its age, or because its refresh token was stolen."""

    def __init__(self) -> None:
        """Raise, saying so."""
        super().__init__("the session has ended: log in again")


class ResourceRefused(ClientError):
    """The service issues no token for the resource; the session goes on.

    Attributes:
        resource: what was asked for.
    """

    def __init__(self, resource: str) -> None:
        """Raise with the resource."""
        super().__init__(f"there is no token for the resource {resource!r}")
        self.resource = resource


class ServiceUnavailable(ClientError):
    """The service does not answer, or can't at the moment. Nobody is logged out for it."""

    def __init__(self) -> None:
        """Raise, saying so."""
        super().__init__("the service is not available now")


class UnexpectedAnswer(ClientError):
    """The answer is none that keyturn gives.

    Attributes:
        status: its HTTP status.
    """

    def __init__(self, status: int) -> None:
        """Raise with the status of the answer."""
        super().__init__(f"the service answered {status} with what is not expected")
        self.status = status
