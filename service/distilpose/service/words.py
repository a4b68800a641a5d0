"""Terms that metrics, logs, timings and the batchers share. Each is its own label value."""

from enum import StrEnum


class Stage(StrEnum):
    """A step of an image's journey."""

    DECODE = "decode"
    DETECT = "detect"
    POSE = "pose"


class Pool(StrEnum):
    """A kind of threads; both networks share the device's one."""

    DECODE = "decode"
    CUT = "cut"
    DRAW = "draw"
    DEVICE = "device"


class MemoryPart(StrEnum):
    """The purposes for which requests hold memory."""

    CONNECTIONS = "connections"
    BODIES = "bodies"
    STREAMS = "streams"
    """The next message of each stream, and frames that are not answered yet."""
    IMAGES = "images"
    """Decoders, pixels, crops and drawings."""
    ANSWERS = "answers"
    HOLES = "holes"
    """Freed memory that the heap has not given back yet, beyond what is left for it."""


class Blame(StrEnum):
    """The side to blame for the end of a request."""

    NONE = "none"
    """It was answered."""
    CALLER = "caller"
    """The caller made a mistake, left, sent only a part, or allowed less time than we do."""
    REFUSED = "refused"
    """There was no room, or the service was starting or draining; another try may succeed."""
    SERVICE = "service"
    """Anything else."""


class Fault(StrEnum):
    """The kinds of failure on the device."""

    FAULT = "fault"
    """The work failed by itself."""
    NAN = "nan"
    """The work produced NaN or infinity."""
    OOM = "oom"
    """The device ran out of memory."""
    LOST = "lost"
    """The device no longer computes."""


class DropReason(StrEnum):
    """The reasons why an accepted item was not computed."""

    DEADLINE = "deadline"
    CANCELLED = "cancelled"
    OVERLOADED = "overloaded"
    DRAINING = "draining"
    FAILED = "failed"
    REPLACED = "replaced"
    """A newer frame of the stream replaced it before it was decoded."""


class RefusalReason(StrEnum):
    """The limits for which a call is refused as overload."""

    QUEUE = "queue"
    """A queue had no room."""
    MEMORY = "memory"
    """The memory of all requests had no room."""
    SHARE = "share"
    """The caller has had more than its share while others were refused."""
    STREAMS = "streams"
    STREAMS_PER_CALLER = "streams_per_caller"
    CALLS = "calls"


class ClosingReason(StrEnum):
    """The reasons for which the service closes an HTTP connection on its own account."""

    LIMIT = "limit"
    """As many as allowed are open."""
    DESCRIPTORS = "descriptors"
    """The process has no file descriptor left."""
    HANDSHAKE = "handshake"
    """The TLS handshake failed, or did not end in time."""
    HEAD_TIMEOUT = "head_timeout"
    HEAD_SIZE = "head_size"
    PIPELINE = "pipeline"
    """Too many requests were sent before the first was answered."""
    IDLE = "idle"
