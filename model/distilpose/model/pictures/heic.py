"""Decode HEIF with pi-heif (libheif and libde265), which not every platform has.

Importing pi-heif registers nothing with Pillow.
"""

import importlib.util
from collections.abc import Callable
from typing import Final

from PIL import Image

from distilpose.model.errors import NotAccepted

IS_THERE: Final = importlib.util.find_spec("pi_heif") is not None


def check_is_there() -> None:
    """Check that HEIF can be decoded here.

    Raises:
        NotAccepted: pi-heif is not installed.

    """
    if not IS_THERE:
        raise NotAccepted("this server was built without HEIC")


def decoded(data: bytes, check_size: Callable[[tuple[int, int]], None]) -> Image.Image:
    """The picture that is shown, cropped and turned; samples of more than 8 bits only if grey.

    `check_size` is called with its width and height before it is decoded, and afterwards.

    Raises:
        ValueError, OSError, SyntaxError, EOFError: it is damaged.

    """
    import pi_heif  # noqa: PLC0415 - a server that was built without it starts, too

    # One thread for each decoding; other pictures of the file are of no use.
    options = pi_heif.options
    options.DECODE_THREADS = 1
    options.THUMBNAILS = options.DEPTH_IMAGES = options.AUX_IMAGES = False
    try:
        file = pi_heif.open_heif(data, convert_hdr_to_8bit=True)
        picture = file[file.primary_index]
        check_size(picture.size)
        samples = picture.data
    except RuntimeError as err:
        # Said of impossible sizes, too; that there is memory was seen to before.
        raise ValueError(str(err).removeprefix("Memory allocation error: ")) from err
    check_size(picture.size)
    mode, stride = picture.mode, picture.stride
    # A copy: the samples lie in the memory of the file, which is freed with it.
    return Image.frombytes(mode, picture.size, samples, "raw", mode, stride)
