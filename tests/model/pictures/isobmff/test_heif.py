import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import heif_files
import odd_images
from distilpose.model import pictures
from distilpose.model.errors import PictureError, TooManyPixels, Undecodable
from distilpose.model.pictures.isobmff.av1 import MAX_FRAMES
from distilpose.model.pictures.isobmff.heif import first_picture
from heif_files import Item, box, file_of, ftyp, grid, of_one, size_property

CODED = heif_files.av1_picture(30, 40)
LARGE = heif_files.av1_picture(240, 400)
TILE = heif_files.av1_picture(64, 64)
FULL = heif_files.av1_picture(30, 40, subsampling="4:4:4")
ALPHA = heif_files.auxiliary_property()


def of_tiles(rows: int, columns: int, width: int, height: int, *beside: Item) -> bytes:
    """A picture of tiles of 64 pixels, and other items."""
    tiles = range(2, 2 + rows * columns)
    whole = Item(b"grid", grid(rows, columns, width, height), [size_property(width, height)], tiles)
    return file_of([whole, *(TILE.item() for _ in tiles), *beside])


def decoded_shape(data: bytes) -> tuple[int, ...]:
    return pictures.read(data).shape


@pytest.mark.parametrize(
    ("turn", "mirror", "orientation"),
    [
        (None, None, 1),
        (0, None, 1),
        (1, None, 8),
        (2, None, 3),
        (3, None, 6),
        (None, 0, 4),
        (None, 1, 2),
        (1, 0, 5),
        (1, 1, 7),
        (2, 0, 2),
        (2, 1, 4),
        (3, 0, 7),
        (3, 1, 5),
    ],
)
def test_turn_and_mirror_are_an_orientation(
    turn: int | None, mirror: int | None, orientation: int
) -> None:
    properties = [box(b"irot", bytes([turn]))] if turn is not None else []
    properties += [box(b"imir", bytes([mirror]))] if mirror is not None else []
    data = of_one(CODED, *properties)
    assert first_picture(data) == ((40, 30), orientation, 0, False)
    assert decoded_shape(data) == ((40, 30, 3) if orientation >= 5 else (30, 40, 3))


def test_the_primary_pictures_size_counts_not_the_first_one() -> None:
    data = file_of([TILE.item(), CODED.item()], primary=2)
    assert first_picture(data).size_wh == (40, 30)


@pytest.mark.parametrize("options", [{"pieces": 3}, {"is_in_idat": True}])
def test_a_picture_may_lie_in_pieces_or_beside_its_boxes(options: dict[str, int]) -> None:
    data = of_one(CODED, **options)
    assert first_picture(data).size_wh == (40, 30)
    assert decoded_shape(data) == (30, 40, 3)


def test_a_sequence_has_the_size_of_its_track() -> None:
    data = odd_images.encode(odd_images.noise(24, 40), "avif", save_all=True, append_images=[])
    assert first_picture(data) == ((40, 24), 1, 0, False)


def sequence(picture: heif_files.Coded, size_wh: tuple[int, int], *, alpha: bytes = b"") -> bytes:
    """A sequence of one picture that announces a size; `alpha` is the picture of an alpha track."""
    moov = b""
    for _ in range(2):
        at = len(ftyp(b"avis")) + len(moov) + 8
        tracks = heif_files.track(
            size_wh, picture.entry(box(b"irot", b"\3")), [picture.content], at
        )
        if alpha:
            at += len(picture.content)
            tracks = (
                heif_files.track(size_wh, picture.entry(), [alpha], at, auxiliary_of=1) + tracks
            )
        moov = box(b"moov", box(b"mvhd", bytes(100)) + tracks)
    return ftyp(b"avis") + moov + box(b"mdat", picture.content + alpha)


def test_the_track_of_alpha_is_not_the_picture() -> None:
    data = sequence(CODED, (40, 30), alpha=CODED.content)
    assert first_picture(data) == ((40, 30), 6, 0, False)


