"""Counts what a message holds before the protobuf library builds an object for each of it.

*Source:* https://protobuf.dev/programming-guides/encoding/
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from google.protobuf.message import Message

from distilpose.service.errors import InvalidRequest, TooLarge
from distilpose.service.intake import OptionsLimits
from distilpose.v1 import pose_pb2

if TYPE_CHECKING:
    from google._upb._message import Descriptor as UpbDescriptor
    from google.protobuf.descriptor import Descriptor

_MOST_FIELDS: Final = 32
_MOST_FIELDS_PER_IMAGE: Final = 16
_LONGEST_VARINT_BYTES: Final = 10


def check_counts(data: bytes, kind: type[Message], limits: OptionsLimits) -> None:
    """Check a message of that kind before it is parsed.

    Raises:
        InvalidRequest: it is malformed, or has many times the fields that its kind has.
        TooLarge: more images than the limit, or larger options than so many boxes need.
    """
    _Counter(limits, kind.DESCRIPTOR.name).check(memoryview(data), kind.DESCRIPTOR)


class _Counter:
    """The counts of one message with all that it holds."""

    def __init__(self, limits: OptionsLimits, name: str) -> None:
        self._limits = limits
        self._name = name
        self._most_fields = _MOST_FIELDS + _MOST_FIELDS_PER_IMAGE * limits.max_images
        self._fields = self._images = self._options_bytes = 0

    def check(self, data: memoryview, kind: "Descriptor | UpbDescriptor") -> None:
        for number, payload in self._fields_of(data):
            self._fields += 1
            field = kind.fields_by_number.get(number)
            inner = field.message_type if field else None
            if inner is pose_pb2.Image.DESCRIPTOR:
                self._count_image()
            if self._fields > self._most_fields:
                raise InvalidRequest(f"the {self._name} has more than {self._most_fields} fields")
            if inner is pose_pb2.PoseOptions.DESCRIPTOR:
                self._count_options(len(payload))
            elif inner:
                self.check(payload, inner)

    def _count_image(self) -> None:
        self._images += 1
        if self._images > self._limits.max_images:
            raise TooLarge(f"more than {self._limits.max_images} images, which is the limit")

    def _count_options(self, size_bytes: int) -> None:
        self._options_bytes += size_bytes
        limit = self._limits.message_bytes
        if self._options_bytes > limit:
            raise TooLarge(f"options: {self._options_bytes} bytes, the limit is {limit}")

    def _fields_of(self, data: memoryview) -> Iterator[tuple[int, memoryview]]:
        """The number of each field, and its bytes if it has a length."""
        at = 0
        while at < len(data):
            tag, at = self._varint(data, at)
            start = at
            match tag & 7:
                case 0:
                    start = at = self._varint(data, at)[1]
                case 1:
                    start = at = at + 8
                case 2:
                    size, start = self._varint(data, at)
                    at = start + size
                case 3 | 4:  # a group's fields follow, and are counted like others
                    pass
                case 5:
                    start = at = at + 4
                case _:
                    raise self._malformed()
            if at > len(data):
                raise self._malformed()
            yield tag >> 3, data[start:at]

    def _varint(self, data: memoryview, at: int) -> tuple[int, int]:
        """A number of variable length, and the position behind it."""
        value = 0
        for index, byte in enumerate(data[at : at + _LONGEST_VARINT_BYTES]):
            value |= (byte & 0x7F) << (7 * index)
            if byte < 0x80:
                return value, at + index + 1
        raise self._malformed()

    def _malformed(self) -> InvalidRequest:
        return InvalidRequest(f"the message is not a valid {self._name}")
