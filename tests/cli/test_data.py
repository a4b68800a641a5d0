"""`distilpose data`, as a user calls it."""

import gzip
import json
import math
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from PIL import Image

from calibrations import constant_calibration
from distilpose.cli import main
from distilpose.model.card import Card
from distilpose.model.data.labels.layouts import LAYOUTS
from distilpose.model.data.people import PeopleFolder
from distilpose.model.load import packaged_student
from distilpose.model.networks import TokenPose, build
from distilpose.model.runtime.precision import PRECISIONS
from distilpose.model.weights import load, read_tensors, save, write_tensors
from labelled import FRONTAL, encoded, noise, person, picture, write_folder
from photos import BUS_BOXES_XYXY_PX, photo

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


def test_too_many_swaps_are_reported_with_their_rule_and_exit_code_1(swapped: Path) -> None:
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


def test_a_picture_of_the_evaluation_set_is_reported(good: Path, tmp_path: Path) -> None:
    held_out = tmp_path / "held-out"
    write_folder(held_out, [picture(9)], [], files={"9.png": encoded(noise(2))})
    done = data("check", good, "--against", held_out)
    assert done.exit_code == 1
    assert "picture 2, 2.png: same bytes: 9.png" in done.stdout


def test_a_folder_that_is_no_data_set_is_one_line(tmp_path: Path) -> None:
    done = data("check", tmp_path)
    assert done.exit_code == 2
    assert done.stderr.startswith(f"Error: {tmp_path}: holds no *.json")


def test_a_check_says_what_it_counted(good: Path) -> None:
    done = data("check", good)
    for word in ("visible", "hidden", "unlabelled", "small", "medium", "large"):
        assert word in done.stdout
    assert "2 pictures of 120x90 to 120x90 pixels and 2 people in coco; no fault" in done.stdout


def test_repairs_beyond_the_tolerance_are_named_with_what_is_done(tmp_path: Path) -> None:
    people = [person(1, FRONTAL, id=17, area=None), person(1, FRONTAL, bbox=(46, 5, 30, 80))]
    write_folder(tmp_path, [picture(1)], people)
    done = data("check", tmp_path)
    assert done.exit_code == 1
    assert (
        "area: an area that is missing, at most 1 px², or above the box's, 1 of 2 annotations; "
        "0.53 of the box"
    ) in done.stdout
    assert "coco.json, annotation 17: area is null, the box's 2400" in done.stdout


def test_labels_mostly_left_out_stop_the_check(tmp_path: Path) -> None:
    write_folder(tmp_path / "good", [picture(1)], [person(1)])
    people = [person(1, FRONTAL) | {"keypoints": [9, 9, 0.5] * 17}]
    text = json.loads((tmp_path / "good/coco.json").read_text()) | {"annotations": people}
    (tmp_path / "good/coco.json").write_text(json.dumps(text))
    done = data("check", tmp_path / "good")
    assert done.exit_code == 2
    assert "nobody is left of 1 people: 1 (score 1)" in done.stderr
    assert not done.stdout


def test_a_folder_of_nobody_is_no_success(tmp_path: Path) -> None:
    write_folder(tmp_path, [picture(1)], [])
    done = data("check", tmp_path)
    assert done.exit_code == 2
    assert f"{tmp_path}: nobody is labelled in 1 pictures" in done.stderr


def test_a_finding_names_the_annotation_where_it_has_an_id(tmp_path: Path) -> None:
    write_folder(tmp_path, [picture(3)], [person(3, SWAPPED, id=17)])
    done = data("check", tmp_path)
    assert "picture 3, 3.png, annotation 17 of coco: shoulders against hips" in done.stdout


def test_a_layout_is_chosen_where_there_are_two(good: Path) -> None:
    (good / "annotations").mkdir()
    labels = json.loads((good / "coco.json").read_text())
    (good / "annotations/person_keypoints_val.json").write_text(json.dumps(labels))
    stopped = data("check", good)
    assert stopped.exit_code == 2
    assert "holds labels in 2 layouts, plain (" in stopped.stderr
    chosen = data("check", good, "--layout", "coco")
    assert chosen.exit_code == 0
    assert "person_keypoints_val" in chosen.stdout
    assert data("cache", good, good.parent / "cache", "--layout", "plain").exit_code == 0


def test_every_layout_can_be_chosen(good: Path) -> None:
    for layout in LAYOUTS:
        done = data("check", good, "--layout", layout)
        assert done.exit_code == (0 if layout == "plain" else 2)


