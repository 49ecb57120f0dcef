"""What is counted, once it has happened."""

import pytest

from keyturn.adapters.memory.store import MemoryStore
from keyturn.adapters.memory.unit_of_work import MemoryUnitOfWork
from keyturn.adapters.prometheus.counting import CountingUnitOfWork
from keyturn.adapters.prometheus.metrics import PrometheusMetrics
from keyturn.domain.errors import EmailTaken, InvalidCredentials
from keyturn.domain.events import AuditEvent
from keyturn.domain.secret import Secret
from keyturn.ports.persistence import UnitOfWorkFactory
from keyturn.testing.in_memory import InMemoryKeyturn
from keyturn.testing.persistence_contract import UnitOfWorkContract


class Hashing:
    running, waiting = 1, 2


@pytest.fixture
def counted() -> list[AuditEvent]:
    return []


@pytest.fixture
def keyturn(counted: list[AuditEvent]) -> InMemoryKeyturn:
    store = MemoryStore()
    return InMemoryKeyturn(
        unit_of_work=lambda: CountingUnitOfWork(MemoryUnitOfWork(store), counted.append)
    )


async def test_what_was_not_committed_is_not_counted(
    keyturn: InMemoryKeyturn, counted: list[AuditEvent]
) -> None:
    await keyturn.register()
    with pytest.raises(EmailTaken):
        await keyturn.register()
    assert [event.type.value for event in counted] == ["user_registered"]


async def test_a_refused_login_is_counted_by_its_reason(
    keyturn: InMemoryKeyturn, counted: list[AuditEvent]
) -> None:
    metrics = PrometheusMetrics(Hashing(), keyturn.revocations)
    await keyturn.register()
    with pytest.raises(InvalidCredentials):
        await keyturn.login(password=Secret("another passphrase"))
    for event in counted:
        metrics.count_event(event)
    told = metrics.render().decode()
    assert 'keyturn_logins_total{result="wrong_password"} 1.0' in told.splitlines()


async def test_two_apps_in_one_process_count_apart(keyturn: InMemoryKeyturn) -> None:
    one, other = (PrometheusMetrics(Hashing(), keyturn.revocations) for _ in range(2))
    one.count_request("GET", "/", 200, 0.1)
    assert b'status="200"' in one.render()
    assert b'status="200"' not in other.render()


class TestCountingUnitOfWork(UnitOfWorkContract):
    """It is a unit of work like any other."""

    @pytest.fixture
    def unit_of_work(self) -> UnitOfWorkFactory:
        store = MemoryStore()
        return lambda: CountingUnitOfWork(MemoryUnitOfWork(store), lambda _: None)
