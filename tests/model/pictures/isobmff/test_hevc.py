import struct

import numpy as np
import pytest

import heif_files
from distilpose.model.pictures.isobmff import hevc
from distilpose.model.pictures.isobmff.hevc import FrameReader
from distilpose.model.pictures.isobmff.pieces import Pieces

CODED = heif_files.hevc_picture(48, 80)
CONFIGURATION = CODED.settings[0][8:]
OTHER = heif_files.hevc_picture(64, 128)
PARAMETER_SET, PICTURE = 33, 19


def sizes_wh(content: bytes, configuration: bytes = CONFIGURATION) -> list[tuple[int, int]]:
    return FrameReader().sizes_wh(Pieces(content, [(0, len(content))]), configuration)


def unit(kind: int, payload: bytes, layer: int = 0) -> bytes:
    head = struct.pack(">H", kind << 9 | layer << 3 | 1)
    return struct.pack(">I", len(payload) + 2) + head + payload


def parameter_sets(configuration: bytes) -> list[bytes]:
    """The whole units, as the box lists them."""
    found, at = [], 23
    for _ in range(configuration[22]):
        kind, count = configuration[at] & 63, int.from_bytes(configuration[at + 1 : at + 3], "big")
        at += 3
        for _ in range(count):
            size = int.from_bytes(configuration[at : at + 2], "big")
            found += [configuration[at + 2 : at + 2 + size]] if kind == PARAMETER_SET else []
            at += 2 + size
    return found


def test_a_picture_has_one_frame_of_its_size() -> None:
    assert sizes_wh(CODED.content) == [(80, 48)]


@pytest.mark.parametrize(
    ("samples", "is_deep"),
    [("yuv420p", False), ("gray", False), ("yuv420p10le", True), ("yuv444p12le", True)],
)
def test_samples_of_more_than_8_bits_are_noticed(samples: str, is_deep: bool) -> None:
    picture = np.zeros((48, 80, 3), np.uint8)
    coded = heif_files.hevc_picture_of(
        picture[..., 0] if samples == "gray" else picture, samples, 20
    )
    reader = FrameReader()
    pieces = Pieces(coded.content, [(0, len(coded.content))])
    assert reader.sizes_wh(pieces, coded.settings[0][8:]) == [(80, 48)]
    assert reader.has_deep_samples == is_deep


def test_a_parameter_set_within_the_picture_counts() -> None:
    [larger] = parameter_sets(OTHER.settings[0][8:])
    content = unit(PARAMETER_SET, larger[2:]) + CODED.content
    assert sizes_wh(content) == [(128, 64)]


def test_every_first_slice_is_a_frame_and_other_slices_and_layers_are_none() -> None:
    first, later = unit(PICTURE, b"\x80abc"), unit(PICTURE, b"\0abc")
    assert sizes_wh(first + later * 3 + unit(PICTURE, b"\x80", layer=1)) == [(80, 48)]
    assert len(sizes_wh(first * 3)) == 3


@pytest.mark.parametrize(
    ("content", "configuration", "message"),
    [
        (b"", CONFIGURATION, "no frame"),
        (unit(39, b"a message"), CONFIGURATION, "no frame"),
        (CODED.content, CONFIGURATION[:22] + b"\0", "no frame"),
        (CODED.content[:-1], CONFIGURATION, "truncated"),
        (CODED.content, CONFIGURATION[:20], "missing or truncated"),
        (CODED.content, CONFIGURATION[:-1], "truncated"),
        (unit(PICTURE, b"\x80") * 5, CONFIGURATION, "more than 4 frames"),
        (unit(39, b"") * 2000, CONFIGURATION, f"more than {hevc.MAX_UNITS} units"),
        (
            unit(PARAMETER_SET, parameter_sets(CONFIGURATION)[0][2:]) * 20,
            CONFIGURATION,
            f"more than {hevc.MAX_PARAMETER_SETS} parameter sets",
        ),
    ],
)
def test_what_is_no_picture_of_frames_is_refused(
    content: bytes, configuration: bytes, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        sizes_wh(content, configuration)
