"""TLS, client certificates, a file of keys, a limit of bytes, a port of metrics: on one server."""

import ssl
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import httpx
import numpy as np
import pytest
import trustme
from grpc_health.v1 import health_pb2, health_pb2_grpc

from distilpose.v1 import pose_pb2
from distilpose.v1.pose_pb2_grpc import PoseServiceStub
from grpc_callers import Refusal, opening, refusal
from odd_images import encode
from ports import free_port
from servers import API_KEY, QUICK_START, Server

TINY = encode(np.zeros((8, 8, 3), np.uint8), "png")
LIMIT_BYTES = 100_000
MODEL = pose_pb2.GetModelRequest()
KEY = (("x-api-key", API_KEY),)


def refused(call: Any, *arguments: Any, **options: Any) -> Refusal:
    with pytest.raises(grpc.RpcError) as failed:
        call(*arguments, **options)
    return refusal(failed.value)


@dataclass
class Secured:
    """A server with TLS, client certificates and a file of keys, and the files it reads."""

    server: Server
    authority: trustme.CA
    folder: Path
    operations_url: str

    def channel(self, *, caller: bool = True) -> grpc.Channel:
        """A new connection that trusts this authority, with a certificate of the caller or none."""
        own = self.authority.issue_cert("caller@example.org") if caller else None
        credentials = grpc.ssl_channel_credentials(
            self.authority.cert_pem.bytes(),
            own.private_key_pem.bytes() if own else None,
            own.cert_chain_pems[0].bytes() if own else None,
        )
        return grpc.secure_channel(self.server.grpc_target, credentials)

    def client(self, *, caller: bool = True) -> httpx.Client:
        """The same by REST."""
        context = ssl.create_default_context(cadata=self.authority.cert_pem.bytes().decode())
        if caller:
            self.authority.issue_cert("caller@example.org").configure_cert(context)
        url = self.server.url.replace("http:", "https:")
        return httpx.Client(base_url=url, verify=context, timeout=60)

    def swap(self, authority: trustme.CA) -> None:
        """A new certificate in the place of the old one, file by file."""
        certificate = authority.issue_cert("127.0.0.1")
        certificate.cert_chain_pems[0].write_to_path(str(self.folder / "cert.pem"))
        time.sleep(0.2)  # handshakes meet a key that does not fit
        certificate.private_key_pem.write_to_path(str(self.folder / "key.pem"))


@pytest.fixture(scope="module")
def secured(start_server: Any, tmp_path_factory: pytest.TempPathFactory) -> Secured:
    folder = tmp_path_factory.mktemp("files")
    authority = trustme.CA()
    certificate = authority.issue_cert("127.0.0.1")
    certificate.cert_chain_pems[0].write_to_path(str(folder / "cert.pem"))
    certificate.private_key_pem.write_to_path(str(folder / "key.pem"))
    authority.cert_pem.write_to_path(str(folder / "ca.pem"))
    (folder / "keys").write_text(f"{API_KEY}\n")
    operations = free_port()
    server = start_server(
        wait=False,
        SECURITY__TLS_CERT=str(folder / "cert.pem"),
        SECURITY__TLS_KEY=str(folder / "key.pem"),
        SECURITY__TLS_CLIENT_CA=str(folder / "ca.pem"),
        SECURITY__API_KEYS_FILE=str(folder / "keys"),
        TELEMETRY__METRICS_PORT=str(operations),
        GRPC__MAX_MESSAGE_BYTES=str(LIMIT_BYTES),
        **QUICK_START,
    )
    # The port for health and metrics stays plain, whatever guards the public one.
    url = f"http://127.0.0.1:{operations}"
    server.wait_until_ready(url)
    return Secured(server, authority, folder, url)


def test_a_caller_needs_a_certificate_of_the_authority(secured: Secured) -> None:
    with secured.channel() as channel:
        assert PoseServiceStub(channel).GetModel(MODEL, metadata=KEY).model.name == "distilpose-n"
    with secured.channel(caller=False) as channel:
        error = refused(PoseServiceStub(channel).GetModel, MODEL, metadata=KEY, timeout=5)
    assert error.code in ("UNAVAILABLE", "DEADLINE_EXCEEDED")


def test_a_caller_of_rest_needs_one_as_well(secured: Secured) -> None:
    with secured.client(caller=False) as nobody, pytest.raises(httpx.TransportError):
        nobody.get("/readyz")
    with secured.client() as known:
        assert known.get("/readyz").status_code == 200


def test_metrics_can_have_a_port_of_their_own(secured: Secured) -> None:
    own = secured.operations_url
    assert "distilpose_ready 1.0" in httpx.get(f"{own}/metrics").text
    assert httpx.get(f"{own}/readyz").status_code == 200
    with secured.client() as client:
        assert client.get("/metrics", headers=dict(KEY)).status_code == 404


@pytest.mark.parametrize("kind", ["live", "ready"])
def test_the_open_inference_protocols_probes_are_on_that_port_too(
    secured: Secured, kind: str
) -> None:
    assert httpx.get(f"{secured.operations_url}/v2/health/{kind}").status_code == 200


