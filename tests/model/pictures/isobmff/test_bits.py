import pytest

from distilpose.model.pictures.isobmff.bits import Bits


def test_numbers_follow_each_other_across_bytes() -> None:
    bits = Bits(bytes([0b10110011, 0b01010101]))
    assert [bits.read(count) for count in (1, 3, 6, 0, 6)] == [1, 3, 0b001101, 0, 0b010101]


def test_exponential_numbers_are_read() -> None:
    coded = "101001100100001110001000"
    bits = Bits(int(coded.ljust(32, "0"), 2).to_bytes(4, "big"))
    assert [bits.exponential() for _ in range(6)] == [0, 1, 2, 3, 6, 7]


def test_the_longest_exponential_number_ends_after_32_zeros() -> None:
    bits = Bits(b"\0\0\0\0\xa0")
    assert bits.exponential() == 2**32 - 1
    assert bits.read(3) == 0b101


def test_what_ends_long_before_is_refused() -> None:
    bits = Bits(b"a")
    bits.read(100)
    with pytest.raises(ValueError, match="truncated"):
        bits.read(200)
