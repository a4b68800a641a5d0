"""A name server for one name, like a cluster's DNS for a headless Service."""

import socket
import struct
import threading
from types import TracebackType
from typing import Final

_ADDRESS, _INTERNET, _FOR_SECONDS = 1, 1, 0
_ANSWER: Final = 0x8180
_THE_NAME_ASKED: Final = b"\xc0\x0c"


class Names:
    """Every name has these IPv4 addresses; queries for other records get an empty answer.

    *Source:* RFC 1035, section 4.
    """

    def __init__(self, *addresses: str) -> None:
        self.addresses = addresses
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self.port: int = self._socket.getsockname()[1]
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def __enter__(self) -> "Names":
        self._thread.start()
        return self

    def __exit__(
        self, _: type[BaseException] | None, __: BaseException | None, ___: TracebackType | None
    ) -> None:
        self._socket.sendto(b"", self._socket.getsockname())
        self._thread.join()
        self._socket.close()

    def _serve(self) -> None:
        while True:
            asked, caller = self._socket.recvfrom(512)
            if not asked:
                return
            self._socket.sendto(answer(asked, self.addresses), caller)


def answer(asked: bytes, addresses: tuple[str, ...]) -> bytes:
    """The message that answers a question."""
    end_of_name = asked.index(b"\0", 12) + 1
    question = asked[12 : end_of_name + 4]
    kind, _ = struct.unpack(">HH", question[-4:])
    found = addresses if kind == _ADDRESS else ()
    head = asked[:2] + struct.pack(">HHHHH", _ANSWER, 1, len(found), 0, 0)
    fixed = struct.pack(">HHIH", _ADDRESS, _INTERNET, _FOR_SECONDS, 4)
    return head + question + b"".join(_THE_NAME_ASKED + fixed + socket.inet_aton(a) for a in found)
