import struct

import pytest

import heif_files
from distilpose.model.pictures.isobmff.boxes import BoxReader
from distilpose.model.pictures.isobmff.tracks import MAX_CHUNK_RUNS, MAX_SAMPLES, Track, tracks_of
from heif_files import Coded, box

PICTURE = Coded(b"a picture", (40, 30))


def tracks_in(*boxes: bytes) -> list[Track]:
    data = box(b"moov", b"".join(boxes)) + b"a picture, another"
    reader = BoxReader(data)
    [moov, *_] = [next(iter(reader.boxes(0, len(data))))]
    return list(tracks_of(reader, moov, {b"av01"}))


def table(sizes: bytes, runs: bytes, chunks: bytes, *more: bytes) -> bytes:
    boxes = box(b"stsd", struct.pack(">II", 0, 1) + PICTURE.entry())
    boxes += box(b"stsz", sizes) + box(b"stsc", runs) + chunks + b"".join(more)
    media = box(b"mdia", box(b"minf", box(b"stbl", boxes)))
    return box(b"trak", box(b"tkhd", bytes(76) + struct.pack(">II", 40 << 16, 30 << 16)) + media)


SIZES = struct.pack(">III", 0, 9, 2)
RUNS = struct.pack(">IIIII", 0, 1, 1, 2, 1)
CHUNKS = box(b"stco", struct.pack(">III", 0, 1, 5))


def test_the_first_picture_of_a_track_is_found() -> None:
    samples = [b"a picture", b"another"]
    at = len(heif_files.track((40, 30), PICTURE.entry(), samples, 0)) + 8
    [track] = tracks_in(heif_files.track((40, 30), PICTURE.entry(), samples, at))
    assert (track.size_wh, track.is_auxiliary) == ((40, 30), False)
    assert track.first_picture.read(0, 99) == b"a picture"


def test_a_track_of_one_size_for_all_and_of_long_places_is_read() -> None:
    chunks = box(b"co64", struct.pack(">IIQ", 0, 1, 5))
    [track] = tracks_in(table(SIZES, RUNS, chunks))
    assert track.first_picture.size == 9


def test_a_track_of_sound_is_passed_over() -> None:
    sound = PICTURE.entry().replace(b"av01", b"mp4a")
    assert not tracks_in(heif_files.track((0, 0), sound, [b"a"], 0))


@pytest.mark.parametrize(
    ("track", "message"),
    [
        (table(struct.pack(">III", 0, 9, MAX_SAMPLES + 1), RUNS, CHUNKS), "50001 pictures"),
        (table(SIZES, struct.pack(">IIIII", 0, 1, 1, 10**6, 1), CHUNKS), "1000000 pictures"),
        (
            table(SIZES, struct.pack(">II", 0, MAX_CHUNK_RUNS + 1), CHUNKS),
            f"{MAX_CHUNK_RUNS + 1} runs of chunks, the limit is {MAX_CHUNK_RUNS}",
        ),
        (
            table(SIZES, struct.pack(">II6I", 0, 2, 5, 1, 1, 3, 1, 1), CHUNKS),
            "runs of chunks are out of order",
        ),
        (table(SIZES, RUNS, box(b"stco", struct.pack(">II", 0, MAX_SAMPLES + 1))), "50001 chunks"),
        (table(SIZES, RUNS, b""), "runs of chunks are out of order"),
        (table(SIZES, RUNS, CHUNKS, CHUNKS), "has a list twice"),
        (table(struct.pack(">III", 0, 2**31, 1), RUNS, CHUNKS), "truncated"),
    ],
)
def test_lists_that_are_broken_or_too_long_are_refused(track: bytes, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        tracks_in(track)