LIES = {
    "a picture": of_one(LARGE, size_wh=(40, 30)),
    "a picture in pieces": of_one(LARGE, size_wh=(40, 30), pieces=3),
    "a picture beside its boxes": of_one(LARGE, size_wh=(40, 30), is_in_idat=True),
    "a second frame": of_one(
        heif_files.Coded(CODED.content + LARGE.content, (40, 30), CODED.settings)
    ),
    "alpha": file_of([CODED.item(), LARGE.item(ALPHA, size_wh=(40, 30), auxiliary_of=1)]),
    "alpha without a size": file_of(
        [
            CODED.item(),
            Item(b"av01", LARGE.content, [*LARGE.settings, ALPHA], auxiliary_of=1),
        ]
    ),
    "a tile": file_of(
        [
            Item(b"grid", grid(1, 1, 64, 64), [size_property(64, 64)], [2]),
            LARGE.item(size_wh=(64, 64)),
        ]
    ),
    "a picture beside the one that is shown": file_of([CODED.item(), LARGE.item(size_wh=(64, 64))]),
    "the first picture of a sequence": sequence(LARGE, (40, 30)),
    "the alpha of a sequence": sequence(CODED, (40, 30), alpha=LARGE.content),
}


@pytest.mark.parametrize("name", LIES)
def test_frames_larger_than_announced_are_refused(name: str) -> None:
    with pytest.raises(Undecodable, match="frames of 400x240 are larger than the picture"):
        pictures.read(LIES[name])


def test_a_real_file_whose_size_was_changed_is_refused() -> None:
    data = bytearray(odd_images.encode(odd_images.noise(240, 400), "avif"))
    assert decoded_shape(bytes(data)) == (240, 400, 3)
    struct.pack_into(">II", data, data.index(b"ispe") + 8, 20, 12)
    with pytest.raises(Undecodable, match=r"frames of 400x240 .* announces, 20x12"):
        pictures.read(bytes(data))


def test_a_frame_may_fill_its_last_block() -> None:
    """Encoders in hardware write whole blocks."""
    data = of_one(heif_files.av1_picture(128, 128), size_wh=(120, 90))
    assert first_picture(data).spare_pixels == 0
    assert decoded_shape(data) == (90, 120, 3)


def test_tiles_may_reach_beyond_the_picture_and_are_charged() -> None:
    data = of_tiles(2, 3, 180, 100)
    assert first_picture(data) == ((180, 100), 1, 6 * 128 * 128 - 256 * 128, False)
    assert decoded_shape(data) == (100, 180, 3)
    header = pictures.read_header(pictures.EncodedImage(data), max_pixels=10**6)
    plain = of_one(heif_files.av1_picture(100, 180))
    source = pictures.EncodedImage(plain)
    assert (
        pictures.cost_of(pictures.EncodedImage(data), header).peak_bytes
        > pictures.cost_of(source, pictures.read_header(source, max_pixels=10**6)).peak_bytes
        + 31 * header.spare_pixels
        - len(plain) * 2
    )


def test_the_alpha_of_tiles_is_charged_like_them() -> None:
    alpha = Item(
        b"grid", grid(1, 2, 128, 64), [size_property(128, 64), ALPHA], (4, 5), auxiliary_of=1
    )
    data = of_tiles(1, 2, 128, 64, TILE.item(), TILE.item(), alpha)
    with_alpha = file_of(
        [
            Item(b"grid", grid(1, 2, 128, 64), [size_property(128, 64)], (2, 3)),
            TILE.item(),
            TILE.item(),
            TILE.item(),
            TILE.item(),
            alpha,
        ]
    )
    assert first_picture(with_alpha) == first_picture(data) == ((128, 64), 1, 128 * 128, False)
    assert decoded_shape(with_alpha) == (64, 128, 3)


def test_tiles_far_larger_than_the_picture_are_refused() -> None:
    tile = heif_files.av1_picture(2304, 2304, quality=1, speed=10)
    data = file_of([Item(b"grid", grid(1, 1, 64, 64), [size_property(64, 64)], [2]), tile.item()])
    with pytest.raises(Undecodable, match="tiles are far larger than the picture"):
        pictures.read(data)