def test_keys_guard_the_methods_and_not_the_health(secured: Secured) -> None:
    with secured.channel() as channel:
        stub = PoseServiceStub(channel)
        error = refused(stub.GetModel, MODEL)
        assert (error.code, error.reason) == ("UNAUTHENTICATED", "UNAUTHENTICATED")
        large = pose_pb2.EstimatePoseRequest(images=[pose_pb2.Image(encoded=bytes(90_000))])
        assert refused(stub.EstimatePose, large).code == "UNAUTHENTICATED"
        assert refused(lambda: list(stub.StreamPose(iter([opening()])))).code == "UNAUTHENTICATED"
        assert stub.GetModel(MODEL, metadata=(("authorization", f"Bearer {API_KEY}"),))
        check = health_pb2_grpc.HealthStub(channel).Check
        status = check(health_pb2.HealthCheckRequest()).status
        assert status == health_pb2.HealthCheckResponse.SERVING
    assert API_KEY not in secured.server.log.read_text()


def test_a_message_over_the_limit_is_our_error_and_no_overload(secured: Secured) -> None:
    def message(size_bytes: int) -> pose_pb2.EstimatePoseRequest:
        image = pose_pb2.Image(encoded=TINY + bytes(size_bytes - 2 * len(TINY)))
        request = pose_pb2.EstimatePoseRequest(images=[image])
        # Decoders ignore what follows the picture.
        request.images[0].encoded += bytes(size_bytes - request.ByteSize())
        assert request.ByteSize() == size_bytes
        return request

    with secured.channel() as channel:
        estimate = PoseServiceStub(channel).EstimatePose
        for size_bytes in (LIMIT_BYTES - 1, LIMIT_BYTES):
            assert len(estimate(message(size_bytes), metadata=KEY).images) == 1
        error = refused(estimate, message(LIMIT_BYTES + 1), metadata=KEY)
        assert (error.code, error.reason) == ("INVALID_ARGUMENT", "TOO_LARGE")
        assert error.detail == "the message has 100001 bytes, the limit is 100000"
        library = refused(estimate, message(2 * LIMIT_BYTES), metadata=KEY)
        assert library.code == "RESOURCE_EXHAUSTED"
        assert (library.reason, library.retry_seconds) == ("", None)


def test_keys_follow_their_file(secured: Secured) -> None:
    with secured.channel() as channel:
        stub = PoseServiceStub(channel)
        (secured.folder / "keys").write_text("open-barley\n")
        assert refused(stub.GetModel, MODEL, metadata=KEY).code == "UNAUTHENTICATED"
        assert stub.GetModel(MODEL, metadata=(("x-api-key", "open-barley"),))
        (secured.folder / "keys").write_text(f"{API_KEY}\n")
        assert stub.GetModel(MODEL, metadata=KEY)


class Load:
    """Callers that open a new connection for every call, over both front ends."""

    def __init__(self, secured: Secured, authorities: list[trustme.CA]) -> None:
        self.calls = 0
        self.failures: list[Exception] = []
        self._secured = secured
        self._trusted = b"".join(authority.cert_pem.bytes() for authority in authorities)
        self._own = secured.authority.issue_cert("caller@example.org")
        self._ending = threading.Event()
        self._threads = [
            threading.Thread(target=self._run, args=(call,))
            for call in (self._call_grpc, self._call_rest)
        ]

    def __enter__(self) -> "Load":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ending.set()
        for thread in self._threads:
            thread.join()

    def _run(self, call: Callable[[], None]) -> None:
        while not self._ending.is_set():
            try:
                call()
            except (grpc.RpcError, httpx.TransportError) as err:
                self.failures.append(err)
            self.calls += 1

    def _call_grpc(self) -> None:
        credentials = grpc.ssl_channel_credentials(
            self._trusted,
            self._own.private_key_pem.bytes(),
            self._own.cert_chain_pems[0].bytes(),
        )
        with grpc.secure_channel(self._secured.server.grpc_target, credentials) as channel:
            PoseServiceStub(channel).GetModel(MODEL, metadata=KEY, timeout=30)

    def _call_rest(self) -> None:
        context = ssl.create_default_context(cadata=self._trusted.decode())
        self._own.configure_cert(context)
        url = self._secured.server.url.replace("http:", "https:")
        httpx.get(f"{url}/healthz", verify=context, timeout=30)


def test_a_certificate_is_swapped_under_load(secured: Secured) -> None:
    new = trustme.CA()
    with Load(secured, [secured.authority, new]) as load:
        time.sleep(0.5)
        secured.swap(new)
        swapped_after = load.calls
        while load.calls < swapped_after + 20:
            time.sleep(0.05)
    assert load.failures == []
    with secured.channel() as channel:  # which trusts the old authority only
        error = refused(PoseServiceStub(channel).GetModel, MODEL, metadata=KEY, timeout=5)
    assert error.code in ("UNAVAILABLE", "DEADLINE_EXCEEDED")
    url = secured.server.url.replace("http:", "https:")
    old = ssl.create_default_context(cadata=secured.authority.cert_pem.bytes().decode())
    secured.authority.issue_cert("caller@example.org").configure_cert(old)
    with pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
        httpx.get(f"{url}/healthz", verify=old)
