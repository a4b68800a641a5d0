"""The student behind mosec: `python tests/bench/peers/mosec_server.py --port PORT`.

Two stages, as its documentation advises if preprocessing and inference both take time: photos are
decoded in separate processes, and one process with all CPUs computes in batches.
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

sys.path[:0] = [str(Path(__file__).parents[2] / folder) for folder in ("", "support")]

from mosec import Server, Worker  # type: ignore[import-not-found]  # a peer's, not our dependency

from bench.plain import Photo, Poser, read_photo

DECODERS = 2
MAX_BATCH = 8
MAX_WAIT_MS = 5


class Decode(Worker):  # type: ignore[misc]  # its types are not installed
    """Decodes JSON to pixels."""

    def forward(self, data: Any) -> Photo:
        """The photo of a body."""
        return read_photo(data)


class Estimate(Worker):  # type: ignore[misc]  # its types are not installed
    """Converts pixels to the answer."""

    def __init__(self) -> None:
        super().__init__()
        self.poser = Poser()

    def forward(self, data: Sequence[Photo]) -> list[bytes]:
        """Find the answer for each photo."""
        photos = [Photo(*fields) for fields in data]
        return [
            self.poser.answer(photo, poses)
            for photo, poses in zip(photos, self.poser.poses(photos), strict=True)
        ]

    def serialize(self, data: bytes) -> bytes:
        """Return the answer unchanged, since it is already JSON."""
        return data


def main() -> None:
    """Serve; mosec reads the command line itself."""
    server = Server()
    server.append_worker(Decode, num=DECODERS, route="/v1/pose")
    server.append_worker(
        Estimate, max_batch_size=MAX_BATCH, max_wait_time=MAX_WAIT_MS, route="/v1/pose"
    )
    server.run()


if __name__ == "__main__":
    main()
