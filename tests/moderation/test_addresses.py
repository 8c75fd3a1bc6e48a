"""Which addresses are public, and which ports of theirs are reached."""

from ipaddress import ip_address

import pytest

from moderation.addresses import Guard, is_public
from moderation.errors import FetchError


@pytest.mark.parametrize("text", ["1.1.1.1", "93.184.215.14", "2606:4700::1111", "::ffff:1.1.1.1", "64:ff9b::101:101"])
def test_public_addresses_are_public(text: str) -> None:
    assert is_public(ip_address(text))


@pytest.mark.parametrize("text", ["192.88.99.1", "192.0.0.8", "240.0.0.1", "100.127.255.255", "100::1", "2001:10::1"])
def test_special_addresses_are_not(text: str) -> None:
    assert not is_public(ip_address(text))


def test_ports_of_public_hosts() -> None:
    guard = Guard((), lambda host, port: ["1.1.1.1"])

    for port in (80, 443, 8080, 8443):
        assert guard.addresses("example.com", port, 1) == ["1.1.1.1"]
    for port in (22, 25, 6379, 9000):
        with pytest.raises(FetchError, match="80, 443, 8080 and 8443") as caught:
            guard.addresses("example.com", port, 1)
        assert caught.value.error_code == "fetch_refused"
