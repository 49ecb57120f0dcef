"""Where a request comes from, as far as counting goes."""

from functools import lru_cache
from ipaddress import IPv6Address, IPv6Network, ip_address

_SITE_PREFIX = 64


@lru_cache(maxsize=1024)
def source_of(ip: str | None) -> str | None:
    """Return whom an address stands for: itself, or for IPv6 its /64, which one site shares.

    Args:
        ip: as text; an IPv4 address that is mapped into IPv6 counts as itself.

    Returns:
        None where there is no address, or none that can be read.
    """
    if ip is None:
        return None
    try:
        # A zone (`%eth0`) is a name of the machine's own and could be anything.
        address = ip_address(ip.partition("%")[0])
    except ValueError:
        return None
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped is not None:
            return str(address.ipv4_mapped)
        return str(IPv6Network((address, _SITE_PREFIX), strict=False))
    return str(address)
