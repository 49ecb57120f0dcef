"""A bare FastAPI and SQLAlchemy app: what memory and start are held against.

One table, one model, one route that asks the database.
"""

import os

from fastapi import FastAPI
from pydantic import BaseModel
from sqlalchemy import String, select, text
from sqlalchemy.ext.asyncio import async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

engine = create_async_engine(
    os.environ["DATABASE_URL"].replace("postgresql://", "postgresql+asyncpg://", 1)
)
sessions = async_sessionmaker(engine)
app = FastAPI()


class Base(DeclarativeBase):
    """What the tables have in common."""


class User(Base):
    """Somebody."""

    __tablename__ = "users"

    id: Mapped[int] = mapped_column(primary_key=True)
    email: Mapped[str] = mapped_column(String, unique=True)


class ShownUser(BaseModel):
    """Somebody, as others see them."""

    id: int
    email: str


@app.get("/ready")
async def ready() -> dict[str, bool]:
    """Ask the database for a constant."""
    async with engine.connect() as connection:
        await connection.execute(text("SELECT 1"))
    return {"ok": True}


@app.get("/users/{user_id}")
async def user(user_id: int) -> ShownUser | None:
    """Return somebody."""
    async with sessions() as session:
        found = await session.scalar(select(User).where(User.id == user_id))
        return ShownUser(id=found.id, email=found.email) if found else None
