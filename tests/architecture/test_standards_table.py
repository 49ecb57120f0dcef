"""The standards table of docs/security.md is true of the tree."""

import ast
import re
from collections import Counter

from tests.attacks.enforcement import PAGE, PROJECT, removals, rows


def test_every_row_names_a_test_or_says_why_not() -> None:
    undecided = [row.item for row in rows() if bool(row.tests) == row.is_open]
    assert list(rows())
    assert undecided == []


def test_no_item_has_two_rows() -> None:
    counted = Counter(row.item for row in rows())
    assert [item for item, count in counted.items() if count > 1] == []


def test_every_test_that_is_named_exists() -> None:
    named = {test for row in rows() for test in row.tests} | {one.test for one in removals()}
    assert sorted(test for test in named if not _exists(test)) == []


def test_the_enforcement_of_every_row_can_be_taken_out() -> None:
    taken_out = {item for removal in removals() for item in removal.items}
    enforced = {row.item for row in rows() if not row.is_open}
    assert sorted(enforced ^ taken_out) == []


def test_a_removal_names_a_test_of_its_rows() -> None:
    tests = {row.item: row.tests for row in rows()}
    strangers = [
        (item, removal.test)
        for removal in removals()
        for item in removal.items
        if removal.test not in tests.get(item, ())
    ]
    assert strangers == []


def test_each_removal_finds_its_enforcement_exactly_once() -> None:
    counts = {
        (edit.file, edit.find): (PROJECT / edit.file).read_text(encoding="utf-8").count(edit.find)
        for removal in removals()
        for edit in removal.edits
    }
    assert {place: count for place, count in counts.items() if count != 1} == {}


def test_the_page_tells_how_many_rows_there_are_of_each_kind() -> None:
    _, _, standards = PAGE.read_text(encoding="utf-8").partition("\n## Standards\n")
    introduction = " ".join(standards.partition("\n### ")[0].split())
    listed = list(rows())
    counted = {
        "rows": len(listed),
        "are shown by tests": sum(not row.is_open for row in listed),
        "are not met": sum(row.enforced.startswith("not met") for row in listed),
        "do not apply": sum(row.enforced.startswith("does not apply") for row in listed),
        "removals": len(list(removals())),
    }
    told = {
        what: [int(number) for number in re.findall(rf"(\d+)(?: of these)? {what}", introduction)]
        for what in counted
    }
    assert told == {what: [count] for what, count in counted.items()}


def _exists(node: str) -> bool:
    """Return whether the file defines the test; a parametrised one is named without brackets."""
    path, *names = node.split("::")
    file = PROJECT / path
    if not file.is_file():
        return False
    body: list[ast.stmt] = ast.parse(file.read_text(encoding="utf-8")).body
    for name in names:
        found = [
            one
            for one in body
            if isinstance(one, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
            and one.name == name
        ]
        if not found:
            return False
        body = found[0].body
    return bool(names)
