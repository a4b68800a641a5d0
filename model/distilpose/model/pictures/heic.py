"""Decode HEIF with pi-heif (libheif and libde265), which not every platform has.

Importing pi-heif registers nothing with Pillow.
"""

import importlib.util
from typing import Any, Final

from distilpose.model.errors import NotAccepted

IS_THERE: Final = importlib.util.find_spec("pi_heif") is not None


def check_is_there() -> None:
    """Check that HEIF can be decoded here.

    Raises:
        NotAccepted: pi-heif is not installed.

    """
    if not IS_THERE:
        raise NotAccepted("this server was built without HEIC")


def opened(data: bytes) -> Any:
    """The picture that is shown, cropped and turned, with 8 bits a sample; not decoded yet.

    Raises:
        ValueError, RuntimeError, OSError, SyntaxError, EOFError: it is damaged.

    """
    import pi_heif  # noqa: PLC0415 - a server that was built without it starts, too

    # One thread for each decoding; other pictures of the file are of no use.
    options = pi_heif.options
    options.DECODE_THREADS = 1
    options.THUMBNAILS = options.DEPTH_IMAGES = options.AUX_IMAGES = False
    file = pi_heif.open_heif(data, convert_hdr_to_8bit=True)
    return file[file.primary_index]
