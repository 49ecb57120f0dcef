"""Node's strict clients, oauth4webapi and jose, against the service as it is run."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import httpx
import pytest

HERE = Path(__file__).parent / "node"
PERSON = {"email": "ada@example.com", "password": "a passphrase of my own"}
SOURCE = Path(__file__).parents[2] / "src"

OLDEST_NODE = 20
NODE = shutil.which("node")
pytestmark = [
    pytest.mark.skipif(NODE is None, reason="node is not installed"),
    pytest.mark.skipif(
        not all((HERE / "node_modules" / name).is_dir() for name in ("oauth4webapi", "jose")),
        reason="oauth4webapi and jose are not installed; make interop installs them",
    ),
]


@pytest.mark.parametrize(
    ("algorithm", "dpop"), [("RS256", "off"), ("ES256", "on"), ("EdDSA", "nonce")]
)
def test_strict_clients_of_another_language_find_nothing_to_refuse(
    algorithm: str,
    dpop: str,
    environment: pytest.MonkeyPatch,
    serving: Callable[..., AbstractContextManager[str]],
    tmp_path: Path,
) -> None:
    if _node_version() < OLDEST_NODE:
        pytest.skip(f"node is older than {OLDEST_NODE}")
    environment.setenv("KEYTURN_ALGORITHM", algorithm)
    environment.setenv("KEYTURN_DPOP", dpop)
    environment.setenv("NO_PROXY", "*")
    secret = _new_client(tmp_path)
    with serving() as banner:
        issuer = banner.partition("keyturn is at ")[2].partition("\n")[0]
        assert httpx.post(f"{issuer}/v1/auth/register", json=PERSON).status_code == 201
        told = _run_scripts(
            ISSUER=issuer,
            ALGORITHM=algorithm,
            EMAIL=PERSON["email"],
            PASSWORD=PERSON["password"],
            CLIENT_SECRET=secret,
        )
    assert told.returncode == 0, told.stdout + told.stderr
    assert "# fail 0\n" in told.stdout
    assert "# pass 0\n" not in told.stdout
    bound = re.findall(r"^ok \d+ - tokens are bound to a key of (\w+)", told.stdout, re.MULTILINE)
    skipped = re.findall(r"of (\w+) and work with it alone # SKIP", told.stdout)
    assert sorted(set(bound) - set(skipped)) == (
        [] if dpop == "off" else ["ES256", "EdDSA", "RS256"]
    )


def _node_version() -> int:
    assert NODE is not None
    told = subprocess.run([NODE, "--version"], capture_output=True, text=True, check=True)
    return int(told.stdout.strip().removeprefix("v").partition(".")[0])


def _new_client(folder: Path) -> str:
    """Make the client `notes`, which may introspect, and return its secret."""
    added = subprocess.run(
        [sys.executable, "-m", "keyturn", "clients", "add", "notes", "--introspect"],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(SOURCE)},
        capture_output=True,
        text=True,
        check=True,
    )
    return added.stdout.strip()


def _run_scripts(**variables: str) -> subprocess.CompletedProcess[str]:
    assert NODE is not None
    scripts = sorted(file.name for file in HERE.glob("*.test.mjs"))
    return subprocess.run(
        [NODE, "--test", "--test-reporter=tap", *scripts],
        cwd=HERE,
        env=os.environ | variables,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
