"""One definition of a caller: a key, else an address, behind proxies or not."""

from ipaddress import ip_network

import pytest

from distilpose.service.callers import UNKNOWN, caller_of, peer_of_grpc

PROXIES = (ip_network("10.0.0.0/8"), ip_network("2001:db8:ffff::/48"))


@pytest.mark.parametrize(
    ("peer", "name"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("192.0.2.1:443", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("[::ffff:192.0.2.1]:443", "192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("[2001:db8:1:2:ffff::1]:443", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        (None, UNKNOWN),
        ("", UNKNOWN),
        ("/run/distilpose.sock", UNKNOWN),
    ],
)
def test_without_a_key_a_caller_is_an_address_without_its_port(peer: str | None, name: str) -> None:
    assert caller_of(None, peer) == name


def test_a_key_is_a_caller_wherever_it_comes_from() -> None:
    names = {
        caller_of("ab12", peer, ["203.0.113.9"], trusted=PROXIES) for peer in ("::1", "10.0.0.1")
    }
    assert names == {"key:ab12"}


@pytest.mark.parametrize(
    ("peer", "forwarded", "name"),
    [
        ("192.0.2.1", ["203.0.113.9"], "192.0.2.1"),
        ("10.0.0.1", ["203.0.113.9"], "203.0.113.9"),
        ("10.0.0.1", ["198.51.100.7, 203.0.113.9"], "203.0.113.9"),
        ("10.0.0.1", ["203.0.113.9, 10.1.1.1 , 10.2.2.2"], "203.0.113.9"),
        ("10.0.0.1", ["198.51.100.7", "203.0.113.9"], "203.0.113.9"),
        ("10.0.0.1", ["203.0.113.9", "10.1.1.1"], "203.0.113.9"),
        ("10.0.0.1", ["203.0.113.9:5123"], "203.0.113.9"),
        ("10.0.0.1", ["[2001:db8:1:2::3]:5123"], "2001:db8:1:2::/64"),
        ("2001:db8:ffff::1", ["203.0.113.9"], "203.0.113.9"),
        ("::ffff:10.0.0.1", ["::ffff:203.0.113.9"], "203.0.113.9"),
        ("10.0.0.1", [], "10.0.0.1"),
        ("10.0.0.1", ["10.3.3.3, 10.2.2.2"], "10.3.3.3"),
    ],
)
def test_the_last_address_that_is_no_trusted_proxy_is_the_caller(
    peer: str, forwarded: list[str], name: str
) -> None:
    assert caller_of(None, peer, forwarded, trusted=PROXIES) == name


@pytest.mark.parametrize(
    "entry", ["", "unknown", "203.0.113", "203.0.113.9:x", "[::1", "[::1]x", "_hidden", "9" * 5000]
)
def test_a_malformed_entry_ends_the_walk(entry: str) -> None:
    forwarded = [f"203.0.113.9, {entry}, 10.2.2.2"]
    assert caller_of(None, "10.0.0.1", forwarded, trusted=PROXIES) == "10.2.2.2"


def test_only_the_last_entries_of_a_long_header_are_read() -> None:
    forwarded = ["203.0.113.9," + "10.0.0.9," * 100_000 + "10.0.0.8"]
    assert caller_of(None, "10.0.0.1", forwarded, trusted=PROXIES) == "10.0.0.9"


@pytest.mark.parametrize(
    ("peer", "address"),
    [
        ("ipv4:192.0.2.1:443", "192.0.2.1:443"),
        ("ipv6:%5B2001:db8::1%5D:443", "[2001:db8::1]:443"),
        ("ipv6:[2001:db8::1]:443", "[2001:db8::1]:443"),
        ("unix:/run/distilpose.sock", ""),
        ("", ""),
    ],
)
def test_a_peer_of_grpc_is_read_like_any_other(peer: str, address: str) -> None:
    assert peer_of_grpc(peer) == address
