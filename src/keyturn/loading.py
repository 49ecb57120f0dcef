"""How a process that is all the service's own loads its modules."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def loading() -> Iterator[None]:
    """Collect no garbage while modules are loaded, and never look at them again afterwards.

    They make a great many objects, of which next to none is garbage: to look for it takes a fifth
    of the start, and a pause under load whenever all objects are looked at.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
        gc.freeze()
