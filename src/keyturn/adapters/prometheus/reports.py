"""Brings the figures of all workers together in the process that started them.

Each worker sends what has changed as datagrams over one pair of sockets, which all workers share.
A datagram holds absolute values, so that none depends on another one, and arrives whole or not at
all. There is no file and no lock, and a worker that is killed leaves nothing behind.
"""

import json
import os
import secrets
import socket
from collections.abc import Iterable
from contextlib import suppress

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from keyturn.adapters.prometheus.metrics import MERGED_GAUGES, PrometheusMetrics

SAMPLES_PER_DATAGRAM = 64
"""So that a datagram has some 10 KB; the system takes at least `BUFFER_BYTES`."""

BUFFER_BYTES = 262144

_Series = tuple[str, tuple[tuple[str, str], ...]]
"""The name of a sample and its labels."""


def report_sockets() -> tuple[socket.socket, socket.socket]:
    """Return where `WorkerReports` are received and where they are sent.

    Raises:
        OSError: the system has no such sockets, as Windows has none.
    """
    if not hasattr(socket, "AF_UNIX"):
        raise OSError("this system has no UNIX sockets")
    receiver, sender = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    sender.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, BUFFER_BYTES)
    receiver.settimeout(0)
    return receiver, sender


class WorkerReports:
    """Sends the figures of one worker."""

    def __init__(self, metrics: PrometheusMetrics, sender: socket.socket) -> None:
        """Report `metrics` to `sender`; see `report_sockets`."""
        self._metrics = metrics
        self._sender = sender
        # A report that finds no room is sent again, and delays no request.
        sender.settimeout(0)
        # The same process id may come again.
        self._worker = [os.getpid(), secrets.token_hex(8)]
        self._sent: dict[_Series, float] = {}

    async def send(self) -> None:
        """Send what has changed; what finds no room is sent the next time."""
        changed = []
        for metric in self._metrics.collect():
            for sample in metric.samples:
                series = (sample.name, tuple(sample.labels.items()))
                # When a series began is of no use in a sum.
                is_news = self._sent.get(series) != sample.value
                if is_news and not sample.name.endswith("_created"):
                    about = (metric.name, metric.type, metric.documentation)
                    changed.append((about, series, sample.value))
        for start in range(0, len(changed), SAMPLES_PER_DATAGRAM):
            part = changed[start : start + SAMPLES_PER_DATAGRAM]
            message = json.dumps({"worker": self._worker, "samples": part})
            # There is no room, or the process that collects has ended, and so will this one.
            with suppress(OSError):
                self._sender.send(message.encode("utf-8"))
                self._sent.update((series, value) for _, series, value in part)


class AllWorkers(Collector):
    """The figures of all workers that there are or have been.

    Counters never go backwards: those of a worker that has ended stay in the sum.
    """

    content_type = CONTENT_TYPE_LATEST
    """The media type of `render`."""

    def __init__(self, receiver: socket.socket) -> None:
        """Receive from `receiver`; see `report_sockets`."""
        self._receiver = receiver
        self._about: dict[_Series, tuple[str, str, str]] = {}
        self._workers: dict[tuple[int, str], dict[_Series, float]] = {}
        self._of_the_ended: dict[_Series, float] = {}
        self._registry = CollectorRegistry()
        self._registry.register(self)

    def receive(self) -> None:
        """Take every report that has arrived; to be called whenever one has."""
        while True:
            try:
                message = self._receiver.recv(BUFFER_BYTES)
            except BlockingIOError:
                return
            report = json.loads(message)
            pid, name = report["worker"]
            figures = self._workers.setdefault((pid, name), {})
            for about, (sample, labels), value in report["samples"]:
                series = (sample, tuple((label, text) for label, text in labels))
                self._about[series] = tuple(about)
                figures[series] = value

    def render(self) -> bytes:
        """Return the figures in the text format of Prometheus."""
        # Before the last reports are taken: what an ended worker has sent is there by then.
        ended = [worker for worker in self._workers if not _is_alive(worker[0])]
        self.receive()
        for worker in ended:
            self._keep_counters(self._workers.pop(worker))
        return generate_latest(self._registry)

    def collect(self) -> Iterable[Metric]:
        """Return every metric with the samples of all workers together."""
        metrics: dict[str, Metric] = {}
        for series, (name, kind, documentation) in sorted(self._about.items()):
            values = [each[series] for each in self._workers.values() if series in each]
            if series in self._of_the_ended:
                values.append(self._of_the_ended[series])
            if not values:
                continue
            metric = metrics.setdefault(name, Metric(name, documentation, kind))
            sample, labels = series
            metric.add_sample(sample, dict(labels), MERGED_GAUGES.get(name, sum)(values))
        return metrics.values()

    def _keep_counters(self, figures: dict[_Series, float]) -> None:
        for series, value in figures.items():
            if self._about[series][1] != "gauge":
                self._of_the_ended[series] = self._of_the_ended.get(series, 0.0) + value


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True
