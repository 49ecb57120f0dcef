"""A client of keyturn: logs in, keeps its tokens fresh, logs out.

```python
with KeyturnClient("https://auth.example.com") as keyturn:
    keyturn.login("ada@example.com", password)
    notes = httpx.Client(base_url="https://notes.example.com", auth=keyturn.auth)
    notes.get("/notes")
    # A service that is declared as a resource gets tokens that are good nowhere else.
    photos = httpx.Client(auth=keyturn.auth_for("https://photos.example.com"))
```

`AsyncKeyturnClient` is the same for asyncio and `httpx.AsyncClient`.
"""

from keyturn.client.async_client import AsyncKeyturnClient
from keyturn.client.errors import (
    ClientError,
    LoginRefused,
    NotLoggedIn,
    ResourceRefused,
    ServiceUnavailable,
    SessionEnded,
    UnexpectedAnswer,
)
from keyturn.client.sync_client import KeyturnClient
from keyturn.client.token_storage import (
    FileTokenStorage,
    MemoryTokenStorage,
    Tokens,
    TokenStorage,
    UnsafeTokenFile,
)

__all__ = [
    "AsyncKeyturnClient",
    "ClientError",
    "FileTokenStorage",
    "KeyturnClient",
    "LoginRefused",
    "MemoryTokenStorage",
    "NotLoggedIn",
    "ResourceRefused",
    "ServiceUnavailable",
    "SessionEnded",
    "TokenStorage",
    "Tokens",
    "UnexpectedAnswer",
    "UnsafeTokenFile",
]
