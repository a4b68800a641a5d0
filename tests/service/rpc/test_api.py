"""The caller of a gRPC call, which is the same as that of an HTTP request."""

import hashlib
from typing import Any, cast

import pytest
from prometheus_client import CollectorRegistry

from distilpose.service.app import Service
from distilpose.service.rpc.api import PoseApi
from distilpose.service.rpc.calls import Calls
from distilpose.service.rpc.messages import Context
from distilpose.service.rpc.small import SmallMessages
from distilpose.service.settings import Settings

SECRET = hashlib.sha256(b"secret").hexdigest()


class Call:
    def __init__(self, peer: str, *metadata: tuple[str, str | bytes]) -> None:
        self._peer, self._metadata = peer, metadata

    def peer(self) -> str:
        return self._peer

    def invocation_metadata(self) -> tuple[tuple[str, str | bytes], ...]:
        return self._metadata


def caller(call: Call, **settings: Any) -> str:
    service = Service(Settings.model_validate(settings), CollectorRegistry())
    calls = Calls(1, memory=service.memory, metrics=service.metrics)
    small = SmallMessages(service.memory, most_bytes=1, calls=calls)
    return PoseApi(service, small).caller(cast("Context", call))


@pytest.mark.parametrize(
    ("peer", "name"),
    [
        ("ipv4:192.0.2.1:50000", "192.0.2.1"),
        ("ipv6:%5B::ffff:192.0.2.1%5D:50000", "192.0.2.1"),
        ("ipv6:%5B2001:db8:1:2::9%5D:50000", "2001:db8:1:2::/64"),
        ("unix:", "unknown"),
    ],
)
def test_without_keys_it_is_the_address_of_the_peer(peer: str, name: str) -> None:
    assert caller(Call(peer, ("x-api-key", "any"))) == name


def test_behind_a_trusted_proxy_it_is_the_address_in_the_metadata() -> None:
    lines = [("x-forwarded-for", "203.0.113.9"), ("x-forwarded-for", "10.0.0.2")]
    call = Call("ipv4:10.0.0.1:50000", *lines, ("x-forwarded-for", b"bytes"))
    assert caller(call, http={"trusted_proxies": ["10.0.0.0/8"]}) == "203.0.113.9"
    assert caller(call) == "10.0.0.1"


@pytest.mark.parametrize("line", [("x-api-key", "secret"), ("authorization", "Bearer secret")])
def test_with_keys_it_is_the_digest_of_the_key(line: tuple[str, str]) -> None:
    call = Call("ipv4:192.0.2.1:50000", line)
    assert caller(call, security={"api_keys": ["secret"]}) == f"key:{SECRET}"
