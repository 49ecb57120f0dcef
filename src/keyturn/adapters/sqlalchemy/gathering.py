"""What is asked for at the same time, asked by one statement."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, Generic, TypeVar

from keyturn.adapters.sqlalchemy.prepared import Parameters

MOST: Final = 8
"""Askers that one statement serves. With many more, all would wait for the same answer, and neither
the worker nor the database would have anything to do while the other works."""

T = TypeVar("T")


class Gathering(Generic[T]):
    """Gathers those who ask in the same turn of the event loop, and asks once for all of them.

    Nobody waits for others to come: who is alone in their turn is told so at once. The busier the
    loop, the more come together, and the less each of them costs.
    """

    def __init__(
        self, answer: Callable[[Sequence[Parameters]], Awaitable[Sequence[T | None]]]
    ) -> None:
        """Ask by `answer`, which is given at least two and returns as many, in their order."""
        self._answer = answer
        self._askers: list[tuple[Parameters, asyncio.Future[T | None]]] = []
        self._tasks: set[asyncio.Task[None]] = set()

    async def ask(self, parameters: Parameters) -> T | None:
        """Return the answer, None for whoever has to ask alone."""
        loop = asyncio.get_running_loop()
        if not self._askers:
            loop.call_soon(self._end_turn)
        answered: asyncio.Future[T | None] = loop.create_future()
        self._askers.append((parameters, answered))
        return await answered

    def _end_turn(self) -> None:
        # Who was cancelled meanwhile asks for nothing any more.
        askers = [asker for asker in self._askers if not asker[1].done()]
        self._askers = []
        for first in range(0, len(askers), MOST):
            together = askers[first : first + MOST]
            if len(together) == 1:
                together[0][1].set_result(None)
            else:
                task = asyncio.get_running_loop().create_task(self._ask_once(together))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)

    async def _ask_once(self, askers: list[tuple[Parameters, asyncio.Future[T | None]]]) -> None:
        try:
            answers = await self._answer([parameters for parameters, _ in askers])
        except Exception as error:  # noqa: BLE001 - it is raised where the asker waits
            for _, answered in askers:
                if not answered.done():
                    answered.set_exception(error)
        else:
            for (_, answered), answer in zip(askers, answers, strict=True):
                if not answered.done():
                    answered.set_result(answer)
        finally:
            # The task itself was cancelled: nobody must wait for it for ever.
            for _, answered in askers:
                answered.cancel()
