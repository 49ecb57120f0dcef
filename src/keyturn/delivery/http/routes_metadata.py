"""What OAuth clients find out by themselves (RFC 8414)."""

from fastapi import APIRouter, FastAPI, Request, Response

from keyturn.delivery.http.dependencies import options_of
from keyturn.delivery.http.middleware import answer_headers
from keyturn.delivery.http.openapi import operation_id
from keyturn.delivery.http.schemas_oauth import ServerMetadata
from keyturn.delivery.http.services import HttpOptions

METADATA_PATH = "/.well-known/oauth-authorization-server"


router = APIRouter(tags=["OAuth 2"], generate_unique_id_function=operation_id)


@router.get(METADATA_PATH, summary="What a client needs to know", response_model_exclude_none=True)
async def server_metadata(request: Request, response: Response) -> ServerMetadata:
    """Tell the endpoints, and how to authenticate there; the issuer is `KEYTURN_ISSUER`."""
    return _metadata(options_of(request), response)


def answer_where_clients_ask(app: FastAPI, options: HttpOptions) -> None:
    """Let the app at the root of a host answer for an issuer whose URL has a path (RFC 8414 §3.1).

    Clients put the well-known path between the host and the path of the issuer.
    """
    if not options.issuer_path:
        return

    async def metadata_of_issuer_with_path(response: Response) -> ServerMetadata:
        return _metadata(options, response)

    path = METADATA_PATH + options.issuer_path
    app.add_api_route(
        path,
        metadata_of_issuer_with_path,
        response_model_exclude_none=True,
        include_in_schema=False,
    )


def _metadata(options: HttpOptions, response: Response) -> ServerMetadata:
    # The host of a mounted service gives this answer too, without the service's middleware.
    for name, value in answer_headers(https=options.issuer.startswith("https:")):
        response.headers[name.decode("ascii")] = value.decode("ascii")
    response.headers["Cache-Control"] = "public, max-age=300"
    return ServerMetadata.of(options)
