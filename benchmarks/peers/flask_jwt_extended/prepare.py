"""Makes the table and the users."""

import os

import psycopg
from argon2 import PasswordHasher

if __name__ == "__main__":
    hasher = PasswordHasher(*map(int, os.environ["BENCH_ARGON2"].split(",")))
    with psycopg.connect(os.environ["DATABASE_URL"]) as connection:
        connection.execute(
            "CREATE TABLE users (id uuid PRIMARY KEY DEFAULT gen_random_uuid(),"
            " email text NOT NULL UNIQUE, password_hash text NOT NULL)"
        )
        connection.execute(
            "INSERT INTO users (email, password_hash)"
            " SELECT 'user' || i || '@example.com', %s FROM generate_series(0, %s) AS n(i)",
            (hasher.hash(os.environ["BENCH_PASSWORD"]), int(os.environ["BENCH_USERS"]) - 1),
        )
