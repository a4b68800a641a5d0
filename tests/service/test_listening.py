"""Ports that are bound before anything is loaded."""

import errno
import os
import re
import resource
import socket
from collections.abc import Iterator

import pytest

from distilpose.service import listening
from distilpose.service.settings import Settings, SettingsError


@pytest.fixture
def taken_port() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        yield taken.getsockname()[1]


def bound(host: str, port: int = 0) -> list[socket.socket]:
    return listening.bind(host, port, setting="http.port")


def answers(address: str, port: int) -> bool:
    try:
        socket.create_connection((address, port), timeout=5).close()
    except OSError:
        return False
    return True


@pytest.mark.parametrize("host", ["0.0.0.0", "::"])  # noqa: S104 - what an operator asks for
def test_either_wildcard_is_one_socket_for_ipv4_and_ipv6(host: str) -> None:
    [listener] = bound(host)
    with listener:
        port = listener.getsockname()[1]
        assert answers("127.0.0.1", port)
        assert answers("::1", port)


@pytest.mark.parametrize(
    ("host", "other"), [("127.0.0.1", "::1"), ("::1", "127.0.0.1"), ("127.0.0.1", "127.0.0.2")]
)
def test_any_other_address_means_just_that(host: str, other: str) -> None:
    [listener] = bound(host)
    with listener:
        port = listener.getsockname()[1]
        assert answers(host, port)
        assert not answers(other, port)


def test_a_name_means_all_its_addresses_on_one_port() -> None:
    sockets = bound("localhost")
    assert len({each.getsockname()[1] for each in sockets}) == 1
    assert {each.getsockname()[0] for each in sockets} <= {"127.0.0.1", "::1"}
    for each in sockets:
        each.close()


@pytest.mark.parametrize("failure", [errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL])
def test_without_ipv6_a_wildcard_means_every_ipv4_address(
    failure: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    create = socket.create_server

    def without_ipv6(address: tuple[str, int], *, family: int = socket.AF_INET, **rest: object):  # type: ignore[no-untyped-def]  # as its original
        if family == socket.AF_INET6:
            raise OSError(failure, os.strerror(failure))
        return create(address, family=family, **rest)  # type: ignore[arg-type]

    monkeypatch.setattr(socket, "create_server", without_ipv6)
    [listener] = bound("::")
    with listener:
        assert listener.family == socket.AF_INET
        assert answers("127.0.0.1", listener.getsockname()[1])


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0", "::", "localhost"])  # noqa: S104
def test_a_taken_port_is_an_error_that_names_setting_and_address(
    host: str, taken_port: int
) -> None:
    with pytest.raises(SettingsError) as refused:
        bound(host, taken_port)
    shown = re.escape(listening.authority(host, taken_port))
    assert re.fullmatch(
        rf"http\.port: cannot listen on {shown}: Address already in use", str(refused.value)
    )


def test_a_failed_start_leaves_no_address_of_a_name_bound(
    taken_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    both = [
        (socket.AF_INET6, socket.SOCK_STREAM, 6, "", ("::1", taken_port, 0, 0)),
        (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", taken_port)),
    ]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: both)
    with pytest.raises(SettingsError, match="Address already in use"):
        bound("two-addresses", taken_port)
    socket.create_server(("::1", taken_port), family=socket.AF_INET6).close()


def test_an_unknown_name_is_an_error_that_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    with pytest.raises(
        SettingsError, match=r"listen on pod\.example:80: Name or service not known"
    ):
        bound("pod.example", 80)


def test_an_address_of_another_machine_is_an_error_that_says_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("192.0.2.1", 0))]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
    with pytest.raises(SettingsError, match=r"listen on 192\.0\.2\.1:0: Cannot assign requested"):
        bound("192.0.2.1")


@pytest.mark.parametrize(
    ("host", "address"),
    [
        ("0.0.0.0", "127.0.0.1:80"),  # noqa: S104
        ("::", "127.0.0.1:80"),
        ("::1", "[::1]:80"),
        ("pod.example", "pod.example:80"),
    ],
)
def test_the_address_shown_is_one_that_answers(host: str, address: str) -> None:
    assert listening.authority(listening.reachable(host), 80) == address


@pytest.mark.parametrize(
    ("host", "local"),
    [
        ("127.0.0.1", True),
        ("127.9.9.9", True),
        ("::1", True),
        ("localhost", True),
        ("0.0.0.0", False),  # noqa: S104
        ("::", False),
        ("10.0.0.7", False),
        ("fe80::1%eth0", False),
        ("pod.example", False),
    ],
)
def test_only_loopback_addresses_are_local(host: str, local: bool) -> None:
    assert listening.is_local(host) is local


def test_connections_are_shared_out_from_the_file_descriptors(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (264, 264))
    both, alone = Settings(), Settings(grpc={"port": 0})
    assert listening.most_grpc_connections(both) == 50
    assert listening.most_http_connections(both) == 150
    assert listening.most_http_connections(alone) == 200
    fixed = Settings(http={"max_connections": 7}, grpc={"max_connections": 3})
    assert listening.most_http_connections(fixed) == 7
    assert listening.most_grpc_connections(fixed) == 3
