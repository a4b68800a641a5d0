"""The house rules that no linter covers."""

import ast
import re
from collections import Counter
from pathlib import Path

import pytest

from prose import NOUN_CLAUSE, docstrings

ROOT = Path(__file__).parents[1]
SOURCE_ROOTS = ("service", "model", "proto")
SOURCES = [
    path
    for root in SOURCE_ROOTS
    for path in sorted((ROOT / root).rglob("*.py"))
    if "_pb2" not in path.name
]
FOLDERS = sorted({path.parent for path in SOURCES if "proto" not in path.parts})
HOMES = {"model": "model/distilpose", "service": "service/distilpose", "cli": "service/distilpose"}
"""The source folders of the modules that each folder of tests covers."""
TESTS = [path for side in HOMES for path in sorted((ROOT / "tests" / side).rglob("test_*.py"))]
DOCUMENTED = [
    path
    for root in (*SOURCE_ROOTS, "helm", "tools", "tests", "docs", "findings")
    for path in sorted((ROOT / root).rglob("*.py"))
    if "_pb2" not in path.name
]
ALL_TESTS = sorted((ROOT / "tests").rglob("test_*.py"))


def modules_of(folder: Path) -> list[str]:
    """The names of the modules directly in a folder."""
    return [path.stem for path in folder.glob("*.py") if not path.stem.startswith("__")]


@pytest.mark.parametrize("root", SOURCE_ROOTS)
def test_no_source_root_claims_the_namespace(root: str) -> None:
    # An __init__.py there would hide the other two roots' packages.
    assert not (ROOT / root / "distilpose" / "__init__.py").exists()


@pytest.mark.parametrize("root", SOURCE_ROOTS)
def test_only_the_package_lies_in_a_source_root(root: str) -> None:
    # Anything else would become importable by its bare name.
    entries = {p.name for p in (ROOT / root).iterdir() if p.name != "__pycache__"}
    assert entries <= {"distilpose", "README.md"}


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda p: str(p.relative_to(ROOT)))
def test_a_folder_can_be_taken_in_at_a_glance(folder: Path) -> None:
    assert len(modules_of(folder)) <= 18


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda p: str(p.relative_to(ROOT)))
def test_no_two_modules_share_a_prefix(folder: Path) -> None:
    # They would be a subject, and a subject is a folder.
    prefixes = Counter(name.partition("_")[0] for name in modules_of(folder) if "_" in name)
    assert not [prefix for prefix, count in prefixes.items() if count > 1]


@pytest.mark.parametrize("path", ALL_TESTS, ids=lambda p: str(p.relative_to(ROOT)))
def test_the_names_of_tests_carry_no_codes(path: Path) -> None:
    # `test_b7_...` means something only to those who have the list of codes at hand.
    names = (getattr(node, "name", "") for node in ast.walk(ast.parse(path.read_text("utf-8"))))
    assert not [name for name in names if re.match(r"test_[a-z][0-9]+_", str(name))]


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(ROOT)))
def test_middleware_is_pure_asgi(path: Path) -> None:
    # Starlette's BaseHTTPMiddleware hides a caller's disconnect from the handlers.
    names = {
        getattr(node, field)
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        for field in ("id", "attr", "name")
        if isinstance(getattr(node, field, None), str)
    }
    assert not names & {"BaseHTTPMiddleware", "middleware"}


@pytest.mark.parametrize("path", DOCUMENTED, ids=lambda p: str(p.relative_to(ROOT)))
def test_no_docstring_is_a_noun_clause(path: Path) -> None:
    # "Return True if ..." or "The number of ..." is a statement, "Whether ..." only a part of one.
    found = docstrings(path.read_text("utf-8"))
    assert not [f"{line}: {text}" for line, text in found if NOUN_CLAUSE.match(text)]


def test_every_slice_is_typed() -> None:
    for package in (
        "service/distilpose/service",
        "service/distilpose/client",
        "service/distilpose/cli",
        "model/distilpose/model",
        "proto/distilpose/v1",
    ):
        assert (ROOT / package / "py.typed").exists(), package


@pytest.mark.parametrize("test", TESTS, ids=lambda p: str(p.relative_to(ROOT)))
def test_tests_mirror_the_tree(test: Path) -> None:
    side = test.relative_to(ROOT / "tests").parts[0]
    folder = ROOT / HOMES[side] / test.parent.relative_to(ROOT / "tests")
    name = test.stem.removeprefix("test_")
    homes = {*modules_of(folder), *(each.name for each in (folder, *folder.glob("*/")))}
    assert any(name == home or name.startswith(f"{home}_") for home in homes), folder