def test_a_grid_of_another_size_is_refused() -> None:
    whole = Item(b"grid", grid(1, 2, 120, 64), [size_property(20, 10)], (2, 3))
    with pytest.raises(Undecodable, match="grid has another size"):
        pictures.read(file_of([whole, TILE.item(), TILE.item()]))


def test_layers_are_charged_by_their_number() -> None:
    kind, frame = heif_files.units_of(CODED.content)[-1]
    content = CODED.content + heif_files.unit(kind, frame) * 2
    data = of_one(heif_files.Coded(content, (40, 30), CODED.settings))
    assert first_picture(data).spare_pixels == 2 * 128 * 128
    assert decoded_shape(data) == (30, 40, 3)


@pytest.mark.parametrize("choice", [box(b"lsel", b"\0\0"), box(b"a1op", b"\0")])
def test_a_small_layer_may_be_shown_whose_largest_is_charged(choice: bytes) -> None:
    data = of_one(LARGE, choice, size_wh=(100, 60))
    assert first_picture(data).spare_pixels == 512 * 256 - 128 * 128
    far_larger = of_one(heif_files.av1_picture(64, 1100), choice, size_wh=(100, 60))
    with pytest.raises(Undecodable, match="larger than the picture"):
        pictures.read(far_larger)


def test_layers_beyond_all_limits_are_too_many_pixels() -> None:
    data = of_one(LARGE, box(b"lsel", b"\0\0"), size_wh=(100, 60))
    with pytest.raises(TooManyPixels, match=f"the limit is {MAX_FRAMES * 6000}"):
        pictures.read_header(pictures.EncodedImage(data), max_pixels=6000)


def test_samples_of_more_than_8_bits_cost_more() -> None:
    deep = of_one(heif_files.in_12_bits(FULL))
    source = pictures.EncodedImage(deep)
    assert pictures.read_header(source, max_pixels=10**6).coding == "avif-deep"
    assert decoded_shape(deep) == (30, 40, 3)


def test_data_that_a_phone_appended_is_ignored() -> None:
    assert decoded_shape(of_one(CODED) + b"\0\0\0\3SEFT") == (30, 40, 3)


BROKEN = {
    "meta box is missing": ftyp(b"avif"),
    "no primary picture": ftyp(b"avif") + box(b"meta", bytes(4)),
    "has no size": file_of([Item(b"av01", CODED.content, CODED.settings)]),
    "neither coded nor a grid": file_of([Item(b"iden", b"", [size_property(4, 4)], (2,))]),
    "truncated": of_one(CODED)[:-1],
    "no track of pictures": ftyp(b"avis") + box(b"moov", b""),
    "coded pictures, the limit is 400": file_of([CODED.item()] * 401),
}


@pytest.mark.parametrize("message", BROKEN)
def test_broken_boxes_are_refused_by_name(message: str) -> None:
    with pytest.raises(Undecodable, match=message):
        pictures.read(BROKEN[message])


SAMPLES = [
    odd_images.encode(odd_images.noise(24, 40), "avif", exif=odd_images.exif(6)),
    of_tiles(1, 2, 120, 60),
    file_of([CODED.item(), CODED.item(ALPHA, auxiliary_of=1)]),
    odd_images.encode(odd_images.noise(24, 40), "avif", save_all=True, append_images=[]),
]


@given(
    data=st.sampled_from(SAMPLES),
    flips=st.lists(st.tuples(st.integers(0, 900), st.integers(1, 255)), min_size=1, max_size=4),
    kept_bytes=st.integers(0, 1000) | st.just(10**6),
)
@settings(max_examples=600, deadline=None, derandomize=True)
def test_damaged_boxes_give_a_picture_or_a_refusal(
    data: bytes, flips: list[tuple[int, int]], kept_bytes: int
) -> None:
    damaged = bytearray(data)
    for position, bits in flips:
        damaged[position % len(data)] ^= bits
    source = pictures.EncodedImage(bytes(damaged[:kept_bytes]))
    try:
        header = pictures.read_header(source, max_pixels=10**6)
    except PictureError:
        return
    assert 1 <= header.orientation <= 8
    assert header.spare_pixels >= 0
