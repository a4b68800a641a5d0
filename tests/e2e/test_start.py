"""The first start and the next: what a server keeps, and what it need not import then."""

from pathlib import Path

import numpy as np
import pytest

from photos import photo
from servers import Server, StartServer

TORCH = "libtorch_cpu.so"


def keypoints_px(server: Server) -> np.ndarray:
    """The keypoints of the people of bus.jpg."""
    with server.client() as client:
        answer = client.post(
            "/v1/pose", content=photo("bus.jpg"), headers={"content-type": "image/jpeg"}
        )
    [image] = answer.raise_for_status().json()["images"]
    points = [pose["keypoints"] for pose in image["poses"]]
    return np.array([[(point["x"], point["y"]) for point in pose] for pose in points])


def libraries(server: Server) -> set[str]:
    """The names of the shared libraries that a server has loaded."""
    lines = Path(f"/proc/{server.process.pid}/maps").read_text().splitlines()
    return {Path(line.split(maxsplit=5)[5]).name for line in lines if "/" in line}


@pytest.mark.parametrize("dtype", ["float32", "auto"])
def test_the_second_start_takes_compiled_networks_and_no_torch(
    start_server: StartServer, tmp_path: Path, dtype: str
) -> None:
    cache = tmp_path / "cache"
    settings = {"MODEL__CACHE": str(cache), "MODEL__ENGINE": "openvino", "MODEL__DTYPE": dtype}
    first = start_server(**settings)
    assert TORCH in libraries(first)
    expected = keypoints_px(first)
    kept = sorted(cache.iterdir())
    first.stop()

    second = start_server(**settings)
    assert TORCH not in libraries(second)
    np.testing.assert_array_equal(keypoints_px(second), expected)
    assert TORCH not in libraries(second)
    assert sorted(cache.iterdir()) == kept
    second.stop()


def test_where_nothing_can_be_kept_a_server_starts_and_says_so_once(
    start_server: StartServer, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    server = start_server(MODEL__CACHE=str(tmp_path / "file" / "cache"), MODEL__ENGINE="openvino")
    assert "Not a directory" in server.log_line("nothing is kept for the next start")
    assert len(keypoints_px(server)) == 4
    server.stop()


def test_a_cache_that_is_turned_off_keeps_nothing(
    start_server: StartServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "user"))
    server = start_server(MODEL__CACHE="off", MODEL__ENGINE="openvino")
    assert len(keypoints_px(server)) == 4
    assert not (tmp_path / "user" / "distilpose").exists()
    server.stop()
