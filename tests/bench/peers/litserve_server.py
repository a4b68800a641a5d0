"""The student behind LitServe: `python tests/bench/peers/litserve_server.py PORT`.

One worker with all CPUs, batching on, as its documentation advises for a model that uses the whole
machine.
"""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

sys.path[:0] = [str(Path(__file__).parents[2] / folder) for folder in ("", "support")]

import litserve  # type: ignore[import-not-found]  # a peer's, not our dependency
from fastapi import Request, Response

from bench.plain import Photo, Poser, read_photo
from distilpose.model.poses.pose import Pose

MAX_BATCH = 8
BATCH_TIMEOUT_SECONDS = 0.005


class PoseApi(litserve.LitAPI):  # type: ignore[misc]  # its types are not installed
    """Photos in, poses out."""

    def setup(self, device: str) -> None:
        """Load the models in the worker's process."""
        self.poser = Poser()

    def decode_request(self, request: Request) -> Photo:
        """Convert a JSON body, as LitServe passes a `Request`, to pixels."""
        return read_photo(cast("Mapping[str, Any]", request))

    def batch(self, inputs: Sequence[Photo]) -> Sequence[Photo]:
        """Keep the photos separate, since they differ in size."""
        return inputs

    def predict(self, photos: Sequence[Photo]) -> list[tuple[Photo, list[Pose]]]:
        """Find the people in each photo."""
        return list(zip(photos, self.poser.poses(photos), strict=True))

    def unbatch(self, output: list[tuple[Photo, list[Pose]]]) -> list[tuple[Photo, list[Pose]]]:
        """Split into one answer per photo."""
        return output

    def encode_response(self, output: tuple[Photo, list[Pose]]) -> Response:
        """Encode as JSON here: LitServe's own conversion from a dict is slower."""
        return Response(self.poser.answer(*output), media_type="application/json")


def main() -> None:
    """Serve on the port named by the command line."""
    api = PoseApi(
        max_batch_size=MAX_BATCH, batch_timeout=BATCH_TIMEOUT_SECONDS, api_path="/v1/pose"
    )
    server = litserve.LitServer(api, accelerator="cpu", workers_per_device=1, timeout=False)
    server.run(
        host="127.0.0.1", port=int(sys.argv[1]), log_level="warning", generate_client_file=False
    )


if __name__ == "__main__":
    main()
