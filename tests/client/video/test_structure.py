"""Flaws that a clip's own sizes and sums show."""

from pathlib import Path

import pytest

from clips import KINDS, make_clip
from distilpose.client.video.structure import flaw_of

SAID = ["mp4", "mov", "3gp", "avi", "mkv", "webm", "flv", "ogv"]
"""Containers that say how long they are."""


@pytest.mark.parametrize("suffix", KINDS)
def test_a_whole_clip_has_no_flaw(tmp_path: Path, suffix: str) -> None:
    assert flaw_of(make_clip(tmp_path / f"clip.{suffix}")) is None


@pytest.mark.parametrize("options", [{"live": "1"}, {"cluster_size_limit": "300"}])
def test_a_matroska_of_many_or_endless_clusters_has_no_flaw(
    tmp_path: Path, options: dict[str, str]
) -> None:
    path = make_clip(tmp_path / "clip.mkv", options=options, sound="flac", codec="ffv1")
    assert flaw_of(path) is None


@pytest.mark.parametrize("flags", ["faststart", "frag_keyframe+empty_moov", "dash"])
def test_an_mp4_in_another_order_or_in_fragments_has_no_flaw(tmp_path: Path, flags: str) -> None:
    assert flaw_of(make_clip(tmp_path / "clip.mp4", options={"movflags": flags})) is None


@pytest.mark.parametrize("suffix", SAID)
@pytest.mark.parametrize("share", [0.5, 0.9])
def test_a_clip_that_is_cut_off_says_so(tmp_path: Path, suffix: str, share: float) -> None:
    options = {"movflags": "faststart"} if suffix in {"mp4", "mov", "3gp"} else {}
    path = make_clip(tmp_path / f"clip.{suffix}", options=options)
    content = path.read_bytes()
    path.write_bytes(content[: round(share * len(content))])
    assert flaw_of(path) == "the file ends before what its headers name"


def test_a_transport_stream_that_ends_within_a_packet_says_so(tmp_path: Path) -> None:
    path = make_clip(tmp_path / "clip.ts")
    path.write_bytes(path.read_bytes()[:-50])
    assert flaw_of(path) == "the file ends within a packet"


@pytest.mark.parametrize("suffix", ["mkv", "webm", "flv", "ogv"])
def test_bytes_that_are_dropped_in_the_middle_are_noticed(tmp_path: Path, suffix: str) -> None:
    path = make_clip(tmp_path / f"clip.{suffix}")
    content = path.read_bytes()
    middle = len(content) // 2
    path.write_bytes(content[:middle] + content[middle + 7 :])
    assert flaw_of(path) is not None


def test_a_changed_byte_of_an_ogg_is_noticed(tmp_path: Path) -> None:
    path = make_clip(tmp_path / "clip.ogv")
    content = bytearray(path.read_bytes())
    content[-20] ^= 1
    path.write_bytes(content)
    assert "its structure is damaged at byte" in str(flaw_of(path))


@pytest.mark.parametrize("suffix", ["mp4", "avi", "mkv"])
def test_what_others_append_is_no_flaw(tmp_path: Path, suffix: str) -> None:
    path = make_clip(tmp_path / f"clip.{suffix}")
    path.write_bytes(path.read_bytes() + b"\0" * 40 + b"an index of another program")
    assert flaw_of(path) is None


@pytest.mark.parametrize(
    "content", [b"", b"RIFF", b"\x1aE\xdf\xa3", b"OggS", b"FLV", b"words " * 9]
)
def test_a_file_that_is_no_clip_is_none_of_our_business(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "clip"
    path.write_bytes(content)
    assert flaw_of(path) in {None, "the file ends before what its headers name"}


def test_a_recorder_that_did_not_know_its_size_has_no_flaw(tmp_path: Path) -> None:
    path = make_clip(tmp_path / "clip.avi")
    content = bytearray(path.read_bytes())
    for unknown in (b"\0\0\0\0", b"\xff\xff\xff\xff"):
        content[4:8] = unknown
        path.write_bytes(content)
        assert flaw_of(path) is None
