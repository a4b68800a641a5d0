"""One definition of a caller, for every limit and share that is counted per caller.

A caller is an API key where keys are required, else an address. Names are of bounded length, and a
key appears in them only as its digest.
"""

from collections.abc import Sequence
from contextlib import suppress
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Final, TypeAlias
from urllib.parse import unquote

Address: TypeAlias = IPv4Address | IPv6Address
Network: TypeAlias = IPv4Network | IPv6Network

FORWARDED_HEADER: Final = "x-forwarded-for"
UNKNOWN: Final = "unknown"
"""The caller whose peer has no address, as over a Unix socket."""
_MOST_PROXIES: Final = 32
"""The entries of a header that are read, from the right."""
_PREFIX_BITS: Final = 64
"""An IPv6 network of this length is one caller: hosts choose the other bits at will."""


def caller_of(
    key_digest: str | None,
    peer: str | None,
    forwarded: Sequence[str] = (),
    *,
    trusted: Sequence[Network] = (),
) -> str:
    """The name of a caller.

    `peer` is an address, with a port or without; `forwarded` are the values of `x-forwarded-for`
    in their order. They count only where the peer is trusted; then the caller is the last address
    in them that is not trusted.
    """
    if key_digest is not None:
        return f"key:{key_digest}"
    address = _address(peer or "")
    if address is None:
        return UNKNOWN
    for entry in _from_the_right(forwarded):
        if not _is_in(address, trusted):
            break
        if (before := _address(entry)) is None:
            break
        address = before
    return _name(address)


def peer_of_grpc(peer: str) -> str:
    """The address and port in gRPC's notation of a peer: `ipv4:192.0.2.1:5` or `ipv6:%5B::1%5D:5`.

    Empty for other kinds of peers.
    """
    kind, _, address = peer.partition(":")
    return unquote(address) if kind in ("ipv4", "ipv6") else ""


def _from_the_right(values: Sequence[str]) -> list[str]:
    last: list[str] = []
    for value in reversed(values):
        entries = value.rsplit(",", _MOST_PROXIES)[-_MOST_PROXIES:]
        last += reversed(entries)
        if len(last) >= _MOST_PROXIES:
            break
    return last[:_MOST_PROXIES]


def _address(text: str) -> Address | None:
    """An address in the form `1.2.3.4`, `1.2.3.4:5`, `::1`, `[::1]` or `[::1]:5`; else None."""
    text = text.strip(" \t")
    if text.startswith("["):
        text, bracket, rest = text[1:].partition("]")
        if not bracket or (rest and not _is_port(rest)):
            return None
    elif text.count(":") == 1:
        text, _, port = text.partition(":")
        if not _is_port(f":{port}"):
            return None
    with suppress(ValueError):
        address = ip_address(text.partition("%")[0])
        mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
        return mapped or address
    return None


def _is_port(text: str) -> bool:
    return text[0] == ":" and text[1:].isascii() and text[1:].isdigit() and len(text) <= 6


def _is_in(address: Address, networks: Sequence[Network]) -> bool:
    return any(address in network for network in networks)


def _name(address: Address) -> str:
    if isinstance(address, IPv4Address):
        return str(address)
    return str(IPv6Network((address, _PREFIX_BITS), strict=False))
