"""Flask-JWT-Extended as its documentation sets it up, with its blocklist on Redis.

A refresh puts the token that was used on the list, and hands out a new pair.
"""

import os
from datetime import timedelta
from typing import Any

from argon2 import PasswordHasher
from argon2.exceptions import VerifyMismatchError
from flask import Flask, jsonify, request
from flask.typing import ResponseReturnValue
from flask_jwt_extended import (
    JWTManager,
    create_access_token,
    create_refresh_token,
    get_jwt,
    get_jwt_identity,
    jwt_required,
)
from psycopg_pool import ConnectionPool
from redis import Redis

REFRESH_SECONDS = 7 * 86400

app = Flask(__name__)
app.config["JWT_SECRET_KEY"] = os.environ["BENCH_SECRET"]
app.config["JWT_ACCESS_TOKEN_EXPIRES"] = timedelta(seconds=int(os.environ["BENCH_ACCESS_SECONDS"]))
app.config["JWT_REFRESH_TOKEN_EXPIRES"] = timedelta(seconds=REFRESH_SECONDS)
app.config["JWT_TOKEN_LOCATION"] = ["headers", "json"]
jwt = JWTManager(app)
blocklist = Redis.from_url(os.environ["REDIS_URL"])
hasher = PasswordHasher(*map(int, os.environ["BENCH_ARGON2"].split(",")))
pool = ConnectionPool(os.environ["DATABASE_URL"], min_size=1, max_size=10, open=True)


@jwt.token_in_blocklist_loader
def is_on_the_list(_: dict[str, Any], payload: dict[str, Any]) -> bool:
    """Ask Redis."""
    return blocklist.get(payload["jti"]) is not None


@app.post("/login")
def login() -> ResponseReturnValue:
    """Check a password and hand out tokens."""
    body = request.get_json()
    with pool.connection() as connection:
        row = connection.execute(
            "SELECT id::text, password_hash FROM users WHERE email = %s", (body["email"],)
        ).fetchone()
    if row is None:
        return "", 401
    try:
        hasher.verify(row[1], body["password"])
    except VerifyMismatchError:
        return "", 401
    return jsonify(
        access_token=create_access_token(row[0]), refresh_token=create_refresh_token(row[0])
    )


@app.post("/refresh")
@jwt_required(refresh=True)
def refresh() -> ResponseReturnValue:
    """Trade a refresh token for new tokens, once."""
    if not blocklist.set(get_jwt()["jti"], "", nx=True, ex=REFRESH_SECONDS):
        return "", 401
    who = get_jwt_identity()
    return jsonify(access_token=create_access_token(who), refresh_token=create_refresh_token(who))


@app.get("/verify")
@jwt_required()
def verify() -> ResponseReturnValue:
    """Say who is calling."""
    return "", 204, {"X-Auth-Subject": get_jwt_identity()}
