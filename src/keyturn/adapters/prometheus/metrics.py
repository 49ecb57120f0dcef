"""What is counted and measured, and how it is told."""

import time
from collections.abc import Callable, Iterable, Mapping
from typing import Protocol

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.metrics_core import Metric

from keyturn.domain.events import AuditEvent, AuditEventType
from keyturn.use_cases.revocation_replica import RevocationReplica
from keyturn.use_cases.rotate_refresh import RefreshOutcome

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)

MERGED_GAUGES: Mapping[str, Callable[[Iterable[float]], float]] = {
    "keyturn_password_hashes": sum,
    "keyturn_revocations_followed_timestamp_seconds": min,
    "keyturn_revocations": max,
}
"""How the gauges of several workers become one; everything else is summed."""


class HashingQueue(Protocol):
    """How busy the hashing of passwords is."""

    @property
    def running(self) -> int:
        """Hashes being computed now."""

    @property
    def waiting(self) -> int:
        """Hashes that wait for a thread."""


class PrometheusMetrics:
    """The figures of one app, in a registry of its own."""

    content_type = CONTENT_TYPE_LATEST
    """The media type of `render`."""

    def __init__(self, hashing: HashingQueue, replica: RevocationReplica) -> None:
        """Count from zero; read `hashing` and `replica` whenever they are told."""
        self._hashing = hashing
        self._replica = replica
        self._registry = registry = CollectorRegistry()
        self._requests = Counter(
            "keyturn_http_requests",
            "Requests, by method, route template and status.",
            ("method", "route", "status"),
            registry=registry,
        )
        self._durations = Histogram(
            "keyturn_http_request_duration_seconds",
            "How long requests took.",
            ("method", "route"),
            buckets=_SECONDS,
            registry=registry,
        )
        self._logins = Counter(
            "keyturn_logins",
            "Logins: succeeded, or why not.",
            ("result",),
            registry=registry,
        )
        self._refreshes = Counter(
            "keyturn_refreshes",
            "Refreshes: rotated, replayed (a retry in time) or reuse_detected (the session ended).",
            ("outcome",),
            registry=registry,
        )
        # With its labels bound once, a request is counted in half the time.
        self._bound: dict[tuple[str, str, int], tuple[Counter, Histogram]] = {}
        self._bound_refreshes: dict[RefreshOutcome, Counter] = {}
        self._mails = Counter(
            "keyturn_mails",
            "Mails for the mail server: sent, refused for good, or unavailable (tried again).",
            ("result",),
            registry=registry,
        )
        self._hashes = Gauge(
            "keyturn_password_hashes",
            "Password hashes running, and waiting for a thread.",
            ("state",),
            registry=registry,
        )
        self._followed = Gauge(
            "keyturn_revocations_followed_timestamp_seconds",
            "When the revocation list was last looked at; of several workers, the one behind most.",
            registry=registry,
        )
        self._revocations = Gauge(
            "keyturn_revocations",
            "Revocations that still matter, as this machine knows them.",
            registry=registry,
        )

    def count_request(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count a request that is over."""
        bound = self._bound.get((method, route, status))
        if bound is None:
            bound = self._bound[method, route, status] = (
                self._requests.labels(method, route, str(status)),
                self._durations.labels(method, route),
            )
        requests, durations = bound
        requests.inc()
        durations.observe(seconds)

    def count_event(self, event: AuditEvent) -> None:
        """Count what the audit trail has been told, where it is a login or a reuse."""
        match event.type:
            case AuditEventType.LOGIN_SUCCEEDED:
                self._logins.labels("succeeded").inc()
            case AuditEventType.LOGIN_FAILED:
                self._logins.labels(event.details["reason"]).inc()
            case AuditEventType.REUSE_DETECTED:
                self._refreshes.labels("reuse_detected").inc()
            case _:
                pass

    def count_refresh(self, outcome: RefreshOutcome) -> None:
        """Count a refresh that gave tokens."""
        bound = self._bound_refreshes.get(outcome)
        if bound is None:
            bound = self._bound_refreshes[outcome] = self._refreshes.labels(outcome.value)
        bound.inc()

    def count_mail(self, result: str) -> None:
        """Count a mail that the mail server was to take."""
        self._mails.labels(result).inc()

    def collect(self) -> Iterable[Metric]:
        """Return every metric with its samples as they are now."""
        self._hashes.labels("running").set(self._hashing.running)
        self._hashes.labels("waiting").set(self._hashing.waiting)
        self._revocations.set(len(self._replica))
        age = self._replica.age()
        # Prometheus takes the age from the time, which also shows a worker that hangs.
        self._followed.set(0 if age is None else time.time() - age.total_seconds())
        return self._registry.collect()

    def render(self) -> bytes:
        """Return all figures of this app in the text format of Prometheus."""
        self.collect()
        return generate_latest(self._registry)
