"""The certificate, its key and the clients' CA, reloaded when their files change.

Each handshake uses the current files; open connections are not affected.
"""

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from distilpose.service.security.watched_files import WatchedFiles
from distilpose.service.settings import SecuritySettings, SettingsError


@dataclass(frozen=True, slots=True)
class Pem:
    """The contents of the files."""

    certificate_chain: bytes
    private_key: bytes
    client_ca: bytes | None


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """The paths of the files.

    With `client_ca`, clients must present a certificate from that CA, on every connection.
    """

    certificate: Path
    private_key: Path
    client_ca: Path | None = None

    @classmethod
    def from_settings(cls, security: SecuritySettings) -> "TlsFiles | None":
        """The files that the settings name, or None without TLS.

        Raises:
            SettingsError: the settings name only some of the files that belong together.
        """
        if bool(security.tls_cert) != bool(security.tls_key):
            raise SettingsError("security: tls_cert and tls_key go together")
        if security.tls_cert and security.tls_key:
            return cls(security.tls_cert, security.tls_key, security.tls_client_ca)
        if security.tls_client_ca:
            raise SettingsError("security.tls_client_ca: needs tls_cert and tls_key")
        return None

    def watched_pem(self) -> WatchedFiles[Pem]:
        """The contents, reloaded when the files change.

        Raises:
            SettingsError: a file cannot be read, or key and certificate do not match.
        """
        return WatchedFiles(self._paths, self._read)

    def server_context(self) -> ssl.SSLContext:
        """A server's TLS context, whose handshakes use the current files.

        Raises:
            SettingsError: a file cannot be read, or key and certificate do not match.
        """
        watched = WatchedFiles(self._paths, self._new_context)
        context = self._new_context()

        def follow(handshake: ssl.SSLObject, _: str | None, __: ssl.SSLContext) -> None:
            handshake.context = watched.current()

        # Called in every handshake, with or without a server name from the client.
        context.sni_callback = follow
        return context

    @property
    def _paths(self) -> list[Path]:
        return [path for path in (self.certificate, self.private_key, self.client_ca) if path]

    def _new_context(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        with self._readable():
            context.load_cert_chain(self.certificate, self.private_key)
            if self.client_ca:
                context.load_verify_locations(self.client_ca)
                context.verify_mode = ssl.CERT_REQUIRED
                # A resumed session is not verified again, not even against a replaced authority.
                context.options |= ssl.OP_NO_TICKET
                context.num_tickets = 0
        return context

    def _read(self) -> Pem:
        self._new_context()  # which refuses a key that does not match
        with self._readable():
            return Pem(
                self.certificate.read_bytes(),
                self.private_key.read_bytes(),
                self.client_ca.read_bytes() if self.client_ca else None,
            )

    @contextmanager
    def _readable(self) -> Iterator[None]:
        try:
            yield
        except OSError as err:  # ssl.SSLError is one too
            files = ", ".join(map(str, self._paths))
            raise SettingsError(f"security.tls_*: {files}: cannot be used: {err}") from err
