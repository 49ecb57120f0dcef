"""How a process that is all the service's own loads its modules."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

YOUNG_OBJECTS: Final = 10_000
"""New objects after which garbage is looked for. Requests under way hold thousands, none of which
is garbage: at Python's own 700 it would be looked for every few requests, and hardly any found."""


@contextmanager
def loading() -> Iterator[None]:
    """Collect no garbage while modules are loaded, and never look at them again afterwards.

    They make a great many objects, of which next to none is garbage: to look for it takes a fifth
    of the start, and a pause under load whenever all objects are looked at. From then on it is
    looked for after `YOUNG_OBJECTS` new ones, unless somebody has seen to it that it is later.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
        gc.freeze()
        young, *older = gc.get_threshold()
        if 0 < young < YOUNG_OBJECTS:
            gc.set_threshold(YOUNG_OBJECTS, *older)
