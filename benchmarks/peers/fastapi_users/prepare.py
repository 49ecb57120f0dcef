"""Makes the tables and the users."""

import asyncio
import os
import uuid

from app import Base, User, engine, password_helper, sessions


async def main() -> None:
    """Prepare."""
    async with engine.begin() as connection:
        await connection.run_sync(Base.metadata.create_all)
    password_hash = password_helper.hash(os.environ["BENCH_PASSWORD"])
    async with sessions.begin() as session:
        session.add_all(
            User(
                id=uuid.uuid4(),
                email=f"user{number}@example.com",
                hashed_password=password_hash,
                is_active=True,
                is_verified=True,
            )
            for number in range(int(os.environ["BENCH_USERS"]))
        )
    await engine.dispose()


if __name__ == "__main__":
    asyncio.run(main())
