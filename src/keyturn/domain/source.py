"""The network address that an attempt is counted for."""

from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from typing import Final, NamedTuple, NewType

Source = NewType("Source", str)
"""An IPv4 address, an IPv6 /64 network, or `UNKNOWN_SOURCE`, as text."""

UNKNOWN_SOURCE: Final = Source("unknown")
"""The source of every request without a readable client address: they share one allowance."""

IPV6_FACTORS: Final = ((64, 1), (56, 4), (48, 16))
"""The IPv6 networks that an attempt is counted in: prefix length, and how many times the allowance
of one source the network has. A provider assigns a /64 to a device, a /56 or /48 to a customer."""

_NAT64 = IPv6Network("64:ff9b::/96")


class CountedNetwork(NamedTuple):
    """One network that an attempt is counted in.

    Attributes:
        name: as text, such as `2001:db8::/48`.
        factor: how many times the allowance of one source the network has.
    """

    name: str
    factor: int


@lru_cache(maxsize=1024)
def source_of(ip: str | None) -> Source:
    """Return the source of a client address: the address itself, or for IPv6 its /64.

    An IPv6 address that carries the client's IPv4 address counts as that IPv4 address: mapped
    (RFC 4291 §2.5.5.2), NAT64 (RFC 6052 §2.1), 6to4 (RFC 3056) and Teredo (RFC 4380). Otherwise
    the whole IPv4 internet would share one /64 of NAT64, and one IPv4 address would be a /48 of
    6to4.

    Args:
        ip: as text, None where the request has no client address.

    Returns:
        `UNKNOWN_SOURCE` where there is no address, or none that can be read.
    """
    if ip is None:
        return UNKNOWN_SOURCE
    try:
        # A zone (`%eth0`) is a name of the machine's own and may be any text.
        address = ip_address(ip.partition("%")[0])
    except ValueError:
        return UNKNOWN_SOURCE
    if isinstance(address, IPv6Address):
        embedded = _embedded_ipv4(address)
        if embedded is None:
            return Source(str(IPv6Network((address, IPV6_FACTORS[0][0]), strict=False)))
        address = embedded
    return Source(str(address))


@lru_cache(maxsize=1024)
def counted_networks(source: Source) -> tuple[CountedNetwork, ...]:
    """Return every network that an attempt of this source is counted in, narrowest first."""
    if "/" not in source:
        return (CountedNetwork(source, 1),)
    site = IPv6Network(source)
    return tuple(
        CountedNetwork(str(site.supernet(new_prefix=prefix)), factor)
        for prefix, factor in IPV6_FACTORS
    )


def queueing_source(source: Source) -> str:
    """Return the widest network that the source is counted in.

    Work that sources queue for is shared out by it: a customer with a /48 has 65536 networks of
    /64, and must not have as many turns.
    """
    return counted_networks(source)[-1].name


def _embedded_ipv4(address: IPv6Address) -> IPv4Address | None:
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped
    if address in _NAT64:
        return IPv4Address(int(address) & 0xFFFFFFFF)
    if address.sixtofour is not None:
        return address.sixtofour
    return None if address.teredo is None else address.teredo[1]
