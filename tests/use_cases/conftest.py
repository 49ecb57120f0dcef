"""A whole keyturn in memory for every test of a use-case."""

import pytest

from keyturn.testing.in_memory import InMemoryKeyturn


@pytest.fixture
def keyturn() -> InMemoryKeyturn:
    return InMemoryKeyturn()
