"""The network address that an attempt is counted for."""

import pytest

from keyturn.domain.source import (
    UNKNOWN_SOURCE,
    counted_networks,
    queueing_source,
    source_of,
)


@pytest.mark.parametrize(
    ("ip", "source"),
    [
        ("203.0.113.7", "203.0.113.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
    ],
)
def test_an_ipv6_site_counts_as_one_and_an_ipv4_address_as_itself(ip: str, source: str) -> None:
    assert source_of(ip) == source


@pytest.mark.parametrize(
    "ip",
    [
        "::ffff:203.0.113.7",
        "64:ff9b::203.0.113.7",
        "2002:cb00:7107:1:2:3:4:5",
        "2001:0:4136:e378:8000:63bf:34ff:8ef8",
    ],
    ids=["mapped", "NAT64", "6to4", "Teredo"],
)
def test_an_ipv6_address_that_carries_an_ipv4_address_counts_as_that(ip: str) -> None:
    assert source_of(ip) == "203.0.113.7"


@pytest.mark.parametrize("ip", [None, "", "unknown", "not an address", "_hidden", "unix:", "::g"])
def test_what_has_no_address_is_one_source(ip: str | None) -> None:
    assert source_of(ip) == UNKNOWN_SOURCE
    assert counted_networks(source_of(ip)) == ((UNKNOWN_SOURCE, 1),)


def test_an_ipv6_address_is_counted_in_three_networks_and_an_ipv4_address_in_one() -> None:
    assert counted_networks(source_of("2001:db8:1:2ab::1")) == (
        ("2001:db8:1:2ab::/64", 1),
        ("2001:db8:1:200::/56", 4),
        ("2001:db8:1::/48", 16),
    )
    assert counted_networks(source_of("203.0.113.7")) == (("203.0.113.7", 1),)


def test_a_customer_with_many_networks_has_one_turn_in_a_queue() -> None:
    ips = ("2001:db8:1::1", "2001:db8:1:ffff::1")
    assert {queueing_source(source_of(ip)) for ip in ips} == {"2001:db8:1::/48"}
    assert queueing_source(source_of("203.0.113.7")) == "203.0.113.7"
