"""Prevents a process from connecting to other machines."""

import ipaddress
import socket
import sys
from pathlib import Path
from typing import Any


class Forbidden(RuntimeError):
    """An attempt to connect to another machine."""


def is_own(host: object) -> bool:
    """Return True if this names the machine itself, or nothing yet, as for listening servers."""
    if host in (None, "", b"", "localhost", b"localhost", socket.gethostname()):
        return True
    text = host.decode() if isinstance(host, bytes) else str(host)
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return False
    return address.is_loopback or address.is_unspecified


def forbid_the_rest(report: Path) -> None:
    """Make lookups of and connections to other machines raise, and record them in a file."""

    def watch(event: str, arguments: tuple[Any, ...]) -> None:
        if event in ("socket.connect", "socket.sendto"):
            own = arguments[0].family == socket.AF_UNIX or is_own(arguments[1][0])
        elif event in ("socket.getaddrinfo", "socket.gethostbyname"):
            own = is_own(arguments[0])
        else:
            return
        if not own:
            with report.open("a") as lines:
                lines.write(f"{event} {arguments[1] if 'connect' in event else arguments[0]}\n")
            raise Forbidden(f"tests talk to this machine only: {event} {arguments}")

    sys.addaudithook(watch)
