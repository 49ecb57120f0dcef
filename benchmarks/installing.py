"""Installs a peer into a folder of its own that git ignores, from what is locked."""

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.processes import DidNotWork, clean_environment

PEERS = Path(__file__).parent / "peers"
CACHE = Path(os.environ.get("BENCH_CACHE", Path(__file__).parent / ".cache"))
INSTALL_SECONDS = 600


@dataclass(frozen=True, slots=True)
class Installed:
    """What runs a peer.

    Args:
        executable: its Python, or Node.
        folder: where it runs.
        environment: what it needs to find its libraries.
    """

    executable: Path
    folder: Path
    environment: Mapping[str, str] = field(default_factory=dict)


def install(peer: str) -> Installed:
    """Install what a folder of `peers/` needs, unless that is there already.

    A limit names no requirements of its own: it runs on the very libraries that keyturn runs on.

    Raises:
        DidNotWork: it can't be installed here.
    """
    source = PEERS / peer
    if (source / "package.json").exists():
        return _install_for_node(source)
    requirements = source / "requirements.txt"
    if not requirements.exists():
        return Installed(Path(sys.executable), source)
    folder = _folder(source, requirements)
    python = folder / "bin" / "python"
    if not (folder / "installed").exists():
        shutil.rmtree(folder, ignore_errors=True)
        _run([sys.executable, "-m", "venv", str(folder)], source)
        pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        _run([*pip, "--require-hashes", "--only-binary", ":all:", "-r", str(requirements)], source)
        (folder / "installed").touch()
    return Installed(python, source)


def _install_for_node(source: Path) -> Installed:
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        raise DidNotWork("Node and npm are not installed")
    folder = _folder(source, source / "package-lock.json")
    if not (folder / "installed").exists():
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        for name in ("package.json", "package-lock.json"):
            shutil.copy(source / name, folder)
        # None of the packages' scripts is run.
        command = [npm, "ci", "--ignore-scripts", "--prefer-offline", "--no-audit", "--no-fund"]
        _run([*command, "--silent", "--fetch-retries=1"], folder)
        (folder / "installed").touch()
    # Node looks for modules beside the file that imports them.
    for file in source.glob("*.mjs"):
        shutil.copy(file, folder)
    return Installed(Path(node), folder)


def _folder(source: Path, lock: Path) -> Path:
    # Another lock is another folder: nothing is ever changed in place.
    digest = hashlib.sha256(lock.read_bytes() + sys.version.encode()).hexdigest()[:12]
    return CACHE / f"{source.name}-{digest}"


def _run(command: list[str], folder: Path) -> None:
    environment = clean_environment() | {
        name: value for name, value in os.environ.items() if name.lower().endswith("_proxy")
    }
    try:
        done = subprocess.run(
            command,
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
            timeout=INSTALL_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise DidNotWork(f"installing took longer than {INSTALL_SECONDS} s") from None
    if done.returncode:
        raise DidNotWork(f"can't be installed: {done.stderr.strip()[-300:]}")
