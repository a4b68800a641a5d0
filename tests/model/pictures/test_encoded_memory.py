"""Too little memory is never the picture's fault."""

import os
import subprocess
import sys
from functools import cache

import pytest

import little_memory
from distilpose.model import pictures
from distilpose.model.errors import Undecodable
from distilpose.model.pictures.source import EncodedImage


@cache
def outcomes() -> dict[str, list[str]]:
    """The outcomes of a picture of each kind, with ever more memory."""
    done = subprocess.run(
        [sys.executable, little_memory.__file__],
        # Freed memory goes back at once; otherwise the next picture would use it again.
        env=os.environ | {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_ARENA_MAX": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    said: dict[str, list[str]] = {}
    for line in done.stdout.splitlines():
        kind, _, outcome = line.split("\t")
        said.setdefault(kind, []).append(outcome)
    return said


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux limits a process's address space")
@pytest.mark.parametrize("kind", little_memory.KINDS)
def test_a_sound_picture_is_decoded_or_memory_is_short(kind: str) -> None:
    said = outcomes()[kind]
    assert len(said) == len(little_memory.FREE_MIB)
    assert set(said) == {"MemoryError", "decoded"}


@pytest.mark.parametrize("kind", little_memory.KINDS)
def test_a_broken_picture_is_still_to_blame_where_memory_is_not_short(kind: str) -> None:
    source = EncodedImage(little_memory.encoded(kind)[:3000])
    with pytest.raises(Undecodable):
        pictures.decode(source, pictures.read_header(source, max_pixels=50_000_000))


def test_a_broken_header_is_to_blame_whatever_the_limit_of_pixels() -> None:
    with pytest.raises(Undecodable):
        pictures.read_header(EncodedImage(b"\x89PNG\r\n\x1a\n"), max_pixels=10**18)
