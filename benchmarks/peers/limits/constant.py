"""The least that FastAPI can do: a constant, as JSON and as an empty answer."""

from fastapi import FastAPI, Response

app = FastAPI()


@app.get("/constant")
async def constant() -> dict[str, bool]:
    """Return a constant."""
    return {"ok": True}


@app.get("/empty")
async def empty() -> Response:
    """Return nothing, in the cheapest way that there is."""
    return Response(status_code=204)
