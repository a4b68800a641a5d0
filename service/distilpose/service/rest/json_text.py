"""Reads a JSON text while it arrives, and holds no more of it than its caller asked for.

Only what lies between values is understood here. A value is handed out as its text, for a library
to parse once it is known to be small, or decoded from base64 in pieces.

*Source:* RFC 8259 (JSON).
"""

import json
import re
from collections.abc import AsyncIterator
from typing import Final, Literal

from distilpose.service.errors import InvalidRequest
from distilpose.service.rest.base64_text import Base64Text

MOST_NAME_BYTES: Final = 1200
"""200 characters, each of them escaped."""

_QUOTE: Final = ord('"')
_CLOSING: Final = {ord("{"): ord("}"), ord("["): ord("]")}
_DEPTH_STEPS: Final = {ord("{"): 1, ord("["): 1, ord("}"): -1, ord("]"): -1}
_BLANKS: Final = re.compile(rb"[ \t\n\r]*+")
_STRING: Final = re.compile(rb'"(?:[^"\\]++|\\.)*+"', re.DOTALL)
_WHOLE_CHARACTERS: Final = re.compile(rb'(?:[^"\\]++|\\u[0-9a-fA-F]{4}|\\[^u])*+', re.DOTALL)
_TOKEN: Final = re.compile(rb'[\[\]{},:]|"(?:[^"\\]++|\\.)*+("?)', re.DOTALL)
_LONGEST_ESCAPE_BYTES: Final = 6
_LONGEST_STRING_BYTES: Final = 8 * 1024
"""Of a string that is no image: it is read again with each piece until it ends."""


class TooMuchText(Exception):
    """A value is larger than its reader wants."""


class JsonText:
    """One JSON text, read from front to back.

    Every method raises InvalidRequest where the text is not JSON, with the position of the byte.
    """

    def __init__(self, pieces: AsyncIterator[bytes]) -> None:
        self._pieces = pieces
        self._data = b""
        self._at = 0
        self._bytes_before = 0
        self._open: list[int] = []
        self._is_first = False

    async def open(self, bracket: Literal["{", "["]) -> bool:
        """Enter the next value if it begins with that bracket, else return False."""
        if await self._peek() != ord(bracket):
            return False
        self._at += 1
        self._open.append(_CLOSING[ord(bracket)])
        self._is_first = True
        return True

    async def more(self) -> bool:
        """Return True before another member or element, False after leaving the open value."""
        byte = await self._peek()
        if byte == self._open[-1]:
            self._at += 1
            self._open.pop()
            self._is_first = False
            return False
        if not self._is_first:
            if byte != ord(","):
                raise self._wrong(f"expected a comma or {chr(self._open[-1])}")
            self._at += 1
        self._is_first = False
        return True

    async def name(self) -> str:
        """The name of the next member, whose value follows.

        Of a name of more than `MOST_NAME_BYTES` only the beginning, without reading the rest; the
        text cannot be read on then.
        """
        if await self._peek() != _QUOTE:
            raise self._wrong("expected a name in quotes")
        while not (match := _STRING.match(self._data, self._at)):
            if len(self._data) - self._at > MOST_NAME_BYTES:
                break
            await self._more()
        if not match or match.end() - self._at > MOST_NAME_BYTES:
            return self._data[self._at + 1 :][:MOST_NAME_BYTES].decode(errors="replace")
        name = self._parsed_string(match[0])
        self._at = match.end()
        if await self._peek() != ord(":"):
            raise self._wrong("expected a colon")
        self._at += 1
        return name

    async def value(self, *, most_bytes: int, most_tokens: int) -> bytes:
        """The text of the next value, with the blanks after it. What it holds is not checked.

        Raises:
            TooMuchText: it has more bytes, more brackets, commas, colons and strings together, or
                a string of more than 8 KiB.
        """
        await self._peek()
        taken = bytearray()
        depth = tokens = 0
        while True:
            end = len(self._data)
            for token in _TOKEN.finditer(self._data, self._at):
                kind = self._data[token.start()]
                if kind == _QUOTE:
                    if token.end() - token.start() > _LONGEST_STRING_BYTES:
                        raise TooMuchText
                    if not token[1]:  # the string goes on in the next piece
                        end = token.start()
                        break
                elif not depth and kind in b",]}":
                    return bytes(self._take(taken, token.start(), most_bytes))
                else:
                    depth += _DEPTH_STEPS.get(kind, 0)
                tokens += 1
                if tokens > most_tokens:
                    raise TooMuchText
            self._take(taken, end, most_bytes)
            if len(taken) + len(self._data) - self._at > most_bytes:
                raise TooMuchText
            await self._more()

    async def base64(self) -> bytes | None:
        """The bytes that the next value, a string, stands for; None if it is something else.

        Line breaks need no escape in it: a shell pastes them in as they are.

        Raises:
            NotBase64: it is not base64.
        """
        if await self._peek() != _QUOTE:
            return None
        self._at += 1
        decoder = Base64Text()
        while True:
            quote = self._data.find(b'"', self._at)
            end = quote if quote >= 0 else len(self._data)
            if self._data.find(b"\\", self._at, end) >= 0:
                end = self._end_of_whole_characters()
                plain = self._parsed_string(
                    b'"%b"' % self._data[self._at : end], strict=False
                ).encode()
            else:
                plain = self._data[self._at : end]
            decoder.add(plain)
            self._at = end
            if self._data.startswith(b'"', self._at):
                self._at += 1
                return decoder.decoded()
            if len(self._data) - self._at >= _LONGEST_ESCAPE_BYTES:
                raise self._wrong("unknown escape")
            await self._more()

    async def end(self) -> None:
        """Read the rest, which must be blank."""
        while True:
            self._skip_blanks()
            if self._at < len(self._data):
                raise self._wrong("expected the end")
            piece = await anext(self._pieces, None)
            if piece is None:
                return
            self._add(piece)

    def _end_of_whole_characters(self) -> int:
        """The position of the string's end, or of an escape that is not all there."""
        match = _WHOLE_CHARACTERS.match(self._data, self._at)
        assert match is not None  # noqa: S101 - the pattern also matches nothing
        return match.end()

    def _take(self, taken: bytearray, end: int, most_bytes: int) -> bytearray:
        taken += self._data[self._at : end]
        self._at = end
        if len(taken) > most_bytes:
            raise TooMuchText
        return taken

    async def _peek(self) -> int:
        """The next byte that is not blank."""
        while True:
            self._skip_blanks()
            if self._at < len(self._data):
                return self._data[self._at]
            await self._more()

    def _skip_blanks(self) -> None:
        match = _BLANKS.match(self._data, self._at)
        assert match is not None  # noqa: S101 - the pattern also matches nothing
        self._at = match.end()

    async def _more(self) -> None:
        piece = await anext(self._pieces, None)
        if piece is None:
            self._at = len(self._data)
            raise self._wrong("it ends too early")
        self._add(piece)

    def _add(self, piece: bytes) -> None:
        self._bytes_before += self._at
        self._data = self._data[self._at :] + piece
        self._at = 0

    def _parsed_string(self, text: bytes, *, strict: bool = True) -> str:
        """The string of that text in quotes; if not `strict`, control characters may be in it."""
        try:
            string: str = json.loads(text, strict=strict)
            string.encode()  # half a surrogate pair cannot be
        except ValueError as err:
            raise self._wrong("not a string") from err
        return string

    def _wrong(self, reason: str) -> InvalidRequest:
        return InvalidRequest(f"not JSON: {reason} at byte {self._bytes_before + self._at}")
