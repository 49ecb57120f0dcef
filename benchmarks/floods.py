"""What a flood costs a worker: endless headers its memory, strength estimates its verify latency.

    python benchmarks/floods.py [seconds of each part, 15]

A real server with one worker and without throttling, which would stop the floods. The first part
sends endless headers on 32 connections, which connect again when they are refused, and samples the
worker's resident memory. The second part verifies an access token at a fixed pace, first alone,
then beside 8 connections that ask for estimates without a pause; it fails if the p99 beside them
exceeds twice the p99 alone. It runs twice, because the first estimate loads the estimator.
"""

import asyncio
import json
import os
import socket
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

import httpx
from benchmarks.enumeration import PASSWORD, serving
from benchmarks.load import Job

CONNECTIONS = 32
MEGABYTE = 1024 * 1024
LARGEST_RATIO = 2.0

# Among the slowest texts of their length: many characters that zxcvbn reads as others.
SLOW_TEXTS = (
    "4@8({[<36!1|0$5+7%2",
    "p@$$w0rd1!|5+7%2x4a",
    "1!|7+$5z2%4@8({[<3",
    "4a4a4a4a4a4a4a4a4a4",
)


def resident_mb(pid: int) -> float:
    """Return the resident memory of a process in megabytes."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    raise RuntimeError("the process has ended")


def listening_pid(port: int) -> int:
    """Return the process that serves the port: the child of this one that listens on it."""
    inodes = set()
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        fields = line.split()
        if int(fields[1].split(":")[1], 16) == port and fields[3] == "0A":
            inodes.add(f"socket:[{fields[9]}]")
    for child in subprocess.check_output(["ps", "-o", "pid=", "--ppid", str(os.getpid())]).split():
        for fd in Path(f"/proc/{int(child)}/fd").glob("*"):
            with suppress(OSError):
                if str(fd.readlink()) in inodes:
                    return int(child)
    raise RuntimeError("nothing listens")


def flood_headers(address: tuple[str, int], until: float) -> int:
    """Send endless headers until then, connecting again and again; return the bytes sent."""
    block = b"X: " + b"a" * 65000 + b"\r\n"
    sent = 0
    while time.monotonic() < until:
        with suppress(OSError), socket.create_connection(address, timeout=10) as connection:
            connection.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n")
            while time.monotonic() < until:
                connection.sendall(block)
                sent += len(block)
    return sent


def measure_memory(address: tuple[str, int], pid: int, seconds: float) -> None:
    """Print the memory at rest, at its peak in the flood, and after it."""
    rest = peak = resident_mb(pid)
    until = time.monotonic() + seconds
    sent: list[int] = []
    threads = [
        threading.Thread(target=lambda: sent.append(flood_headers(address, until)))
        for _ in range(CONNECTIONS)
    ]
    for thread in threads:
        thread.start()
    while time.monotonic() < until:
        peak = max(peak, resident_mb(pid))
        time.sleep(0.02)
    for thread in threads:
        thread.join()
    print(
        f"endless headers, {CONNECTIONS} connections, {sum(sent) / MEGABYTE:.0f} MB sent: "
        f"{rest:.1f} MB at rest, {peak:.1f} MB at most, {resident_mb(pid):.1f} MB after"
    )


def verify_for(address: tuple[str, int], token: str, seconds: float) -> dict[str, float]:
    """Verify at a fixed pace in a process of its own; return the load generator's summary.

    It stands for a client on another machine, so it is more urgent than others where it may be.
    """
    head = f"GET /v1/auth/verify HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n\r\n"
    job = Job(*address, connections=4, seconds=seconds, requests=[head], pace=25, nice=-10)
    found = subprocess.run(
        [sys.executable, "-m", "benchmarks.load"],
        input=job.to_json() + "\n",
        capture_output=True,
        text=True,
        check=True,
    )
    summary: dict[str, float] = json.loads(found.stdout)
    return summary


async def flood_estimates(address: tuple[str, int], over: threading.Event) -> dict[int, int]:
    """Ask for estimates until it is over; return how often each status was answered."""
    counts: dict[int, int] = {}

    async def ask() -> None:
        reader, writer = await asyncio.open_connection(*address)
        number = 0
        while not over.is_set():
            number += 1
            text = SLOW_TEXTS[number % len(SLOW_TEXTS)]
            body = json.dumps({"password": text}).encode()
            writer.write(
                b"POST /v1/auth/password-strength HTTP/1.1\r\nHost: x\r\n"
                b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n%s"
                % (len(body), body)
            )
            head = await reader.readuntil(b"\r\n\r\n")
            length = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0])
            await reader.readexactly(length)
            status = int(head[9:12])
            counts[status] = counts.get(status, 0) + 1
            # What is refused is asked again a little later, as a form does.
            await asyncio.sleep(0 if status == 200 else 0.05)
        writer.close()

    await asyncio.gather(*(ask() for _ in range(8)))
    return counts


def measure_verifying(url: str, address: tuple[str, int], seconds: float) -> bool:
    """Print the p99 alone and beside the flood; return whether it is what it shall be."""
    person = {"email": "ada@example.com", "password": PASSWORD}
    httpx.post(f"{url}/v1/auth/register", json=person, timeout=60)
    tokens = httpx.post(f"{url}/v1/auth/login", json=person, timeout=60).json()
    alone = verify_for(address, tokens["access_token"], seconds)
    over = threading.Event()
    counts: dict[int, int] = {}
    flood = threading.Thread(
        target=lambda: counts.update(asyncio.run(flood_estimates(address, over)))
    )
    flood.start()
    beside = verify_for(address, tokens["access_token"], seconds)
    over.set()
    flood.join()
    ratio = beside["p99_ms"] / alone["p99_ms"]
    print(
        f"verify, p50/p99: {alone['p50_ms']:.2f}/{alone['p99_ms']:.2f} ms alone, "
        f"{beside['p50_ms']:.2f}/{beside['p99_ms']:.2f} ms beside estimates "
        f"({', '.join(f'{count} x {status}' for status, count in sorted(counts.items()))}): "
        f"{ratio:.2f} times the p99"
    )
    return ratio <= LARGEST_RATIO


def main() -> None:
    """Measure both, and fail if verifying suffers."""
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 15.0
    with serving(None) as url:
        parts = urlsplit(url)
        address = (parts.hostname or "127.0.0.1", parts.port or 80)
        measure_memory(address, listening_pid(address[1]), seconds)
        results = [measure_verifying(url, address, seconds) for _ in range(2)]
    sys.exit(0 if results[-1] else 1)


if __name__ == "__main__":
    main()
