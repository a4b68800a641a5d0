"""Sockets bound before anything is loaded, and the addresses that they answer on."""

import errno
import ipaddress
import os
import resource
import socket
from typing import Final

from distilpose.service.settings import Settings, SettingsError

_EVERY_ADDRESS: Final = ("0.0.0.0", "::")  # noqa: S104 - what an operator asks for
_NO_IPV6: Final = (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)
_BACKLOG: Final = 2048
"""Connections that wait to be accepted, as in uvicorn."""

_OWN_DESCRIPTORS: Final = 64
"""File descriptors for everything but connections: sockets that listen, files, the probes."""
_MOST_CONNECTIONS: Final = 1_000_000


def most_http_connections(settings: Settings) -> int:
    """The number of HTTP connections that may be open, without those for probes."""
    configured = settings.http.max_connections
    if configured != "auto":
        return configured
    of_grpc = most_grpc_connections(settings) if settings.grpc.port else 0
    return max(1, _connections() - of_grpc)


def most_grpc_connections(settings: Settings) -> int:
    """The number of gRPC connections that may be open."""
    configured = settings.grpc.max_connections
    return max(1, _connections() // 4) if configured == "auto" else configured


def _connections() -> int:
    """The connections for which the process has file descriptors."""
    soft_limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft_limit == resource.RLIM_INFINITY:
        return _MOST_CONNECTIONS
    return min(_MOST_CONNECTIONS, soft_limit - _OWN_DESCRIPTORS)


def bind(host: str, port: int, *, setting: str) -> list[socket.socket]:
    """Return listening sockets for a host, which accept no connection until a server runs on them.

    `0.0.0.0` and `::` both mean every IPv4 and IPv6 address, on one socket; any other host means
    just its own addresses. With port 0 the system chooses one.

    Raises:
        SettingsError: the port is taken, or the host is unknown here; names the `setting`.
    """
    try:
        return [_on_every_address(port)] if host in _EVERY_ADDRESS else _on_addresses(host, port)
    except OSError as err:
        # Of a failed bind, Python's own text repeats the address.
        unknown_host = isinstance(err, socket.gaierror)
        why = err.strerror if unknown_host or not err.errno else os.strerror(err.errno)
        raise SettingsError(f"{setting}: cannot listen on {authority(host, port)}: {why}") from err


def reachable(host: str) -> str:
    """Return an address of this machine at which a server on `host` answers."""
    return "127.0.0.1" if host in _EVERY_ADDRESS else host


def authority(host: str, port: int) -> str:
    """Return host and port as a URL has them."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def is_local(host: str) -> bool:
    """Return True if only this machine can reach the host."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.partition("%")[0]).is_loopback
    except ValueError:
        return False


def _on_every_address(port: int) -> socket.socket:
    if socket.has_dualstack_ipv6():
        try:
            return socket.create_server(
                ("::", port), family=socket.AF_INET6, backlog=_BACKLOG, dualstack_ipv6=True
            )
        except OSError as err:
            if err.errno not in _NO_IPV6:
                raise
    return socket.create_server(("0.0.0.0", port), backlog=_BACKLOG)  # noqa: S104 - as above


def _on_addresses(host: str, port: int) -> list[socket.socket]:
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    sockets: list[socket.socket] = []
    try:
        for family, address in dict.fromkeys((each[0], each[4]) for each in found):
            bound_port = sockets[0].getsockname()[1] if sockets else port
            where = (address[0], bound_port, *address[2:])
            sockets.append(socket.create_server(where, family=family, backlog=_BACKLOG))
    except OSError:
        for each in sockets:
            each.close()
        raise
    return sockets
