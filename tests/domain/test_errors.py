"""The error tree has stable codes, and its page says the truth."""

import re

from keyturn.domain import errors


def concrete(root: type[errors.KeyturnError]) -> list[type[errors.KeyturnError]]:
    # A delivery derives errors of its own, which are none of the tree's.
    children = [child for child in root.__subclasses__() if child.__module__ == errors.__name__]
    has_code = root is not errors.KeyturnError and "code" in vars(root)
    return [root] * has_code + [error for child in children for error in concrete(child)]


def test_every_error_has_a_code_of_its_own() -> None:
    codes = [error.code for error in concrete(errors.KeyturnError)]
    assert len(codes) == len(set(codes))
    assert "error" not in codes


def test_the_tree_in_the_docstring_is_the_tree() -> None:
    documented = dict(re.findall(r"── (\w+) +([a-z_]+)", errors.__doc__ or ""))
    assert {e.__name__: e.code for e in concrete(errors.KeyturnError)} == documented


def test_an_error_tells_its_detail_or_else_its_message() -> None:
    assert errors.EmailTaken().detail == errors.EmailTaken.message
    assert errors.PasswordTooShort("At least 15.").detail == "At least 15."
