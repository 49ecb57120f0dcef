"""Makes the table and the users."""

import asyncio
import os

import asyncpg
from argon2 import PasswordHasher


async def main() -> None:
    """Prepare."""
    hasher = PasswordHasher(*map(int, os.environ["BENCH_ARGON2"].split(",")))
    connection = await asyncpg.connect(os.environ["DATABASE_URL"])
    await connection.execute(
        "CREATE TABLE users (id uuid PRIMARY KEY DEFAULT gen_random_uuid(),"
        " email text NOT NULL UNIQUE, password_hash text NOT NULL)"
    )
    await connection.execute(
        "INSERT INTO users (email, password_hash)"
        " SELECT 'user' || i || '@example.com', $1 FROM generate_series(0, $2) AS n(i)",
        hasher.hash(os.environ["BENCH_PASSWORD"]),
        int(os.environ["BENCH_USERS"]) - 1,
    )
    await connection.close()


if __name__ == "__main__":
    asyncio.run(main())
