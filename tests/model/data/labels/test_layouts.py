"""The layouts of labels: which files are found, and where pictures are looked for."""

from pathlib import Path

import pytest

from distilpose.model.data.labels.layouts import (
    LAYOUTS,
    candidates,
    find_labels,
    layout_for,
)
from distilpose.model.errors import DataError

FILES = {
    "plain": "result.json",
    "coco": "annotations/person_keypoints_default.json",
    "roboflow": "train/_annotations.coco.json",
    "yolo": "data.yaml",
}


def touch(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("train: images/train\nval: images/val\nkpt_shape: [17, 3]\n")
    return folder


@pytest.mark.parametrize(
    ("layout", "sources"),
    [
        ("plain", ["result"]),
        ("coco", ["person_keypoints_default"]),
        ("roboflow", ["train"]),
        ("yolo", ["train", "val"]),
    ],
)
def test_each_layout_is_found_with_its_sources(
    tmp_path: Path, layout: str, sources: list[str]
) -> None:
    found = find_labels(touch(tmp_path, FILES[layout]))
    assert (found.layout, [file.source for file in found.files]) == (layout, sources)


@pytest.mark.parametrize("one", LAYOUTS)
@pytest.mark.parametrize("other", LAYOUTS)
def test_two_layouts_stop_with_both_names_unless_one_is_chosen(
    tmp_path: Path, one: str, other: str
) -> None:
    if one == other:
        return
    touch(tmp_path, FILES[one], FILES[other])
    with pytest.raises(DataError, match="holds labels in 2 layouts") as caught:
        find_labels(tmp_path)
    for name in (f"{one} (", f"{other} (", FILES[one], FILES[other], "--layout"):
        assert name in str(caught.value)
    assert find_labels(tmp_path, one).layout == one  # type: ignore[arg-type]


def test_a_layout_that_is_not_there_is_refused(tmp_path: Path) -> None:
    touch(tmp_path, FILES["plain"])
    with pytest.raises(DataError, match="no labels of the layout yolo, only plain"):
        find_labels(tmp_path, "yolo")
    assert layout_for(tmp_path, "yolo") is None
    assert layout_for(tmp_path, "plain") == "plain"


def test_a_broken_description_stops_only_whoever_wants_it(tmp_path: Path) -> None:
    touch(tmp_path, FILES["plain"])
    (tmp_path / "data.yaml").write_text("a: [")
    with pytest.raises(DataError, match=r"data\.yaml: cannot be read as YAML"):
        find_labels(tmp_path)
    assert find_labels(tmp_path, "plain").layout == "plain"


def test_files_of_one_name_are_refused(tmp_path: Path) -> None:
    touch(tmp_path, "coco.json", "coco.json.gz")
    with pytest.raises(DataError, match=r"coco\.json and coco\.json\.gz have the same name"):
        find_labels(tmp_path)


def test_hidden_files_are_not_labels(tmp_path: Path) -> None:
    touch(tmp_path, "._coco.json", "coco.json")
    assert [file.source for file in find_labels(tmp_path).files] == ["coco"]


def test_a_split_of_roboflow_can_be_read_alone(tmp_path: Path) -> None:
    touch(tmp_path / "valid", "_annotations.coco.json")
    [file] = find_labels(tmp_path / "valid").files
    assert file.source == "valid"


@pytest.mark.parametrize("name", ["data.yaml", "coco-pose.yml"])
def test_a_description_may_have_another_name(tmp_path: Path, name: str) -> None:
    assert find_labels(touch(tmp_path, name)).layout == "yolo"


def test_two_descriptions_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"a\.yaml and b\.yml both describe a data set"):
        find_labels(touch(tmp_path, "a.yaml", "b.yml"))


def test_other_yaml_is_not_a_description(tmp_path: Path) -> None:
    touch(tmp_path, "coco.json")
    (tmp_path / "run.yaml").write_text("network: distilpose-n\n")
    (tmp_path / "broken.yaml").write_text("a: [")
    assert find_labels(tmp_path).layout == "plain"


@pytest.mark.parametrize(
    ("name", "last"),
    [
        ("images\\a.png", "images/a.png"),
        ("/data/upload/1/a.png", "a.png"),
        ("../../media/a.png", "a.png"),
        ("https://host/x/a.png", "a.png"),
        ("C:\\photos\\a.png", "a.png"),
    ],
)
def test_names_of_other_machines_lead_to_pictures_here(
    tmp_path: Path, name: str, last: str
) -> None:
    assert tmp_path / last in candidates([tmp_path], name)


def test_the_last_part_of_a_plain_name_is_not_taken_alone(tmp_path: Path) -> None:
    # Two folders may hold different pictures of one name.
    assert candidates([tmp_path], "sub/a.png") == [tmp_path / "sub" / "a.png"]
