"""Which network addresses may be connected to."""

import socket
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

from moderation.errors import FetchError
from moderation.settings import PREFIX

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network
Resolve = Callable[[str, int], Sequence[str]]

PORTS = frozenset((80, 443, 8080, 8443))  # of public hosts; others belong to mail, databases and the like
MOST_ADDRESSES = 4  # of one host that are tried

# The IPv6 addresses that are given out at all (IANA), and the special ones within them that `is_global` lets through.
_GLOBAL_UNICAST = IPv6Network("2000::/3")
_SPECIAL = (IPv4Network("192.0.0.0/24"), IPv4Network("192.88.99.0/24"))  # protocol assignments, 6to4 relays
_NAT64 = IPv6Network("64:ff9b::/96")
_ISATAP = (0x0000_5EFE, 0x0200_5EFE)

_lookups = ThreadPoolExecutor(max_workers=16, thread_name_prefix="dns")


def resolve(host: str, port: int) -> Sequence[str]:
    """The addresses of a host as the system resolves it. Also reads numbers, as in `http://2130706433/`."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


class Guard:
    """Lets public addresses through, and those in `allowed`."""

    def __init__(self, allowed: Sequence[Network], find: Resolve = resolve) -> None:
        self.allowed = tuple(allowed)
        self._find = find

    def addresses(self, host: str, port: int, seconds: float) -> list[str]:
        """The addresses of a host, every one of them checked; at least one.

        Raises FetchError where the host has none, or even one that may not be reached, or takes longer to resolve.
        """
        found = self._lookup(host, port, seconds)
        for text in found:
            self.check(host, text, port)
        return found[:MOST_ADDRESSES]

    def check(self, host: str, text: str, port: int) -> None:
        """Raises FetchError where the address `text` of `host` may not be reached on `port`."""
        try:
            address = _plain(ip_address(text.partition("%")[0]))
        except ValueError:
            raise self._refusal(host, text, "is not an address") from None
        if any(address in network for network in self.allowed if network.version == address.version):
            return
        if not is_public(address):
            raise self._refusal(host, text, "is not a public address")
        if port not in PORTS:
            raise FetchError(
                f"The host {host} is asked for on port {port}; public hosts are reached on {_listed(PORTS)} only.",
                code="fetch_refused",
                hint=f"Serve the file on one of these ports, or add its network to {PREFIX}FETCH_ALLOWED_NETWORKS.",
            )

    def _lookup(self, host: str, port: int, seconds: float) -> list[str]:
        try:
            found = list(_lookups.submit(self._find, host, port).result(timeout=seconds))
        except TimeoutError:
            raise FetchError(
                f"The host {host} was not resolved within {seconds:.1f} s.", code="fetch_timeout", hint="Try again."
            ) from None
        except (OSError, UnicodeError) as error:
            raise FetchError(f"The host {host} could not be resolved: {error}.", hint="Check the URL.") from None
        if not found:
            raise FetchError(f"The host {host} has no address.", hint="Check the URL.")
        return found

    @staticmethod
    def _refusal(host: str, text: str, why: str) -> FetchError:
        named = f"The host {host}" if host == text else f"The host {host} has the address {text}, which"
        return FetchError(
            f"{named} {why}.",
            code="fetch_refused",
            hint=f"Give a public URL, or add the network to {PREFIX}FETCH_ALLOWED_NETWORKS.",
        )


def is_public(address: Address) -> bool:
    """Whether anybody on the internet could reach the address, directly or through what is embedded in it."""
    address = _plain(address)
    if isinstance(address, IPv6Address) and address in _NAT64:
        return is_public(IPv4Address(address.packed[-4:]))
    if address.is_multicast or address.is_reserved or address.is_link_local or address.is_unspecified:
        return False
    if isinstance(address, IPv4Address):
        return address.is_global and not any(address in network for network in _SPECIAL)
    return address in _GLOBAL_UNICAST and address.is_global and all(map(is_public, _embedded(address)))


def _plain(address: Address) -> Address:
    """An IPv4 address written as IPv6 (`::ffff:10.0.0.1`) as the IPv4 address that it is."""
    return (isinstance(address, IPv6Address) and address.ipv4_mapped) or address


def _embedded(address: IPv6Address) -> list[IPv4Address]:
    """The IPv4 addresses that packets to a tunnel's address go to: 6to4, Teredo (server and client), ISATAP."""
    found = [*(address.teredo or ()), *([address.sixtofour] if address.sixtofour else [])]
    if int(address) >> 32 & 0xFFFF_FFFF in _ISATAP:
        found.append(IPv4Address(address.packed[-4:]))
    return found


def _listed(ports: frozenset[int]) -> str:
    *first, last = sorted(ports)
    return f"{', '.join(map(str, first))} and {last}"
