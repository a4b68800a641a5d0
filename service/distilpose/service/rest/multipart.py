"""Parse a multipart body."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from distilpose.service.errors import InvalidRequest, TooLarge

_MOST_FIELDS: Final = 2


@dataclass(frozen=True, slots=True)
class Part:
    """One part of a form; a file has a `filename`, which may be empty."""

    name: str
    filename: str | None
    content: bytes


def read_parts(body: bytes, content_type: str, *, max_images: int) -> list[Part]:
    """The parts of `multipart/form-data`, in order.

    *Source:* RFC 7578.

    Raises:
        InvalidRequest: malformed, or cut short.
        TooLarge: more files than the allowed images plus one for the options.
    """
    _, parameters = parse_options_header(content_type)
    if b"boundary" not in parameters:
        raise _malformed("its content type has no boundary")
    reader = _Reader(body, max_images=max_images)
    with _as_malformed():
        # In a single write, so that the offsets of the callbacks all refer to `body`.
        MultipartParser(
            parameters[b"boundary"],
            {
                "on_part_begin": reader.begin_part,
                "on_header_field": reader.add_to_header_name,
                "on_header_value": reader.add_to_header_value,
                "on_header_end": reader.end_header,
                "on_headers_finished": reader.open_part,
                "on_part_data": reader.add_to_part,
                "on_part_end": reader.end_part,
            },
        ).write(body)
    if reader.is_in_part:
        raise _malformed("it ends within a part")
    return reader.parts


class _Reader:
    """The parser's callbacks."""

    def __init__(self, body: bytes, *, max_images: int) -> None:
        self.parts: list[Part] = []
        self.is_in_part = False
        self._body = body
        self._max_images = max_images
        self._header_name, self._header_value = bytearray(), bytearray()
        self._parameters: dict[bytes, bytes] = {}
        self._start, self._end = 0, 0

    def begin_part(self) -> None:
        self.is_in_part = True
        self._parameters = {}
        self._start = self._end = 0

    def add_to_header_name(self, data: bytes, start: int, end: int) -> None:
        self._header_name += data[start:end]

    def add_to_header_value(self, data: bytes, start: int, end: int) -> None:
        self._header_value += data[start:end]

    def end_header(self) -> None:
        if self._header_name.lower() == b"content-disposition":
            _, self._parameters = parse_options_header(bytes(self._header_value))
        self._header_name.clear()
        self._header_value.clear()

    def open_part(self) -> None:
        if b"name" not in self._parameters:
            raise _malformed("the `Content-Disposition` of a part has no name")

    def add_to_part(self, _: bytes, start: int, end: int) -> None:
        self._start = self._start or start
        self._end = end

    def end_part(self) -> None:
        self.is_in_part = False
        filename = self._parameters.get(b"filename")
        self.parts.append(
            Part(
                self._parameters[b"name"].decode(errors="replace"),
                None if filename is None else filename.decode(errors="replace"),
                self._body[self._start : self._end],
            )
        )
        files = sum(part.filename is not None for part in self.parts)
        if files > self._max_images + 1:
            raise TooLarge(f"more than {self._max_images} images, which is the limit")
        if len(self.parts) - files > _MOST_FIELDS:
            raise _malformed(f"more than {_MOST_FIELDS} parts that are not files")


def _malformed(reason: str) -> InvalidRequest:
    return InvalidRequest(f"malformed multipart body: {reason}")


@contextmanager
def _as_malformed() -> Iterator[None]:
    try:
        yield
    except FormParserError as err:
        raise _malformed(str(err)) from err
