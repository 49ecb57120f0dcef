"""Attackers who want to learn from figures who has an account."""

import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import httpx
import pytest

SOURCE = Path(__file__).parents[2] / "src"
STRANGER = {"email": "ada@example.com", "password": "a passphrase of my own"}

Serve = Callable[..., AbstractContextManager[str]]


def addresses(banner: str) -> tuple[str, str | None]:
    """Return where the service is, and where its metrics are."""
    service = re.search(r"keyturn is at (http://\S+)", banner)
    assert service
    metrics = re.search(r"Metrics are at (http://\S+)", banner)
    return service[1], metrics[1] if metrics else None


def told_on(url: str) -> str:
    """Return all that the public port answers without credentials."""
    absent = ["/metrics", "/metrics/", "/v1/metrics"]
    public = ["/health/live", "/health/ready", "/docs", "/openapi.json", "/"]
    answers = [httpx.get(url + path, timeout=60) for path in (*absent, *public)]
    assert {answer.status_code for answer in answers[: len(absent)]} == {404}
    return "".join(f"{answer.headers}{answer.text}" for answer in answers)


def test_a_stranger_cannot_learn_from_the_public_port_who_has_an_account(serving: Serve) -> None:
    with serving() as banner:
        url, metrics = addresses(banner)
        assert metrics is None
        httpx.post(f"{url}/v1/auth/login", json=STRANGER, timeout=60)
        assert not re.search("unknown_email|wrong_password|keyturn_logins", told_on(url))


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_stranger_cannot_reach_the_metrics_that_prometheus_reads(
    workers: str, serving: Serve, environment: pytest.MonkeyPatch
) -> None:
    environment.setenv("KEYTURN_METRICS_PORT", "0")
    with serving("--workers", workers) as banner:
        url, metrics = addresses(banner)
        assert metrics is not None
        httpx.post(f"{url}/v1/auth/login", json=STRANGER, timeout=60)
        give_up = time.monotonic() + 60
        while "unknown_email" not in httpx.get(metrics, timeout=60).text:
            assert time.monotonic() < give_up, "the worker has reported nothing"
        assert not re.search("unknown_email|keyturn_logins", told_on(url))
        host, _, port = metrics.removeprefix("http://").removesuffix("/metrics").partition(":")
        # On this address alone, not on all of them.
        assert host == "127.0.0.1"
        with pytest.raises(httpx.ConnectError):
            httpx.get(f"http://127.0.0.2:{port}/metrics", timeout=60)


def test_an_attacker_on_the_machine_cannot_use_up_the_listener_of_the_metrics(
    serving: Serve, environment: pytest.MonkeyPatch
) -> None:
    environment.setenv("KEYTURN_METRICS_PORT", "0")
    with serving() as banner:
        metrics = addresses(banner)[1]
        assert metrics is not None
        large = httpx.get(metrics, headers={"X": "a" * 100_000}, timeout=60)
        assert (large.status_code, large.json()["code"]) == (431, "headers_too_large")
        assert httpx.get(metrics, timeout=60).status_code == 200


def test_the_metrics_need_no_folder_that_can_be_written(
    serving: Serve, environment: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o500)
    environment.setenv("TMPDIR", str(closed))
    environment.setenv("KEYTURN_METRICS_PORT", "0")
    with serving("--workers", "2") as banner:
        metrics = addresses(banner)[1]
        assert metrics is not None
        assert httpx.get(metrics, timeout=60).status_code == 200
        assert list(closed.iterdir()) == []


def test_a_port_for_the_metrics_that_is_taken_stops_the_start(
    serving: Serve, environment: pytest.MonkeyPatch
) -> None:
    environment.setenv("KEYTURN_METRICS_PORT", "0")
    with serving() as banner:
        metrics = addresses(banner)[1]
        assert metrics is not None
        port = metrics.rpartition(":")[2].removesuffix("/metrics")
        environment.setenv("KEYTURN_METRICS_PORT", port)
        refused = subprocess.run(
            [sys.executable, "-m", "keyturn", "serve", "--port", "0"],
            env=os.environ | {"PYTHONPATH": str(SOURCE)},
            capture_output=True,
            text=True,
            check=False,
        )
    assert refused.returncode == 2
    assert refused.stderr == f"keyturn: can't listen on 127.0.0.1:{port}: Address already in use\n"
