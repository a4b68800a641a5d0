"""Words that metrics, logs, timings and the batchers share. Each is its own label value."""

from enum import StrEnum


class Stage(StrEnum):
    """A step on an image's way."""

    DECODE = "decode"
    DETECT = "detect"
    POSE = "pose"


class Fault(StrEnum):
    """Why work failed on the device."""

    FAULT = "fault"
    """By itself."""
    NAN = "nan"
    """It produced NaN or infinity."""
    OOM = "oom"
    """For want of memory."""
    LOST = "lost"
    """The device does not compute any more."""


class DropReason(StrEnum):
    """Why an accepted item was not computed."""

    DEADLINE = "deadline"
    CANCELLED = "cancelled"
    OVERLOADED = "overloaded"
    DRAINING = "draining"
    FAILED = "failed"
    REPLACED = "replaced"
    """By a newer frame of its stream, before it was decoded."""
