"""Decodes base64 as its many writers send it, while it arrives.

Knows no JSON: it gets the characters of a string, in pieces of any length.

*Source:* RFC 4648 (both alphabets), RFC 2045 (line breaks), RFC 2397 (data URLs).
"""

import binascii
import io
import re
from typing import Final, NoReturn

import pybase64

_DATA_URL: Final = b"data:"
_BASE64: Final = re.compile(rb";\s*base64\s*\Z", re.IGNORECASE)
_LONGEST_HEAD_BYTES: Final = 256
_BLANKS: Final = b" \t\r\n"
_LINE_BREAK: Final = re.compile(rb"[\r\n]|%0[AaDd]")
_TOKEN: Final = re.compile(
    rb"""(?P<letters>[A-Za-z0-9+/_-]++)
    |(?P<space>(?:[ \t\r\n]|%(?:20|09|0[AaDd]))++)
    |(?P<padding>=|%3[Dd])
    |(?P<escape>%[0-9A-Fa-f]{2})
    |(?P<cut>%[0-9A-Fa-f]?\Z)
    |(?P<other>.)""",
    re.DOTALL | re.VERBOSE,
)
_LETTERS: Final = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/-_")
_PLAIN: Final = re.compile(rb"[A-Za-z0-9+/]*+")
_ONE_ALPHABET: Final = bytes.maketrans(b"-_", b"+/")


class NotBase64(ValueError):
    """The text is not base64; the message names the first wrong character by its index, from 0."""


class Base64Text:
    """The bytes that a text in base64 stands for.

    Either alphabet, also mixed; padding or none; line breaks, with blanks at the ends of lines;
    escapes with a percent sign; `data:<type>;base64,` in front, whatever the type. A blank within
    a line is wrong: it is mostly a plus sign that was decoded as part of a form.
    """

    def __init__(self) -> None:
        self._decoded = io.BytesIO()
        self._at = 0
        """Index of the next character to be read."""
        self._head: bytes | None = b""
        """The beginning, while it may belong to a data URL."""
        self._group = b""
        """Characters of a group of four that is not whole."""
        self._padding = 0
        self._is_plain = True
        """True while all was of the first alphabet, without anything between."""
        self._cut = b""
        """The beginning of an escape whose end has not arrived."""
        self._is_at_edge = True
        """True from a line break, or the beginning, up to the next character."""
        self._blank_at: int | None = None
        """Index of the first blank behind a character, where no line break has followed yet."""

    def add(self, piece: bytes) -> None:
        """Decode the next piece.

        Raises:
            NotBase64: it cannot belong to base64.
        """
        if self._head is not None:
            self._begin(self._head + piece)
        else:
            self._decode(piece)

    def decoded(self) -> bytes:
        """All bytes; no piece may follow.

        Raises:
            NotBase64: the text is cut, or has too much or too little padding.
        """
        if self._head is not None:
            self._decode(self._head)
        if self._cut:
            self._refuse("an escape that is cut", self._at - len(self._cut))
        letters, padding = len(self._group), -len(self._group) % 4
        if letters == 1:
            self._refuse("a last group of only one character", self._at)
        if self._padding not in (0, padding):
            self._refuse(f"padding of {self._padding} where {padding} belong", self._at)
        self._decoded.write(pybase64.b64decode(self._group + b"=" * padding, validate=True))
        return self._decoded.getvalue()

    def _begin(self, head: bytes) -> None:
        """Read up to where the base64 itself begins."""
        bare = head.lstrip(_BLANKS)
        self._at += len(head) - len(bare)
        self._head = bare
        if bare[: len(_DATA_URL)].lower() == _DATA_URL:
            comma = bare.find(b",", 0, _LONGEST_HEAD_BYTES)
            if comma < 0 and len(bare) < _LONGEST_HEAD_BYTES:
                return
            if not _BASE64.search(bare, 0, max(comma, 0)):
                self._refuse("a data URL without `;base64,`", self._at)
            self._at += len(bare[: comma + 1].decode(errors="replace"))
            bare = bare[comma + 1 :]
        elif len(bare) < len(_DATA_URL):
            return
        self._head = None
        self._decode(bare)

    def _decode(self, piece: bytes) -> None:
        if self._is_plain and b"=" not in piece:
            text = self._group + piece
            whole = len(text) - len(text) % 4
            try:
                decoded = pybase64.b64decode(text[:whole], validate=True)
            except binascii.Error:
                decoded = None
            if decoded is not None and _PLAIN.fullmatch(text, whole):
                self._decoded.write(decoded)
                self._group = text[whole:]
                self._at += len(piece)
                self._is_at_edge = self._is_at_edge and not piece
                return
        self._decode_tokens(piece)

    def _decode_tokens(self, piece: bytes) -> None:
        """Decode a piece with more in it than letters of the first alphabet."""
        text, start = self._cut + piece, self._at - len(self._cut)
        self._cut = b""
        self._is_plain = False
        letters = bytearray(self._group)
        for token in _TOKEN.finditer(text):
            kind, at = token.lastgroup, start + token.start()
            if kind == "space":
                self._take_space(token[0], at)
            elif kind == "cut":
                self._cut = token[0]
            else:
                letters += self._letters(kind, token[0], at)
        self._at += len(piece)
        whole = len(letters) - len(letters) % 4
        self._decoded.write(pybase64.b64decode(letters[:whole], validate=True))
        self._group = bytes(letters[whole:])

    def _take_space(self, space: bytes, at: int) -> None:
        if _LINE_BREAK.search(space):
            self._is_at_edge, self._blank_at = True, None
        elif not self._is_at_edge and self._blank_at is None:
            self._blank_at = at

    def _letters(self, kind: str | None, token: bytes, at: int) -> bytes:
        """The letters of the first alphabet that a token stands for; padding is only counted."""
        if self._blank_at is not None:
            self._refuse("a blank within a line (perhaps a decoded plus sign)", self._blank_at)
        self._is_at_edge = False
        if kind == "padding":
            self._padding += 1
            return b""
        text = bytes([int(token[1:], 16)]) if kind == "escape" else token
        if text[0] not in _LETTERS:
            self._refuse(_shown(token), at)
        if self._padding:
            self._refuse("more after the padding", at)
        return text.translate(_ONE_ALPHABET)

    def _refuse(self, found: str, at: int) -> NoReturn:
        raise NotBase64(f"{found} at character {at}")


def _shown(token: bytes) -> str:
    return repr(token.decode()) if 0x20 < token[0] < 0x7F else "an unknown character"
