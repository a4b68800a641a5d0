import io

import av
import numpy as np
import pytest

import heif_files
from distilpose.model.pictures.isobmff import av1
from distilpose.model.pictures.isobmff.av1 import FrameReader, frame_size_wh, sequence_header
from distilpose.model.pictures.isobmff.pieces import Pieces
from heif_files import unit, units_of

CODED = heif_files.av1_picture(48, 80)
FULL = heif_files.av1_picture(48, 80, subsampling="4:4:4")
SEQUENCE, FRAME = (payload for kind, payload in units_of(CODED.content) if kind in {1, 6})


def sizes_wh(content: bytes) -> list[tuple[int, int]]:
    return FrameReader().sizes_wh(Pieces(content, [(0, len(content))]))


def film(frames: int, **options: str) -> list[bytes]:
    """The samples of a film that an encoder of AV1 made, with frames that are hidden at first."""
    with av.open(io.BytesIO(), "w", "ivf") as container:
        stream = container.add_stream("libsvtav1", rate=30, options={"preset": "12", **options})
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        noise = np.random.default_rng(0).integers(0, 256, (64, 96, 3), np.uint8)
        packets = [
            bytes(packet)
            for shift in range(frames)
            for packet in stream.encode(av.VideoFrame.from_ndarray(np.roll(noise, shift, 1)))
        ]
        return packets + [bytes(packet) for packet in stream.encode()]


def test_a_picture_has_one_frame_of_its_size() -> None:
    assert sizes_wh(CODED.content) == [(80, 48)]
    assert not sequence_header(SEQUENCE).is_deep


def test_samples_of_more_than_8_bits_are_noticed() -> None:
    reader, content = FrameReader(), heif_files.in_12_bits(FULL).content
    assert not reader.has_deep_samples
    assert reader.sizes_wh(Pieces(content, [(0, len(content))])) == [(80, 48)]
    assert reader.has_deep_samples


def test_every_frame_of_a_film_has_its_size() -> None:
    samples = film(20)
    header = next(sequence_header(payload) for kind, payload in units_of(samples[0]) if kind == 1)
    assert header.size_wh == (96, 64)
    assert not header.is_reduced
    frames = [payload for sample in samples for kind, payload in units_of(sample) if kind in {3, 6}]
    assert len(frames) > 20
    assert {frame_size_wh(payload, header, 0) for payload in frames} == {(96, 64)}


def test_a_frame_that_states_its_own_size_is_measured_by_it() -> None:
    header = av1.SequenceHeader(is_reduced=False, size_wh=(200, 100), size_bits_wh=(8, 8))
    # Shown key frame; no change of symbols' odds, screen content or ids; a size of its own.
    states_its_size = "0" + "00" + "1" + "0" + "0" + "1"
    for width, height in ((200, 100), (16, 8)):
        bits = states_its_size + f"{width - 1:08b}{height - 1:08b}"
        payload = int(bits.ljust(64, "0"), 2).to_bytes(8, "big")
        assert frame_size_wh(payload, header, 0) == (width, height)
    bits = states_its_size + f"{200:08b}{0:08b}"
    with pytest.raises(ValueError, match="larger than all frames may be"):
        frame_size_wh(int(bits.ljust(64, "0"), 2).to_bytes(8, "big"), header, 0)


def test_a_later_sequence_header_counts_for_the_frames_after_it() -> None:
    other = heif_files.av1_picture(16, 24)
    assert sizes_wh(CODED.content + other.content) == [(80, 48), (24, 16)]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "no frame"),
        (unit(1, SEQUENCE), "no frame"),
        (unit(6, FRAME), "before its sequence header"),
        (CODED.content[:-1], "truncated"),
        (unit(1, SEQUENCE) + unit(6, FRAME) * (av1.MAX_FRAMES + 1), "more than 4 frames"),
        (unit(1, SEQUENCE) + unit(15, b"") * 5000, f"more than {av1.MAX_UNITS} units"),
        (
            b"".join(unit(1, SEQUENCE + bytes([number])) for number in range(50)),
            f"more than {av1.MAX_SEQUENCE_HEADERS} sequence headers",
        ),
    ],
)
def test_what_is_no_picture_of_frames_is_refused(content: bytes, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        sizes_wh(content)
