"""Whom an address stands for."""

import pytest

from keyturn.domain.source import source_of


@pytest.mark.parametrize(
    ("ip", "source"),
    [
        ("203.0.113.7", "203.0.113.7"),
        ("::ffff:203.0.113.7", "203.0.113.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("not an address", None),
        ("", None),
        (None, None),
    ],
)
def test_an_ipv6_site_counts_as_one_and_an_ipv4_address_as_itself(
    ip: str | None, source: str | None
) -> None:
    assert source_of(ip) == source
