"""The documentation's links resolve, and the commands that it shows exist."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from distilpose.cli import main

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
README_LINES = 200
PAGES = [README, *sorted((ROOT / "docs").rglob("*.md")), ROOT / "helm" / "distilpose" / "README.md"]
FENCED = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
TARGET = re.compile(r"^([\w-]+):(?!=)", re.MULTILINE)


def links(page: Path) -> Iterator[str]:
    """The page's relative links, without those in code."""
    for link in LINK.findall(FENCED.sub("", page.read_text("utf-8"))):
        if "://" not in link:
            yield link


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub generates them."""
    headings = HEADING.findall(FENCED.sub("", page.read_text("utf-8")))
    return {
        re.sub(r"[^\w\- ]", "", heading).strip().lower().replace(" ", "-") for heading in headings
    }


def commands(page: Path) -> Iterator[list[str]]:
    """The words of every shell command in the page's blocks, without leading variables."""
    for language, block in FENCED.findall(page.read_text("utf-8")):
        if language in ("", "bash"):
            for line in block.replace("\\\n", " ").splitlines():
                words = shlex.split(line, comments=True) if is_command(line) else []
                while words and "=" in words[0]:
                    words.pop(0)
                yield words


def is_command(line: str) -> bool:
    """Return True if the line calls something whose existence can be checked here."""
    return bool(re.search(r"(^|\s|/)distilpose [a-z]|tests/bench/|^make ", line))


def unknown_options(words: list[str]) -> set[str]:
    """The options of a `distilpose` command line that the command does not have."""
    command: click.Command = main
    context = click.Context(main)
    while words and isinstance(command, click.Group):
        name, *words = words
        found = command.get_command(context, name)
        assert found, f"no command {name}"
        command = found
    parameters = command.get_params(context)
    known = {name for each in parameters for name in (*each.opts, *each.secondary_opts)}
    return {word.partition("=")[0] for word in words if word.startswith("--")} - known


def test_the_readme_can_be_read_in_one_go() -> None:
    assert len(README.read_text("utf-8").splitlines()) <= README_LINES


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_relative_link_leads_to_a_file_and_a_heading(page: Path) -> None:
    for link in links(page):
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_command_shown_exists(page: Path) -> None:
    targets = set(TARGET.findall((ROOT / "Makefile").read_text("utf-8")))
    for words in commands(page):
        name = Path(words[0]).name if words else ""
        if name == "distilpose":
            assert not unknown_options(words[1:]), words
        elif name == "make":
            assert {word for word in words[1:] if "=" not in word} <= targets, words
        elif name.startswith("python") and "tests/bench/" in words[1:2][0]:
            source = (ROOT / words[1]).read_text("utf-8")
            assert all(f'"{word}"' in source for word in words if word.startswith("--")), words


@pytest.mark.parametrize("page", ["speed", "accuracy", "settings", "client", "running", "formats"])
def test_the_readme_leads_to_the_page(page: str) -> None:
    assert f"docs/{page}.md" in list(links(README))


def leaves(command: click.Command, name: str) -> Iterator[tuple[str, click.Command]]:
    """Every command below `command`, by its full name."""
    if not isinstance(command, click.Group):
        yield name, command
        return
    context = click.Context(command)
    for part in command.list_commands(context):
        found = command.get_command(context, part)
        assert found is not None
        yield from leaves(found, f"{name} {part}")


OPTIONS = [
    (name, [each for each in (*option.opts, *option.secondary_opts) if each.startswith("--")])
    for name, command in leaves(main, "distilpose")
    for option in command.params
    if isinstance(option, click.Option)
]


@pytest.mark.parametrize(
    ("name", "spellings"), OPTIONS, ids=lambda each: each if isinstance(each, str) else each[0]
)
def test_a_page_about_the_command_has_each_of_its_options(name: str, spellings: list[str]) -> None:
    # An option that no page needs is one that nobody needs.
    words = r"[\s`]+".join(map(re.escape, name.split()))
    about = [text for page in PAGES if re.search(words, text := page.read_text("utf-8"))]
    assert any(re.search(rf"(?:{'|'.join(spellings)})(?![\w-])", text) for text in about)
