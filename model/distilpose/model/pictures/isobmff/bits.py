"""Read numbers from the bits of a header."""

from typing import Final

_MOST_BITS: Final = 32
_LARGEST: Final = 0xFFFFFFFF


class Bits:
    """The bits of some bytes, from the first on; zeros follow their end."""

    def __init__(self, data: bytes) -> None:
        self._value = int.from_bytes(data, "big") << 256
        self._left = len(data) * 8 + 256

    def read(self, count: int) -> int:
        """The next bits as a number.

        Raises:
            ValueError: the bytes end long before.

        """
        self._left -= count
        if self._left < 0:
            raise ValueError("a header of its frames is truncated")
        return self._value >> self._left & ((1 << count) - 1)

    def exponential(self) -> int:
        """The next number of variable length: Exp-Golomb code, at most 32 bits.

        *Source:* ITU-T H.265, section 9.2 (`ue(v)`); AV1, section 4.10.3 (`uvlc`).
        """
        zeros = 0
        while not self.read(1):
            zeros += 1
            if zeros == _MOST_BITS:
                return _LARGEST
        return (1 << zeros) - 1 + self.read(zeros)
