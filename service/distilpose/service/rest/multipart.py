"""Parse a multipart body while it arrives."""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from distilpose.service.errors import InvalidRequest, TooLarge, UnsupportedEncoding
from distilpose.service.intake import OptionsLimits
from distilpose.service.printable import excerpt

_MOST_FIELDS: Final = 2
_LONGEST_CONTENT_TYPE_CHARACTERS: Final = 1024
_CODINGS: Final = {
    b"content-encoding": {b"identity"},
    b"content-transfer-encoding": {b"binary", b"8bit", b"7bit"},
}
"""Headers of a part, with those of their values that leave its bytes as they are."""


@dataclass(frozen=True, slots=True)
class Part:
    """One part of a form; a file has a `filename`, which may be empty."""

    name: str
    filename: str | None
    content: bytes


class Form:
    """The parts of `multipart/form-data`, collected from pieces of any length.

    *Source:* RFC 7578.

    Raises:
        InvalidRequest: the content type names no boundary.
    """

    def __init__(self, content_type: str, limits: OptionsLimits) -> None:
        self._collector = _Collector(limits)
        collector = self._collector
        with _as_malformed():
            self._parser = MultipartParser(
                _boundary(content_type),
                {
                    "on_part_begin": collector.begin_part,
                    "on_header_field": collector.add_to_header_name,
                    "on_header_value": collector.add_to_header_value,
                    "on_header_end": collector.end_header,
                    "on_headers_finished": collector.open_part,
                    "on_part_data": collector.add_to_part,
                    "on_part_end": collector.end_part,
                    "on_end": collector.end,
                },
            )

    def write(self, piece: bytes) -> None:
        """Take the next piece of the body; what follows the end of the form does not matter.

        Raises:
            InvalidRequest: malformed, or more fields than have a use.
            TooLarge: more files than the allowed images plus one for the options, or a field with
                more text than options may have.
            UnsupportedEncoding: a part is compressed or encoded as a whole.
        """
        if not self._collector.has_ended:
            with _as_malformed():
                self._parser.write(piece)

    def parts(self) -> list[Part]:
        """The parts, in order, once the whole body is written.

        Raises:
            InvalidRequest: the body is cut short.
        """
        if self._collector.is_in_part:
            raise _malformed("it ends within a part")
        return self._collector.parts


def _boundary(content_type: str) -> bytes:
    if len(content_type) > _LONGEST_CONTENT_TYPE_CHARACTERS:
        raise _malformed(f"its content type exceeds {_LONGEST_CONTENT_TYPE_CHARACTERS} characters")
    boundary: bytes | None = parse_options_header(content_type)[1].get(b"boundary")
    if boundary is None:
        raise _malformed("its content type has no boundary")
    return boundary


class _Collector:
    """The parser's callbacks."""

    def __init__(self, limits: OptionsLimits) -> None:
        self.parts: list[Part] = []
        self.is_in_part = False
        self.has_ended = False
        self._limits = limits
        self._header_name, self._header_value = bytearray(), bytearray()
        self._parameters: dict[bytes, bytes] = {}
        self._content = io.BytesIO()

    def begin_part(self) -> None:
        self.is_in_part = True
        self._parameters = {}
        self._content = io.BytesIO()

    def add_to_header_name(self, data: bytes, start: int, end: int) -> None:
        self._header_name += data[start:end]

    def add_to_header_value(self, data: bytes, start: int, end: int) -> None:
        self._header_value += data[start:end]

    def end_header(self) -> None:
        name = bytes(self._header_name.lower())
        if name == b"content-disposition":
            _, self._parameters = parse_options_header(bytes(self._header_value))
        elif name in _CODINGS:
            _refuse_encoded(name, bytes(self._header_value))
        self._header_name.clear()
        self._header_value.clear()

    def open_part(self) -> None:
        if b"name" not in self._parameters:
            raise _malformed("the `Content-Disposition` of a part has no name")

    def add_to_part(self, data: bytes, start: int, end: int) -> None:
        self._content.write(memoryview(data)[start:end])
        is_file = b"filename" in self._parameters
        if not is_file and self._content.tell() > self._limits.json_bytes:
            raise self._limits.exceeded(f"part {excerpt(self._name)!r}")

    def end_part(self) -> None:
        self.is_in_part = False
        filename = self._parameters.get(b"filename")
        self.parts.append(
            Part(
                self._name,
                None if filename is None else filename.decode(errors="replace"),
                self._content.getvalue(),
            )
        )
        files = sum(part.filename is not None for part in self.parts)
        max_images = self._limits.max_images
        if files > max_images + 1:
            raise TooLarge(f"more than {max_images} images, which is the limit")
        if len(self.parts) - files > _MOST_FIELDS:
            raise _malformed(f"more than {_MOST_FIELDS} parts that are not files")

    def end(self) -> None:
        self.has_ended = True

    @property
    def _name(self) -> str:
        return self._parameters[b"name"].decode(errors="replace")


def _refuse_encoded(name: bytes, value: bytes) -> None:
    coding = value.strip().lower()
    if coding and coding not in _CODINGS[name]:
        shown = excerpt(coding.decode(errors="replace"))
        raise UnsupportedEncoding(
            f"{name.decode()} '{shown}' of a part: send its bytes as they are"
        )


def _malformed(reason: str) -> InvalidRequest:
    return InvalidRequest(f"malformed multipart body: {reason}")


@contextmanager
def _as_malformed() -> Iterator[None]:
    try:
        yield
    except FormParserError as err:
        raise _malformed(str(err)[:200]) from err
