"""Certificates that are replaced while a server listens; handshakes in memory."""

import ssl
from pathlib import Path

import pytest
import trustme

from distilpose.service.security.tls import TlsFiles
from distilpose.service.settings import SecuritySettings, SettingsError

AUTHORITY = trustme.CA()


def write(folder: Path, certificate: trustme.LeafCert, client_ca: trustme.CA | None) -> TlsFiles:
    files = TlsFiles(
        folder / "cert.pem", folder / "key.pem", folder / "ca.pem" if client_ca else None
    )
    files.certificate.write_bytes(certificate.cert_chain_pems[0].bytes())
    files.private_key.write_bytes(certificate.private_key_pem.bytes())
    if client_ca and files.client_ca:
        files.client_ca.write_bytes(client_ca.cert_pem.bytes())
    return files


def handshake(server: ssl.SSLContext, client_certificate: trustme.LeafCert | None = None) -> bytes:
    """The certificate that a client receives, as DER.

    Raises:
        ssl.SSLError: one end rejects the other.
    """
    client = ssl.create_default_context()
    AUTHORITY.configure_trust(client)
    if client_certificate:
        client_certificate.configure_cert(client)
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = [
        client.wrap_bio(to_client, to_server, server_hostname="127.0.0.1"),
        server.wrap_bio(to_server, to_client, server_side=True),
    ]
    for end in ends * 4:
        try:
            end.do_handshake()
        except ssl.SSLWantReadError:
            continue
    shown = ends[0].getpeercert(binary_form=True)
    assert shown is not None
    return shown


def connect(
    server: ssl.SSLContext, client: ssl.SSLContext, session: ssl.SSLSession | None
) -> ssl.SSLObject:
    """The client's end of a connection on which a byte has arrived, and with it any ticket.

    Raises:
        ssl.SSLError: one end refuses the other.
    """
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    caller = client.wrap_bio(to_client, to_server, server_hostname="127.0.0.1", session=session)
    service = server.wrap_bio(to_server, to_client, server_side=True)
    for end in [caller, service] * 4:
        try:
            end.do_handshake()
        except ssl.SSLWantReadError:
            continue
    service.write(b"x")
    assert caller.read(1) == b"x"
    return caller


def der(certificate: trustme.LeafCert) -> bytes:
    return ssl.PEM_cert_to_DER_cert(certificate.cert_chain_pems[0].bytes().decode())


def test_a_handshake_shows_the_certificate_that_is_in_the_file_then(tmp_path: Path) -> None:
    first, second = (AUTHORITY.issue_cert("127.0.0.1") for _ in range(2))
    files = write(tmp_path, first, None)
    context = files.server_context()
    assert handshake(context) == der(first)
    files.certificate.write_bytes(second.cert_chain_pems[0].bytes())
    assert handshake(context) == der(first)  # the key does not match yet
    files.private_key.write_bytes(second.private_key_pem.bytes())
    assert handshake(context) == der(second)


def test_a_callers_authority_may_be_swapped(tmp_path: Path) -> None:
    old, new = trustme.CA(), trustme.CA()
    files = write(tmp_path, AUTHORITY.issue_cert("127.0.0.1"), old)
    context = files.server_context()
    known, unknown = old.issue_cert("caller"), new.issue_cert("caller")
    handshake(context, known)
    for refused in (None, unknown):
        with pytest.raises(ssl.SSLError):
            handshake(context, refused)
    assert files.client_ca is not None
    files.client_ca.write_bytes(new.cert_pem.bytes())
    handshake(context, unknown)
    with pytest.raises(ssl.SSLError):
        handshake(context, known)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_caller_of_a_replaced_authority_does_not_come_back_on_an_old_session(
    tmp_path: Path, version: ssl.TLSVersion
) -> None:
    old, new = trustme.CA(), trustme.CA()
    files = write(tmp_path, AUTHORITY.issue_cert("127.0.0.1"), old)
    server, client = files.server_context(), ssl.create_default_context()
    client.minimum_version = client.maximum_version = version
    AUTHORITY.configure_trust(client)
    old.issue_cert("caller").configure_cert(client)
    session = connect(server, client, None).session
    assert not connect(server, client, session).session_reused
    assert files.client_ca is not None
    files.client_ca.write_bytes(new.cert_pem.bytes())
    with pytest.raises(ssl.SSLError):
        connect(server, client, session)


def test_without_a_callers_authority_sessions_are_resumed(tmp_path: Path) -> None:
    server = write(tmp_path, AUTHORITY.issue_cert("127.0.0.1"), None).server_context()
    client = ssl.create_default_context()
    AUTHORITY.configure_trust(client)
    session = connect(server, client, None).session
    assert connect(server, client, session).session_reused


def test_the_content_of_the_files_follows_them(tmp_path: Path) -> None:
    first, second = (AUTHORITY.issue_cert("127.0.0.1") for _ in range(2))
    files = write(tmp_path, first, AUTHORITY)
    watched = files.watched_pem()
    before = watched.current()
    assert before.certificate_chain == first.cert_chain_pems[0].bytes()
    assert before.private_key == first.private_key_pem.bytes()
    assert before.client_ca == AUTHORITY.cert_pem.bytes()
    assert watched.current() is before
    write(tmp_path, second, AUTHORITY)
    assert watched.current().certificate_chain == second.cert_chain_pems[0].bytes()


def test_files_that_cannot_be_used_are_named(tmp_path: Path) -> None:
    files = write(tmp_path, AUTHORITY.issue_cert("127.0.0.1"), None)
    files.private_key.write_bytes(AUTHORITY.issue_cert("127.0.0.1").private_key_pem.bytes())
    for make in (files.server_context, files.watched_pem):
        with pytest.raises(SettingsError, match=r"key\.pem: cannot be used: .*mismatch"):
            make()
    files.private_key.unlink()
    with pytest.raises(SettingsError, match=r"key\.pem: cannot be used: .*No such file"):
        files.server_context()


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"tls_cert": "a"}, "tls_cert and tls_key go together"),
        ({"tls_key": "a"}, "tls_cert and tls_key go together"),
        ({"tls_client_ca": "a"}, "tls_client_ca: needs tls_cert and tls_key"),
    ],
)
def test_files_that_belong_together_are_named_together(given: dict[str, str], words: str) -> None:
    with pytest.raises(SettingsError, match=words):
        TlsFiles.from_settings(SecuritySettings.model_validate(given))


def test_without_files_there_is_no_tls() -> None:
    assert TlsFiles.from_settings(SecuritySettings()) is None
