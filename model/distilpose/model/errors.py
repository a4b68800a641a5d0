"""The errors of files, options, pictures and devices; knows no status codes.

Messages are written for the person who chose the file or the option:

    ModelError
    ├── WeightsError       a weights file: missing, unreadable, or of another network
    ├── ConfigError        an unknown network or an option out of range
    ├── DataError          a data set folder that cannot be read or evaluated
    ├── PictureError       a picture that cannot be read
    │   ├── Undecodable    truncated, corrupt, not a picture
    │   ├── NotAccepted    the format is known but not accepted
    │   ├── TooManyPixels  more pixels than the limit
    │   └── BadRawFrame    the numbers of a raw frame do not add up
    ├── ArrayError         an array of the wrong shape or type where data comes in from outside
    ├── NotFinite          a network answered with NaN or infinity
    ├── OutOfDeviceMemory  a batch does not fit the device's memory
    └── DeviceFault        the device no longer computes
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pydantic import ValidationError


def one_line(
    err: "ValidationError",
    *,
    most: int | None = None,
    shown: Callable[[str], str] = str,
    below: str = "",
) -> str:
    """The invalid fields, at most the first `most`, each with the reason but not the input.

    `shown` prepares each part of a field's place, which may be a name from outside, for display.
    `below` is the place of what was validated, which precedes the fields' own.
    """
    lines = []
    for each in err.errors(include_url=False, include_input=False)[:most]:
        names = [shown(str(part)) for part in each["loc"]]
        place = ".".join([below, *names] if below else names)
        lines.append(f"{place}: {each['msg']}" if place else each["msg"])
    return "; ".join(lines)


class ModelError(Exception):
    """Base of all errors that the model package raises on purpose."""


class WeightsError(ModelError):
    """A weights file that is missing, unreadable, of another network, or not the expected one."""


class ConfigError(ModelError):
    """An unknown network or an option out of range."""


class DataError(ModelError):
    """A data set folder that cannot be read or evaluated."""


class PictureError(ModelError):
    """A picture that cannot be read."""


class Undecodable(PictureError):
    """The bytes are truncated, corrupt, or not a picture."""


class NotAccepted(PictureError):
    """The format is known but not accepted."""


class TooManyPixels(PictureError):
    """The picture has more pixels than the limit named in the message."""


class BadRawFrame(PictureError):
    """The numbers that describe a raw frame do not add up."""


class ArrayError(ModelError):
    """An array of the wrong shape or type where data comes in from outside."""


class NotFinite(ModelError):
    """A network answered an input with NaN or infinity."""


class OutOfDeviceMemory(ModelError):
    """A batch does not fit into the free memory of the device; a smaller one may."""


class DeviceFault(ModelError):
    """The device has failed and will not compute again in this process."""
