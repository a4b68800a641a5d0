"""`distilpose data`, as a user calls it."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from PIL import Image

from distilpose.cli import main
from labelled import FRONTAL, encoded, noise, person, picture, write_folder

SWAPPED = dict(FRONTAL) | {"left_hip": FRONTAL["right_hip"], "right_hip": FRONTAL["left_hip"]}


def data(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["data", *map(str, arguments)])


@pytest.fixture
def good(tmp_path: Path) -> Path:
    folder = tmp_path / "good"
    write_folder(folder, [picture(1), picture(2)], [person(1, FRONTAL), person(2)])
    return folder


@pytest.fixture
def swapped(tmp_path: Path) -> Path:
    folder = tmp_path / "swapped"
    write_folder(folder, [picture(3)], [person(3, FRONTAL), person(3, SWAPPED)])
    return folder


def test_a_good_folder_is_counted_and_passes(good: Path) -> None:
    done = data("check", good, "--decode")
    assert done.exit_code == 0
    for word in ("coco", "human", "box", "missing", "unreadable", "tolerated", "ok"):
        assert word in done.stdout
    assert "WRONG" not in done.stdout


def test_too_many_swaps_are_told_with_their_rule_and_exit_code_1(swapped: Path) -> None:
    done = data("check", swapped)
    assert done.exit_code == 1
    assert "50.00%" in done.stdout
    assert "WRONG" in done.stdout
    assert "shoulders that point the other way" in done.stdout
    assert "picture 3, 3.png: shoulders against hips" in done.stdout


def test_findings_are_written_as_json_and_as_a_sheet(swapped: Path, tmp_path: Path) -> None:
    listed, sheet = tmp_path / "findings.json", tmp_path / "sheet.png"
    data("check", swapped, "--json", listed, "--sheet", sheet)
    [finding] = json.loads(listed.read_text())
    assert (finding["picture"], finding["person"]) == (3, 1)
    with Image.open(sheet) as drawn:
        assert drawn.size[1] > 320


def test_what_was_not_looked_for_is_said(good: Path) -> None:
    plain = data("check", good).stdout
    assert "--decode finds broken ones" in plain
    assert "--against finds them" in plain
    assert "--decode" not in data("check", good, "--decode", "--against", good).stdout


def test_a_picture_of_the_evaluation_set_is_told(good: Path, tmp_path: Path) -> None:
    held_out = tmp_path / "held-out"
    write_folder(held_out, [picture(9)], [], files={"9.png": encoded(noise(2))})
    done = data("check", good, "--against", held_out)
    assert done.exit_code == 1
    assert "picture 2, 2.png: same bytes: 9.png" in done.stdout


def test_a_folder_that_is_no_data_set_is_one_line(tmp_path: Path) -> None:
    done = data("check", tmp_path)
    assert done.exit_code == 1
    assert done.stderr.startswith(f"Error: {tmp_path}: holds no *.json")


def test_a_cache_is_cut_and_the_next_time_reused(good: Path, tmp_path: Path) -> None:
    cut = data("cache", good, tmp_path / "cache", "--workers", "1")
    assert cut.exit_code == 0
    assert cut.stdout.startswith(f"{tmp_path / 'cache'}: 2 people, 0.00 GB, digest ")
    (good / "1.png").unlink()
    again = data("cache", good, tmp_path / "cache", "--workers", "1")
    assert again.stdout == cut.stdout


def test_a_cache_says_which_picture_cannot_be_read(good: Path, tmp_path: Path) -> None:
    (good / "2.png").write_bytes(b"no picture")
    done = data("cache", good, tmp_path / "cache", "--workers", "1")
    assert done.exit_code == 1
    assert "2.png: cannot be decoded" in done.stderr


def test_only_the_wanted_sources_are_cut(good: Path, tmp_path: Path) -> None:
    write_folder(good, [picture(5)], [person(5, FRONTAL)], source="lspet")
    done = data("cache", good, tmp_path / "cache", "--workers", "1", "--source", "lspet")
    assert ": 1 people" in done.stdout
