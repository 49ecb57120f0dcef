"""The dependencies of keyturn's own routes, for those of another service.

```python
app = FastAPI(lifespan=verifier.lifespan)
protect(app, verifier)


@app.get("/notes", dependencies=[Depends(require_permission("notes:read"))])
async def notes(principal: CurrentPrincipal) -> list[Note]: ...
```
"""

from fastapi import FastAPI

from keyturn.delivery.http.authorization import (
    require_any_permission,
    require_any_role,
    require_permission,
    require_role,
)
from keyturn.delivery.http.dependencies import CurrentPrincipal, OptionalPrincipal
from keyturn.delivery.http.error_answers import handle_keyturn_errors
from keyturn.delivery.http.services import AccessChecks

__all__ = [
    "CurrentPrincipal",
    "OptionalPrincipal",
    "protect",
    "require_any_permission",
    "require_any_role",
    "require_permission",
    "require_role",
]


def protect(app: FastAPI, verifier: AccessChecks) -> None:
    """Let the dependencies of this module ask `verifier`, and the app answer their errors.

    Errors are answered as problems (RFC 9457) with the headers of RFC 6750; so is every other
    `KeyturnError`, such as a `PermissionDenied` that a service layer raises.

    Args:
        verifier: a `TokenVerifier`; or, in tests, a `StaticTokenVerifier`.
    """
    app.state.keyturn = verifier
    handle_keyturn_errors(app)
