"""Makes the tables and the families, and prints their refresh tokens as JSON."""

import asyncio
import json
import os
import sqlite3
import time
import uuid

import asyncpg
import tokens

TABLES = """
CREATE TABLE users (id {uuid} PRIMARY KEY, email text NOT NULL, email_key text NOT NULL UNIQUE,
    password_hash text NOT NULL, status text NOT NULL, epoch integer NOT NULL,
    version integer NOT NULL, created_at {time} NOT NULL);
CREATE TABLE roles (name text PRIMARY KEY, permissions json NOT NULL);
CREATE TABLE user_roles (user_id {uuid} NOT NULL REFERENCES users, role text NOT NULL
    REFERENCES roles, PRIMARY KEY (user_id, role));
CREATE TABLE refresh_tokens (id {uuid} PRIMARY KEY, user_id {uuid} NOT NULL REFERENCES users,
    client_id text NOT NULL, current_jti {uuid} NOT NULL, previous_jti {uuid},
    generation integer NOT NULL, user_agent text, ip text, created_at {time} NOT NULL,
    rotated_at {time} NOT NULL, expires_at {time} NOT NULL, absolute_expires_at {time} NOT NULL,
    revoked_at {time}, revoke_reason text){options};
CREATE INDEX refresh_tokens_user ON refresh_tokens (user_id);
CREATE INDEX refresh_tokens_end ON refresh_tokens (absolute_expires_at);
INSERT INTO roles VALUES ('user', '["profile:read", "profile:write"]');
"""


def rows(user: str, family: str, token: str, number: int) -> list[str]:
    """Return the statements that make one user with one family."""
    now, end = ("datetime('now')", "datetime('now', '+30 days')")
    if not SQLITE:
        now, end = ("now()", "now() + interval '30 days'")
    email = f"user{number}@example.com"
    return [
        f"INSERT INTO users VALUES ('{user}', '{email}', '{email}', '-', 'active', 0, 0, {now})",
        f"INSERT INTO user_roles VALUES ('{user}', 'user')",
        (
            f"INSERT INTO refresh_tokens VALUES ('{family}', '{user}', 'keyturn', '{token}', NULL,"
            f" 0, NULL, NULL, {now}, {now}, {end}, {end}, NULL, NULL)"
        ),
    ]


URL = os.environ["DATABASE_URL"]
SQLITE = URL.startswith("sqlite:")


async def in_postgres(statements: str) -> None:
    """Run the statements on PostgreSQL."""
    connection = await asyncpg.connect(URL)
    await connection.execute(statements)
    await connection.close()


def main() -> None:
    """Prepare, and print the tokens."""
    kinds = {"uuid": "text", "time": "text", "options": ""}
    if not SQLITE:
        kinds = {"uuid": "uuid", "time": "timestamptz", "options": " WITH (fillfactor = 70)"}
    statements = [TABLES.format(**kinds)]
    made = []
    for number in range(int(os.environ["BENCH_CHAINS"])):
        user, family, token = uuid.uuid4(), uuid.uuid4(), uuid.uuid4()
        statements += [s + ";" for s in rows(user.hex, family.hex, token.hex, number)]
        made.append(tokens.refresh_token(str(user), str(family), str(token), int(time.time())))
    if SQLITE:
        connection = sqlite3.connect(URL.removeprefix("sqlite:///"))
        connection.executescript("\n".join(statements))
        connection.close()
    else:
        asyncio.run(in_postgres("\n".join(statements)))
    print(json.dumps({"refresh_tokens": made}))


if __name__ == "__main__":
    main()
