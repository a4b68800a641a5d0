"""The client in an environment with only its four packages and their dependencies."""

import subprocess
import sys
import venv
from importlib.metadata import Distribution, distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from ports import free_port
from stub_grpc_service import StubGrpcService

ROOT = Path(__file__).parents[2]
PACKAGES = ("grpcio-status", "httpx", "numpy", "pillow")
PROGRAM = """
import sys
from importlib.util import find_spec
from distilpose.client import Client, Unavailable
from distilpose.client.adapters import coco_results

assert not [name for name in ("torch", "cv2", "fastapi", "ultralytics") if find_spec(name)]
with Client(sys.argv[1]) as client:
    answer = client.estimate(b"x")
    print(len(list(client.stream([b"a", b"b"]))), coco_results([(1, answer)])[0]["bbox"])
with Client(sys.argv[2]) as client:
    try:
        client.estimate(b"x")
    except Unavailable as err:
        print(err.type)
"""


def with_what_they_bring(names: tuple[str, ...]) -> list[Distribution]:
    found: dict[str, Distribution] = {}
    open_names = list(names)
    while open_names:
        name = open_names.pop()
        if name not in found:
            found[name] = distribution(name)
            needs = map(Requirement, found[name].requires or [])
            open_names += [
                r.name for r in needs if not r.marker or r.marker.evaluate({"extra": ""})
            ]
    return list(found.values())


def link(package: Distribution, site: Path) -> None:
    for file in package.files or []:
        if ".." not in file.parts and "__pycache__" not in file.parts:
            target = site / file
            target.parent.mkdir(parents=True, exist_ok=True)
            if not target.exists():
                target.symlink_to(str(package.locate_file(file)))


@pytest.mark.slow
def test_the_client_needs_its_four_packages_alone(tmp_path: Path) -> None:
    venv.create(tmp_path, symlinks=True)
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    site = tmp_path / "lib" / version / "site-packages"
    for package in with_what_they_bring(PACKAGES):
        link(package, site)
    roots = "\n".join(str(ROOT / root) for root in ("service", "model", "proto"))
    (site / "distilpose.pth").write_text(roots)
    python = tmp_path / "bin" / "python"
    with StubGrpcService() as service:
        addresses = service.address, f"http://127.0.0.1:{free_port()}"
        output = subprocess.check_output([python, "-I", "-c", PROGRAM, *addresses], text=True)
    assert output.splitlines() == ["2 [1.0, 2.0, 30.0, 50.0]", "unavailable"]
