"""What was measured is kept whole, and what follows from it is computed."""

import ast
import json
import re
import struct
from pathlib import Path

import pytest
from benchmarks.counting_proxy import FrontendMessages
from benchmarks.profiling import LAYERS, own_times
from benchmarks.report import write_report
from benchmarks.results import Results, Spread
from benchmarks.subjects import SUBJECTS
from benchmarks.targets import TARGETS
from benchmarks.works import QUICK_SUBJECTS, WORKS

ROOT = Path(__file__).parents[2]
PUBLISHED = ROOT / "docs" / "benchmarks" / "results.json"


def some_results(file: Path | None = None) -> Results:
    results = Results(kind="full", file=file)
    results.made = {"at": "2030-01-01T00:00:00+00:00", "commit": "0" * 40, "changed": False}
    results.machine = {"processor": "one", "cores": 2, "memory_gib": 1, "system": "Linux"}
    results.machine["file_system"] = "ext4"
    for number, (mine, theirs) in enumerate(((900, 1000), (1900, 2000), (700, 1000)), 1):
        results.add("rotation", 16, "prototype", number, {"rate": theirs, "p99_ms": 1.0})
        results.add("rotation", 16, "keyturn", number, {"rate": mine, "p99_ms": 1.0})
    results.leave_out("better-auth", "Node and npm are not installed")
    results.fail("rotation", 16, "oidc-provider", 1, "bad answers")
    return results


def test_a_ratio_compares_within_a_round() -> None:
    ratio = some_results().ratio("rotation", 16, "keyturn", "prototype")
    assert ratio == Spread(0.9, 0.7, 0.95)


def test_results_are_read_as_they_were_written(tmp_path: Path) -> None:
    file = tmp_path / "results.json"
    written = some_results(file)
    read = Results.load(file)
    read.file = file
    assert read == written


def test_rounds_are_in_the_file_as_soon_as_they_are_over(tmp_path: Path) -> None:
    results = Results(file=tmp_path / "new" / "results.json")
    results.add("verify", 1, "keyturn", 1, {"rate": 1.5})
    kept = json.loads((tmp_path / "new" / "results.json").read_text())
    assert kept["rounds"][0]["rate"] == 1.5


def test_the_page_says_of_each_target_whether_it_is_kept(tmp_path: Path) -> None:
    page = tmp_path / "README.md"
    write_report(some_results(), page)
    text = page.read_text()
    assert "reaches 0.9 of the hand-written prototype (16 connections) | 0.90" in text
    assert text.count("not measured") == len(TARGETS) - 1
    assert "Left out: better-auth: Node and npm are not installed" in text
    assert "Failed: rotation, 16, oidc-provider, round 1: bad answers" in text


@pytest.mark.parametrize(("median", "kept"), [(0.89, False), (0.9, True), (2.0, True)])
def test_a_target_is_kept_at_its_bound(*, median: float, kept: bool) -> None:
    [target] = (t for t in TARGETS if "prototype" in t.promise)
    assert target.is_kept(Spread(median, 0, 9)) is kept


def test_works_name_subjects_that_there_are() -> None:
    for work in WORKS:
        assert set(work.subjects) <= SUBJECTS.keys()
        assert work.compared_to is None or work.compared_to in work.subjects
        assert set(work.quick) <= set(work.levels)
    assert SUBJECTS.keys() >= QUICK_SUBJECTS
    assert {name for work in WORKS for name in work.subjects} == SUBJECTS.keys()


def test_the_published_results_are_well_formed() -> None:
    if not PUBLISHED.exists():
        pytest.skip("nothing has been published")
    results = Results.load(PUBLISHED)
    assert results.kind == "full"
    assert results.made["commit"]
    levels = {work.name: work.levels for work in WORKS}
    for row in results.rows:
        assert row["level"] in levels[row["work"]]
        assert row["subject"] in SUBJECTS


def test_each_lock_of_a_peer_has_hashes_and_names_no_index() -> None:
    locks = list((ROOT / "benchmarks" / "peers").glob("*/requirements.txt"))
    assert locks
    for lock in locks:
        entries = [e for e in re.split(r"\n(?=\S)", lock.read_text()) if not e.startswith("#")]
        for entry in entries:
            assert re.match(r"[a-z0-9-]+==\S+", entry), entry
            assert "--hash=sha256:" in entry
            assert "://" not in entry
    for lock in (ROOT / "benchmarks" / "peers").glob("*/package-lock.json"):
        packages = json.loads(lock.read_text())["packages"]
        assert all("integrity" in told for name, told in packages.items() if name)
        assert not any("resolved" in told for told in packages.values())


def test_every_peer_is_python_that_can_be_read() -> None:
    files = list((ROOT / "benchmarks" / "peers").glob("*/*.py"))
    assert files
    for file in files:
        ast.parse(file.read_text())


def message(letter: bytes, content: bytes = b"") -> bytes:
    return letter + struct.pack("!I", len(content) + 4) + content


def test_a_round_trip_is_a_message_that_asks_for_an_answer() -> None:
    sent = message(b"", b"startup") + message(b"P", b"parse") + message(b"H")
    sent += message(b"B", b"bind S") + message(b"E", b"QQ") + message(b"S") + message(b"Q", b"x")
    assert FrontendMessages().count(sent) == 3
    in_pieces = FrontendMessages()
    assert sum(in_pieces.count(sent[n : n + 1]) for n in range(len(sent))) == 3


def test_what_a_layer_calls_outside_of_all_layers_is_its_own_time() -> None:
    route = ("/src/keyturn/delivery/http/routes_auth.py", 1, "verify")
    codec = ("/src/keyturn/adapters/pyjwt/codec.py", 1, "decode")
    dumps = ("/usr/lib/python3/json/__init__.py", 1, "dumps")
    encode = ("~", 0, "<method 'encode' of 'str' objects>")
    stats = {
        route: (1, 1, 1.0, 9.0, {}),
        codec: (1, 1, 2.0, 8.0, {route: (1, 1, 2.0, 8.0)}),
        dumps: (4, 4, 4.0, 5.0, {codec: (3, 3, 3.0, 4.0), route: (1, 1, 1.0, 1.0)}),
        encode: (1, 1, 1.0, 1.0, {dumps: (1, 1, 1.0, 1.0)}),
    }
    times = own_times(stats)
    assert times["delivery"] == pytest.approx(1.0 + 1.0 + 0.25)
    assert times["codec, cryptography"] == pytest.approx(2.0 + 3.0 + 0.75)
    assert sum(times.values()) == pytest.approx(8.0)
    assert set(times) == set(LAYERS)
