"""The figures of several workers, brought together without a file."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator

import pytest

from keyturn.adapters.prometheus import reports
from keyturn.adapters.prometheus.metrics import PrometheusMetrics
from keyturn.adapters.prometheus.reports import AllWorkers, WorkerReports, report_sockets
from keyturn.testing.in_memory import InMemoryKeyturn

REQUESTS = 'keyturn_http_requests_total{method="GET",route="/r",status="200"}'


class Hashing:
    running, waiting = 1, 2


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    receiver, sender = report_sockets()
    with receiver, sender:
        yield receiver, sender


@pytest.fixture
def sender(pair: tuple[socket.socket, socket.socket]) -> socket.socket:
    return pair[1]


@pytest.fixture
def all_workers(pair: tuple[socket.socket, socket.socket]) -> AllWorkers:
    return AllWorkers(pair[0])


@pytest.fixture
def dead_pid() -> int:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


class Worker:
    """A worker with a process id of the test's choice."""

    def __init__(self, sender: socket.socket, monkeypatch: pytest.MonkeyPatch, pid: int) -> None:
        self.metrics = PrometheusMetrics(Hashing(), InMemoryKeyturn().revocations)
        with monkeypatch.context() as patch:
            patch.setattr(os, "getpid", lambda: pid)
            self._reports = WorkerReports(self.metrics, sender)

    async def count(self, times: int, route: str = "/r") -> None:
        for _ in range(times):
            self.metrics.count_request("GET", route, 200, 0.02)

    async def report(self) -> None:
        await self._reports.send()


def figure(page: bytes, name: str) -> float:
    [found] = [line for line in page.decode().splitlines() if line.startswith(name + " ")]
    return float(found.split()[1])


async def test_counters_are_summed_and_gauges_merged(
    all_workers: AllWorkers, sender: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = (Worker(sender, monkeypatch, os.getpid()) for _ in range(2))
    for worker, times in ((one, 3), (other, 4)):
        await worker.count(times)
        await worker.report()
    page = all_workers.render()
    assert figure(page, REQUESTS) == 7
    assert figure(page, 'keyturn_password_hashes{state="running"}') == 2
    assert figure(page, 'keyturn_http_request_duration_seconds_count{method="GET",route="/r"}') == 7
    assert b"# TYPE keyturn_http_requests_total counter" in page
    assert b"# TYPE keyturn_http_request_duration_seconds histogram" in page
    assert b"_created" not in page


async def test_the_counters_of_a_worker_that_was_killed_stay_and_its_gauges_go(
    all_workers: AllWorkers,
    sender: socket.socket,
    monkeypatch: pytest.MonkeyPatch,
    dead_pid: int,
) -> None:
    lives, dies = (Worker(sender, monkeypatch, pid) for pid in (os.getpid(), dead_pid))
    for worker in (lives, dies):
        await worker.count(5)
        await worker.report()
    for _ in range(2):
        assert figure(all_workers.render(), REQUESTS) == 10
    assert figure(all_workers.render(), 'keyturn_password_hashes{state="running"}') == 1
    # Another one, with the same process id.
    replacement = Worker(sender, monkeypatch, dead_pid)
    await replacement.count(1)
    await replacement.report()
    for _ in range(2):
        assert figure(all_workers.render(), REQUESTS) == 11


async def test_the_last_report_of_a_worker_counts_although_it_is_read_late(
    all_workers: AllWorkers,
    sender: socket.socket,
    monkeypatch: pytest.MonkeyPatch,
    dead_pid: int,
) -> None:
    worker = Worker(sender, monkeypatch, dead_pid)
    await worker.count(1)
    await worker.report()
    all_workers.receive()
    await worker.count(1)
    await worker.report()
    for _ in range(3):
        assert figure(all_workers.render(), REQUESTS) == 2


async def test_only_what_has_changed_is_reported(
    pair: tuple[socket.socket, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    worker = Worker(pair[1], monkeypatch, os.getpid())
    await worker.report()
    pair[0].recv(reports.BUFFER_BYTES)
    await worker.count(1, "/quite-another")
    await worker.report()
    news = pair[0].recv(reports.BUFFER_BYTES)
    assert b"/quite-another" in news
    assert b"password_hashes" not in news


async def test_a_report_that_found_no_room_is_sent_again(
    all_workers: AllWorkers, sender: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker = Worker(sender, monkeypatch, os.getpid())
    filled = 0
    while True:
        try:
            sender.send(b'{"worker": [1, "x"], "samples": []}')
        except BlockingIOError:
            break
        filled += 1
    assert filled > 0
    await worker.count(5)
    await worker.report()
    assert REQUESTS.encode() not in all_workers.render()
    await worker.report()
    assert figure(all_workers.render(), REQUESTS) == 5


async def test_a_worker_goes_on_when_nobody_collects_any_more(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    receiver, sender = report_sockets()
    receiver.close()
    with sender:
        worker = Worker(sender, monkeypatch, os.getpid())
        await worker.count(1)
        await worker.report()
