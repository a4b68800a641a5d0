import pytest

from distilpose.model.pictures.isobmff.pieces import Pieces

DATA = b"..abc.defg..h."
WHOLE = b"abcdefgh"


@pytest.mark.parametrize("position", range(9))
@pytest.mark.parametrize("count", [0, 1, 3, 5, 99])
def test_pieces_read_like_the_whole(position: int, count: int) -> None:
    pieces = Pieces(DATA, [(2, 5), (6, 10), (12, 13)])
    assert pieces.size == len(WHOLE)
    assert pieces.read(position, count) == WHOLE[position : position + count]


@pytest.mark.parametrize("position", range(4))
def test_one_piece_ends_where_it_ends(position: int) -> None:
    assert Pieces(DATA, [(2, 5)]).read(position, 9) == b"abc"[position:]