@pytest.mark.parametrize("name", ["[/red]", "[bold]x", ":smile:", "a\x1b[31m"])
def test_names_and_labels_that_look_like_markup_are_shown_as_they_are(
    tmp_path: Path, name: str
) -> None:
    people = [person(1, SWAPPED, label=name), person(1, bbox=(5, 5, 9, 9), area=0)]
    write_folder(tmp_path, [picture(1, f"{name.replace('/', '-')}.png")], people)
    done = data("check", tmp_path)
    assert done.exit_code == 1
    assert name.replace("/", "-") in done.stdout


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
    assert "2.png: the image is not of a known format" in done.stderr


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights of a teacher that always answers a peak of 0.75 in the middle of the crop."""
    network = build("tokenpose-s")
    assert isinstance(network, TokenPose)
    last = network.keypoint_head.get_submodule("tokenpose.mlp_head.3")
    state = dict(network.state_dict())
    rows, columns = torch.arange(64.0)[:, None], torch.arange(48.0)
    bump = 0.75 * torch.exp(-((rows - 32) ** 2 + (columns - 24) ** 2) / 8)
    for name, value in last.state_dict().items():
        key = f"keypoint_head.tokenpose.mlp_head.3.{name}"
        state[key] = bump.flatten() if name == "bias" else torch.zeros_like(value)
    path = tmp_path_factory.mktemp("weights") / "middle.safetensors"
    card = Card(
        architecture="tokenpose-s",
        version="7",
        created=date(2026, 1, 1),
        source="A test.",
        training_data="None.",
        licences=(),
        accuracy=(),
        calibrated=False,
        limitations=(),
    )
    save(path, state, card)
    return path


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    (folder / "bus.jpg").write_bytes(photo("bus.jpg"))
    (folder / "broken.jpg").write_bytes(photo("bus.jpg")[:9000])
    return folder


def test_photos_are_labelled_by_detector_and_teacher(photos: Path, teacher: Path) -> None:
    out, sheet = photos / "labels.json.gz", photos.parent / "sheet.png"
    done = data("label", photos, "--teacher", teacher, "--out", out, "--sheet", sheet)
    assert done.exit_code == 0, done.stderr
    assert done.stdout == (
        f"{out}: 1 photos, 1 left out; 3 people with keypoints, 0 without, 1 doubtful\n"
    )
    assert f"left out: {photos / 'broken.jpg'}: the JPEG cannot be decoded" in done.stderr
    [picture] = PeopleFolder(photos).pictures
    people = [each for each in picture.people if each.label == "pseudo"]
    people.sort(key=lambda person: person.keypoints_xy_px[0][0])
    for one, box in zip(people, sorted(BUS_BOXES_XYXY_PX[:3]), strict=True):
        middle_px = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
        assert math.dist(one.keypoints_xy_px[0], middle_px) < 6
        np.testing.assert_allclose(one.keypoint_weight, 0.75, atol=0.01)
    with Image.open(sheet) as drawn:
        assert drawn.width == 3 * (192 + 8) + 8


@pytest.fixture
def empty(tmp_path: Path) -> Path:
    """The folder of a photo that shows nobody."""
    folder = tmp_path / "empty"
    folder.mkdir()
    Image.new("RGB", (64, 64)).save(folder / "black.png")
    return folder


def labels_in(path: Path) -> dict[str, Any]:
    with gzip.open(path, "rt") as file:
        document: dict[str, Any] = json.load(file)
    return document


def test_labels_say_by_which_networks_and_settings(empty: Path, teacher: Path) -> None:
    out = empty / "labels.json.gz"
    options = ("--min-box-score", "0.4")
    assert data("label", empty, "--teacher", teacher, "--out", out, *options).exit_code == 0
    info = labels_in(out)["info"]
    assert info["network"] == {
        "architecture": "tokenpose-s",
        "version": "7",
        "sha256": load(teacher).sha256,
    }
    assert info["detector"]["name"] == "yolov8n-person"
    assert info["settings"]["min_box_score"] == 0.4
    assert info["settings"]["dtype"] in PRECISIONS
    assert info["settings"]["keypoint_score"] == "raw"


def test_a_photo_of_nobody_has_no_people_and_no_sheet(empty: Path, teacher: Path) -> None:
    out, sheet = empty / "labels.json.gz", empty / "sheet.png"
    done = data("label", empty, "--teacher", teacher, "--out", out, "--sheet", sheet)
    assert done.exit_code == 0
    assert "nobody was found: there is no sheet" in done.stdout
    assert not sheet.exists()
    assert [each.people for each in PeopleFolder(empty).pictures] == [()]


def test_the_packaged_student_labels_where_no_network_is_given(photos: Path) -> None:
    out, student = photos / "labels.json.gz", load(packaged_student())
    done = data("label", photos, "--out", out)
    assert done.exit_code == 0, done.stderr
    info = labels_in(out)["info"]
    assert (info["network"]["architecture"], info["network"]["sha256"]) == (
        student.card.architecture,
        student.sha256,
    )
    assert info["settings"]["keypoint_score"] == "probability"
    [picture] = PeopleFolder(photos).pictures
    people = [each for each in picture.people if each.label == "pseudo"]
    assert len(people) == 3
    for one in people:
        labelled = one.keypoint_weight > 0
        x1, y1, x2, y2 = one.box_xyxy_px
        beyond_px = np.maximum([x1, y1] - one.keypoints_xy_px, one.keypoints_xy_px - [x2, y2])
        assert labelled.sum() >= 8
        assert (beyond_px[labelled] < 0.1 * (y2 - y1)).all()


def test_a_given_students_probabilities_make_the_weights(photos: Path) -> None:
    tensors, card, _ = read_tensors(packaged_student())
    student, out = photos.parent / "sure.safetensors", photos / "labels.json.gz"
    calibration = constant_calibration(score=0.6, sigma_cell=1)
    write_tensors(student, tensors, card, calibration=calibration)
    assert data("label", photos, "--teacher", student, "--out", out).exit_code == 0
    weights = [
        weight
        for entry in labels_in(out)["annotations"]
        for weight in entry.get("keypoint_weight", [])
    ]
    assert 0.55 < max(weights) <= 0.6


@pytest.mark.parametrize("out", ["labels.json", "nowhere/labels.json.gz"])
def test_labels_that_could_not_be_found_again_are_refused_at_once(
    photos: Path, teacher: Path, out: str
) -> None:
    done = data("label", photos, "--teacher", teacher, "--out", photos / out)
    assert done.exit_code == 2
    assert "Invalid value for '--out'" in done.stderr


def test_labels_that_are_there_are_kept(photos: Path, teacher: Path) -> None:
    out = photos / "labels.json.gz"
    out.write_bytes(b"by hand")
    done = data("label", photos, "--teacher", teacher, "--out", out)
    assert done.exit_code == 2
    assert f"--out {out}: would replace what is read" in done.stderr
    assert out.read_bytes() == b"by hand"


@pytest.mark.parametrize("option", ["--json", "--sheet"])
@pytest.mark.parametrize(
    ("place", "why"),
    [
        ("/nope/x", "/nope is not a folder"),
        ("good/coco.json", "would replace what is read"),
        ("good/coco.json/x", "coco.json is not a folder"),
    ],
)
def test_findings_that_cannot_be_written_are_refused_before_the_work(
    good: Path, option: str, place: str, why: str
) -> None:
    [labels] = good.glob("*.json")
    labels.rename(good / "coco.json")
    before = (good / "coco.json").read_bytes()
    done = data("check", good, option, good.parent / place)
    assert done.exit_code == 2
    assert why in done.stderr
    assert not done.stdout
    assert (good / "coco.json").read_bytes() == before


def test_findings_do_not_become_labels(good: Path) -> None:
    done = data("check", good, "--json", good / "deep" / ".." / "findings.json")
    assert done.exit_code == 2
    assert f"would be read as labels of {good}" in done.stderr
    assert data("check", good).exit_code == 0


def test_labels_and_their_sheet_are_replaced_and_are_no_photos(empty: Path, teacher: Path) -> None:
    out, sheet = empty / "labels.json.gz", empty / "sheet.png"
    arguments = ("label", empty, "--teacher", teacher, "--out", out, "--sheet", sheet)
    for _ in range(2):
        done = data(*arguments)
        assert done.exit_code == 0, done.stderr
        assert "1 photos, 0 left out" in done.stdout
    out.write_bytes(b"corrected by hand")
    assert data(*arguments).exit_code == 2
    assert out.read_bytes() == b"corrected by hand"


def test_a_cache_removes_nobodys_files(good: Path, tmp_path: Path) -> None:
    mine = tmp_path / "cache" / "crops.npy"
    mine.parent.mkdir()
    mine.write_bytes(b"mine")
    done = data("cache", good, mine.parent, "--workers", "1")
    assert done.exit_code == 1
    assert "crops.npy is there already, and no cache was built there" in done.stderr
    assert mine.read_bytes() == b"mine"


def test_a_sheet_of_labels_does_not_replace_a_photo(photos: Path, teacher: Path) -> None:
    [first, *_] = sorted(photos.iterdir())
    arguments = ("label", photos, "--teacher", teacher, "--out", photos / "labels.json.gz")
    for sheet, why in ((first, "would replace what is read"), ("/nope/x", "is not a folder")):
        done = data(*arguments, "--sheet", sheet)
        assert done.exit_code == 2
        assert why in done.stderr
