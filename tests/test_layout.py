"""The house rules that no linter knows."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCE_ROOTS = ("service", "model", "proto")
SOURCES = [
    path
    for root in SOURCE_ROOTS
    for path in sorted((ROOT / root).rglob("*.py"))
    if "_pb2" not in path.name
]


@pytest.mark.parametrize("root", SOURCE_ROOTS)
def test_no_source_root_claims_the_namespace(root: str) -> None:
    # An __init__.py there would hide the other two roots' packages.
    assert not (ROOT / root / "distilpose" / "__init__.py").exists()


@pytest.mark.parametrize("root", SOURCE_ROOTS)
def test_only_the_package_lies_in_a_source_root(root: str) -> None:
    # Anything else would become importable by its bare name.
    entries = {p.name for p in (ROOT / root).iterdir() if p.name != "__pycache__"}
    assert entries <= {"distilpose", "README.md"}


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(ROOT)))
def test_files_stay_under_300_lines(path: Path) -> None:
    assert len(path.read_text("utf-8").splitlines()) <= 300


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(ROOT)))
def test_b5_middleware_is_pure_asgi(path: Path) -> None:
    # Starlette's BaseHTTPMiddleware hides a caller's disconnect from the handlers.
    names = {
        getattr(node, field)
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        for field in ("id", "attr", "name")
        if isinstance(getattr(node, field, None), str)
    }
    assert not names & {"BaseHTTPMiddleware", "middleware"}


def test_every_slice_is_typed() -> None:
    for package in (
        "service/distilpose/service",
        "service/distilpose/client",
        "service/distilpose/cli",
        "model/distilpose/model",
        "proto/distilpose/v1",
    ):
        assert (ROOT / package / "py.typed").exists(), package


def test_tests_mirror_the_tree() -> None:
    modules = {path.stem for path in SOURCES}
    for side in ("model", "service"):
        for path in (ROOT / "tests" / side).rglob("test_*.py"):
            name = path.stem.removeprefix("test_")
            known = any(name == module or name.startswith(f"{module}_") for module in modules)
            assert known or name == "networks", f"{path.relative_to(ROOT)} mirrors no module"
